// Command etcd is a stand-alone etcd server of the version that knarr embeds.
//
// The tests of an external etcd cluster run it, and the benchmark puts the reference API server over it, so that
// neither depends on an etcd installed on the machine and both compare like with like. Flags are etcd's own.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
