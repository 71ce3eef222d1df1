package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/knarr-dev/knarr/server"
)

func upCommand() *cobra.Command {
	config, logs := server.DefaultConfig(), &logging{}
	config.EnableAdmission = []string{"NodeRestriction"} // a cluster of one's own has no reason to trust its nodes
	c := &cobra.Command{
		Use: "up", Short: "Start a cluster in the foreground: all parts in one process", Args: cobra.NoArgs,
		Long: `Start a cluster in the foreground: all parts in one process. Ctrl-C stops it.

Everything is kept in the data directory; the next start goes on where this one ended.`,
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := logs.logger(c.ErrOrStderr())
			if err != nil {
				return err
			}
			return runCluster(c.Context(), config, log, func() { greet(c.OutOrStdout(), &config) })
		},
	}
	bindFlags(c.Flags(), &config)
	logs.flags(c.Flags())
	return c
}

// runCluster runs all parts until ctx ends. They start in order and stop in the mirrored one: the API server is there for
// as long as anybody asks it.
func runCluster(ctx context.Context, config server.Config, log *slog.Logger, ready func()) error {
	s, err := server.New(ctx, config, log)
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	up, served := make(chan struct{}), make(chan error, 1)
	go func() { served <- s.Run(serving, func() { close(up) }) }()
	select {
	case <-up:
	case err := <-served:
		return err
	case <-ctx.Done():
		stop()
		return <-served
	}
	var parts sync.WaitGroup
	working, rest := context.WithCancel(ctx)
	defer rest()
	parts.Go(func() {
		keepRunning(working, "control plane", log, func(ctx context.Context) error { return runControlPlane(ctx, s, log) })
	})
	ready()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	parts.Wait()
	stop()
	return <-served
}

// greet tells what runs where, and how to use it.
func greet(w io.Writer, c *server.Config) {
	etcd := "embedded"
	if len(c.EtcdServers) > 0 {
		etcd = strings.Join(c.EtcdServers, ", ")
	}
	fmt.Fprintf(w, `knarr %s is up: Kubernetes v%s

  API server   %s
  etcd         %s

Use it from another terminal:

  %s kubectl get namespaces
  export KUBECONFIG=%s     # for kubectl, helm and others

Ctrl-C stops it; what it keeps is in %s.
`, version, server.Release, c.LocalURL(), etcd, os.Args[0], c.KubeconfigPath(), c.DataDir)
}
