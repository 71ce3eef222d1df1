// Command knarr is Kubernetes in one binary.
//
// This package is wiring: a subcommand a file. A part of the cluster (today the API server) is made by its package's
// constructor from a Config, whose fields are the subcommand's flags, and runs until its context ends. The first signal
// ends the context, and parts stop in the reverse of the order in which they started; the second signal ends the
// process at once.
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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
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
