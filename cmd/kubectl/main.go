// Command kubectl is upstream's kubectl 1.36, unchanged, as `knarr kubectl` runs it.
//
// It is an executable of its own because what is linked into knarr is paid for at every start: kubectl would cost the
// server 50 MB. The Makefile stamps upstream's version into it.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // the credential plugins that kubeconfigs name
)

func main() {
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
	os.Exit(0)
}
