// Command knarr is Kubernetes in one binary.
//
// This package is wiring: a subcommand a file. A part of a cluster is a row (parts.go): what it is called, where it
// answers, and what it does for a term. It stands for its lease (lease.go), gets informers that are as new as that
// (informers.go), reaches the API within the process or over a network (reach.go), and tells those how it is who may ask
// (desk.go, serve.go, trust.go). `knarr up` runs all parts in one process (up.go), other commands one alone (alone.go,
// agent.go, apiserver.go).
//
// A part is made by its package's constructor from a Config and runs until its context ends. The first signal ends the
// context, and parts stop in the reverse of the order in which they started; the second signal ends the process at once.
// Nothing but main ends the process.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the build.
var version = "unknown"

func main() {
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup wants it to outlive its terminal
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	// From the first signal on, the next one does what it does to any process.
	context.AfterFunc(ctx, stop)
	go keepSmall(ctx)
	if err := root().ExecuteContext(ctx); err != nil {
		if !errors.Is(err, errNo) {
			fmt.Fprintln(os.Stderr, "knarr:", err)
		}
		os.Exit(1)
	}
}
