package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/server"
)

// upOptions are what a whole cluster can be told beside what its API server can.
type upOptions struct {
	nodes           int
	simulation      string
	controllersPort int
	schedulerPort   int
	controllers     controllersOptions
	scheduler       schedulerOptions
	election        election
}

func (o *upOptions) check() error {
	if o.nodes < 0 {
		return fmt.Errorf("--simulated-nodes=%d: use 0 or more", o.nodes)
	}
	return errors.Join(checkSimulation(o.simulation), o.controllers.check(), o.election.check(), o.scheduler.open())
}

// parts are those that stand for leases, in the order in which they start, and the ports on which they answer.
func (o *upOptions) parts() ([]part, []int) {
	return []part{controllersPart(&o.controllers), schedulerPart(&o.scheduler)}, []int{o.controllersPort, o.schedulerPort}
}

func upCommand() *cobra.Command {
	config, logs := server.DefaultConfig(), &logging{}
	config.EnableAdmission = []string{"NodeRestriction"}                          // a cluster of one's own has no reason to trust its nodes
	config.KubeletAddressTypes = []string{"Hostname", "InternalIP", "ExternalIP"} // simulated nodes are at their host
	o := &upOptions{nodes: 2, controllersPort: 10257, schedulerPort: 10259, controllers: defaultControllers(), election: defaultElection()}
	o.controllers.AllocateCIDRs = true // of --cluster-cidr, if there is one
	c := &cobra.Command{
		Use: "up", Short: "Start a cluster in the foreground: all parts in one process", Args: cobra.NoArgs,
		Long: `Start a cluster in the foreground: all parts in one process. Ctrl-C stops it.

Everything is kept in the data directory; the next start goes on where this one ended.`,
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := logs.logger(c.ErrOrStderr())
			if err != nil {
				return err
			}
			if err := o.check(); err != nil {
				return err
			}
			began, wait := time.Now(), newProgress(c.OutOrStdout())
			defer wait.end()
			return runCluster(c.Context(), config, o, log, wait, func(stations []*station) error {
				return greet(c.OutOrStdout(), &config, stations, nodeNames(o.nodes), time.Since(began))
			})
		},
	}
	f := c.Flags()
	f.IntVar(&o.nodes, "simulated-nodes", o.nodes, "how many nodes to have that run pods without containers, as annotations of the pods say")
	f.StringVar(&o.simulation, "simulation", "", "file of rules that say what simulated pods do; it is read again when it changes")
	f.IntVar(&o.controllersPort, "controllers-secure-port", o.controllersPort, "port on which the controllers tell how they are; another one if it is taken, 0 for none")
	f.IntVar(&o.schedulerPort, "scheduler-secure-port", o.schedulerPort, "port on which the scheduler tells how it is; another one if it is taken, 0 for none")
	bindFlags(f, &config)
	bindFlags(f, &o.controllers)
	bindFlagsBelow(f, &o.scheduler, "scheduler-")
	bindFlags(f, &o.election)
	logs.flags(f)
	showByTopic(c)
	return c
}

// runCluster runs all parts until ctx ends. They start in order and stop in the mirrored one: the API server is there for
// as long as anybody asks it.
func runCluster(ctx context.Context, config server.Config, o *upOptions, log *slog.Logger, wait *progress, ready func([]*station) error) error {
	wait.waitsFor(etcdText(&config))
	s, err := server.New(ctx, config, log)
	if err != nil {
		return err
	}
	stations, err := o.stations(s, &config, log)
	if err != nil {
		return err
	}
	host, err := hostedBy(s, &config, o.simulation, log)
	if err != nil {
		return err
	}
	host.informers = stations[0].informers // all parts have the same
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	wait.waitsFor("the API server")
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
	var running stack
	defer running.end()
	for _, x := range stations {
		running.start(ctx, x.keep)
	}
	running.start(ctx, func(ctx context.Context) { offerStorage(ctx, s, log) })
	wait.waitsFor("nodes to register")
	registered := make(chan struct{})
	running.start(ctx, func(ctx context.Context) {
		host.run(ctx, nodeNames(o.nodes), sync.OnceFunc(func() { close(registered) }))
	})
	select {
	case <-registered:
		wait.waitsFor("")
		if err := ready(stations); err != nil {
			return err
		}
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	wait.waitsFor("nodes, scheduler and controllers to end")
	running.end()
	wait.waitsFor("the API server to end")
	stop()
	return <-served
}

// stack is what runs: each began after those below it, and ends before them.
type stack []func()

// start runs something until the stack ends it.
func (s *stack) start(ctx context.Context, run func(context.Context)) {
	own, end := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run(own)
	}()
	*s = append(*s, func() { end(); <-ended })
}

// end ends all, from the top down.
func (s *stack) end() {
	for _, end := range slices.Backward(*s) {
		end()
	}
	*s = nil
}

// stations makes the parts ready that stand for leases, with their ports open.
func (o *upOptions) stations(s *server.Server, config *server.Config, log *slog.Logger) ([]*station, error) {
	parts, ports := o.parts()
	services, err := server.ParseRanges("--service-cluster-ip-range", config.ServiceClusterIPRange)
	if err != nil {
		return nil, err
	}
	o.controllers.given = given{RootCA: s.RootCA(), SignToken: s.SignToken(), ServiceRanges: services}
	o.controllers.given.SigningCertFile, o.controllers.given.SigningKeyFile = s.Authority()
	o.controllers.LocalVolumes = localVolumes(o.controllers.LocalVolumes, config.DataDir)
	reader, err := kubernetes.NewForConfig(inside{s, parts[0].user}.own()) // the controllers may read everything
	if err != nil {
		return nil, err
	}
	certificate, authorities := s.Parts()
	informers := newGathering(reader, o.election.Retry)
	stations := make([]*station, len(parts))
	for i, p := range parts {
		identity, err := identify(config.DataDir, p.program, log)
		if err != nil {
			return nil, err
		}
		x, err := newStation(p, inside{s, p.user}, &o.election, identity, informers, newDesk(p, config.Profiling), log)
		if err != nil {
			return nil, err
		}
		stations[i] = x
		if ports[i] == 0 {
			continue
		}
		front := defaultServing(ports[i])
		front.BindAddress = config.BindAddress
		listener, err := front.listenAnywhere()
		if err != nil {
			return nil, err
		}
		s.PartIsAt(p.status, urlOf(listener)+"/healthz")
		x.door = &door{serving: front, listener: listener, shown: certificate,
			trust: auth.Delegation{Tokens: x.own(), Access: x.own(), Authorities: authorities}, dataDir: config.DataDir}
	}
	return stations, nil
}

// etcdText is which etcd keeps everything.
func etcdText(c *server.Config) string {
	if len(c.EtcdServers) > 0 {
		return "etcd at " + strings.Join(c.EtcdServers, ", ")
	}
	return "the embedded etcd"
}

// greet tells what runs where, and how to use it.
func greet(w io.Writer, c *server.Config, stations []*station, nodes []string, took time.Duration) error {
	s := &screen{Title: fmt.Sprintf("knarr %s is up after %.1f s: Kubernetes v%s", version, took.Seconds(), server.Release)}
	s.Lines = append(s.Lines, line{Part: "API server", Where: c.LocalURL()}, line{Part: "data", Where: etcdText(c)})
	for _, x := range stations {
		where := "answers nobody"
		if x.door != nil {
			where = urlOf(x.door.listener)
		}
		s.Lines = append(s.Lines, line{Part: x.name, Where: where})
	}
	if _, urls := agentNotes(c.DataDir); len(urls) > 0 {
		s.Lines = append(s.Lines, line{Part: agentsPart, Where: agentsWhere(urls)})
	}
	s.Lines = append(s.Lines, line{Part: "nodes", Where: nodesText(nodes)})
	if err := s.print(w); err != nil {
		return err
	}
	// From another terminal means from another folder, too.
	kubeconfig, err := filepath.Abs(c.KubeconfigPath())
	if err != nil {
		kubeconfig = c.KubeconfigPath()
	}
	_, err = fmt.Fprintf(w, `
Use it from another terminal:

  export KUBECONFIG=%s
  %s kubectl get nodes     # or stock kubectl, helm and others
  %s status%s

Ctrl-C stops it; what it keeps is in %s.
`, kubeconfig, os.Args[0], os.Args[0], statusFlags(c), filepath.Dir(kubeconfig))
	return err
}

// statusFlags are those with which `knarr status` finds the cluster.
func statusFlags(c *server.Config) string {
	if c.DataDir == server.DefaultConfig().DataDir {
		return ""
	}
	return " --data-dir=" + c.DataDir
}

// nodesText names the simulated nodes.
func nodesText(names []string) string {
	switch n := len(names); {
	case n == 0:
		return "none"
	case n > 3:
		return fmt.Sprintf("%s to %s (simulated)", names[0], names[n-1])
	}
	return strings.Join(names, ", ") + " (simulated)"
}
