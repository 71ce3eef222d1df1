package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/server"
)

// alone is a part in a process of its own, against an API server that is elsewhere.
type alone struct {
	DataDir    string            `flag:"data-dir" help:"data directory of the cluster, if it is on this machine: defaults of other flags are there"`
	Gates      map[string]string `flag:"feature-gates" help:"accepted at the values that Kubernetes 1.36 has by default, and at no others"`
	Kubeconfig string            `flag:"kubeconfig" help:"how the API server is reached, and as whom (default: the part's own in the data directory)"`

	part  part
	needs needs
	front serving
	elect election
	logs  logging
}

// needs are what a part needs before it can run.
type needs interface {
	// configure takes over what files say and no flag does, and names what is wrong.
	configure(a *alone, flagged func(string) bool) error
	// prepare reads what the part has to know.
	prepare(r *outside) error
}

func controllersCommand() *cobra.Command {
	o := &controllersAlone{controllersOptions: defaultControllers(), files: controllersFiles{AsAccounts: true}}
	return aloneCommand(controllersPart(&o.controllersOptions), "Run the controllers alone, against an API server elsewhere", o, &o.controllersOptions, &o.files)
}

func schedulerCommand() *cobra.Command {
	o := &schedulerOptions{}
	return aloneCommand(schedulerPart(o), "Run the scheduler alone, against an API server elsewhere", o, o)
}

// controllersAlone are controllers in a process of their own.
type controllersAlone struct {
	controllersOptions
	files controllersFiles
}

func (o *controllersAlone) configure(a *alone, _ func(string) bool) error {
	o.files.fill(a.DataDir)
	return o.check()
}

func (o *controllersAlone) prepare(r *outside) (err error) {
	if o.files.AsAccounts {
		if err := r.actAsAccounts(); err != nil {
			return err
		}
	}
	trusted, err := trustedBy(r.config)
	if err != nil {
		return err
	}
	o.given, err = o.files.read(trusted)
	return err
}

// aloneCommand is the command that runs a part in a process of its own.
func aloneCommand(p part, short string, n needs, options ...any) *cobra.Command {
	a := &alone{DataDir: server.DefaultConfig().DataDir, part: p, needs: n, front: defaultServing(p.port), elect: defaultElection()}
	c := &cobra.Command{
		Use: p.name, Short: short, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := a.logs.logger(c.ErrOrStderr())
			if err != nil {
				return err
			}
			if err := errors.Join(n.configure(a, c.Flags().Changed), a.elect.check(), a.front.check(), server.CheckFeatureGates(a.Gates)); err != nil {
				return err
			}
			return a.run(c.Context(), log)
		},
	}
	for _, o := range append([]any{a}, append(options, &a.front, &a.elect)...) {
		bindFlags(c.Flags(), o)
	}
	a.logs.flags(c.Flags())
	showByTopic(c)
	return c
}

// run runs the part until ctx ends.
func (a *alone) run(ctx context.Context, log *slog.Logger) error {
	r, err := openOutside(cmp.Or(a.Kubeconfig, ifExists(filepath.Join(a.DataDir, a.part.name+".kubeconfig"))))
	if err != nil {
		return fmt.Errorf("%w (`knarr apiserver` over the same --data-dir makes a kubeconfig; --kubeconfig names another)", err)
	}
	if err := a.needs.prepare(r); err != nil {
		return err
	}
	identity, err := identify(a.DataDir, a.part.program, log)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(r.own())
	if err != nil {
		return err
	}
	x, err := newStation(a.part, r, &a.elect, identity, newGathering(client, a.elect.Retry), newDesk(a.part, a.front.Profiling), log)
	if err != nil {
		return err
	}
	if a.front.Port != 0 {
		if x.door, err = a.front.open(ctx, a.DataDir, r.config, a.part.program, log); err != nil {
			return err
		}
		log.Info("the part answers", "part", a.part.name, "url", urlOf(x.door.listener))
	}
	x.keep(ctx)
	return nil
}

// open opens a part's port, and finds what it shows to those who ask it something, and whom it trusts. Changed files are
// taken into use until ctx ends.
func (s *serving) open(ctx context.Context, dataDir string, api *rest.Config, name string, log *slog.Logger) (d *door, err error) {
	d = &door{serving: *s, dataDir: dataDir}
	own := func(file string) string { return ifExists(filepath.Join(dataDir, "pki", file)) }
	if cert := cmp.Or(s.CertFile, own("parts.crt")); cert != "" {
		d.shown, err = auth.OpenCertificate(cert, cmp.Or(s.KeyFile, own("parts.key")))
	} else {
		d.shown, err = auth.SelfSigned(name, s.BindAddress)
	}
	if err != nil {
		return nil, err
	}
	if d.trust, err = s.trusts(own, api); err != nil {
		return nil, err
	}
	go auth.Reread(ctx, log, d.shown, d.trust.Authorities)
	d.listener, err = s.listen()
	return d, err
}
