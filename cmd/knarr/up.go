package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/knarr-dev/knarr/server"
)

func upCommand() *cobra.Command {
	config, logs := server.DefaultConfig(), &logging{}
	config.EnableAdmission = []string{"NodeRestriction"}                          // a cluster of one's own has no reason to trust its nodes
	config.KubeletAddressTypes = []string{"InternalIP", "ExternalIP", "Hostname"} // nobody resolves its nodes' names
	nodes := 2
	c := &cobra.Command{
		Use: "up", Short: "Start a cluster in the foreground: all parts in one process", Args: cobra.NoArgs,
		Long: `Start a cluster in the foreground: all parts in one process. Ctrl-C stops it.

Everything is kept in the data directory; the next start goes on where this one ended.`,
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := logs.logger(c.ErrOrStderr())
			if err != nil {
				return err
			}
			if nodes < 0 {
				return fmt.Errorf("--simulated-nodes=%d: use 0 or more", nodes)
			}
			return runCluster(c.Context(), config, nodes, log, func() { greet(c.OutOrStdout(), &config, nodes) })
		},
	}
	c.Flags().IntVar(&nodes, "simulated-nodes", nodes, "how many nodes to have that run pods without containers, as annotations of the pods say")
	bindFlags(c.Flags(), &config)
	logs.flags(c.Flags())
	showByTopic(c)
	return c
}

// runCluster runs all parts until ctx ends. They start in order and stop in the mirrored one: the API server is there for
// as long as anybody asks it.
func runCluster(ctx context.Context, config server.Config, nodes int, log *slog.Logger, ready func()) error {
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
	registered := make(chan struct{})
	parts.Go(func() { runNodes(working, s, &config, nodes, log, sync.OnceFunc(func() { close(registered) })) })
	select {
	case <-registered:
		ready()
	case err := <-served:
		return err
	case <-ctx.Done():
	}
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
func greet(w io.Writer, c *server.Config, nodes int) {
	etcd := "embedded"
	if len(c.EtcdServers) > 0 {
		etcd = strings.Join(c.EtcdServers, ", ")
	}
	// From another terminal means from another folder, too.
	kubeconfig, err := filepath.Abs(c.KubeconfigPath())
	if err != nil {
		kubeconfig = c.KubeconfigPath()
	}
	fmt.Fprintf(w, `knarr %s is up: Kubernetes v%s

  API server   %s
  etcd         %s
  nodes        %s

Use it from another terminal:

  export KUBECONFIG=%s
  %s kubectl get namespaces     # or stock kubectl, helm and others

Ctrl-C stops it; what it keeps is in %s.
`, version, server.Release, c.LocalURL(), etcd, nodesText(nodes), kubeconfig, os.Args[0], filepath.Dir(kubeconfig))
}

// nodesText names the simulated nodes.
func nodesText(n int) string {
	names := nodeNames(n)
	switch {
	case n == 0:
		return "none"
	case n > 3:
		return fmt.Sprintf("%s to %s (simulated)", names[0], names[n-1])
	}
	return strings.Join(names, ", ") + " (simulated)"
}
