package main

import (
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

// aloneOptions are what every part in a process of its own can be told.
type aloneOptions struct {
	DataDir    string `flag:"data-dir" help:"data directory of the cluster, if it is on this machine: defaults of other flags are there"`
	Kubeconfig string `flag:"kubeconfig" help:"how the API server is reached, and as whom (default: the part's own in the data directory)"`
}

func controllersCommand() *cobra.Command {
	o := defaultControllers()
	files := controllersFiles{AsAccounts: true}
	p := controllersPart(&o)
	return aloneCommand(p, "Run the controllers alone, against an API server elsewhere", []any{&o, &files}, nil, func(dir string) {
		orFile(&files.SigningCert, dir, "ca.crt", files.SigningKey == "")
		orFile(&files.SigningKey, dir, "ca.key", files.SigningCert == "" || files.SigningCert == filepath.Join(dir, "pki", "ca.crt"))
		orFile(&files.AccountKey, dir, "sa.key", true)
	}, func(r *outside) (err error) {
		if files.AsAccounts {
			if err := r.actAsAccounts(); err != nil {
				return err
			}
		}
		o.given, err = files.read(r.config.CAData)
		return err
	})
}

func schedulerCommand() *cobra.Command {
	o := schedulerOptions{}
	return aloneCommand(schedulerPart(&o), "Run the scheduler alone, against an API server elsewhere", []any{&o}, o.configure, func(string) {}, func(*outside) error { return nil })
}

// orFile names a file of the data directory's PKI where nothing else is named.
func orFile(name *string, dir, file string, wanted bool) {
	if path := filepath.Join(dir, "pki", file); *name == "" && wanted && exists(path) {
		*name = path
	}
}

// aloneCommand is the command that runs a part in a process of its own. configure, if it is not nil, takes over what a file
// says and no flag does; complete fills in what the data directory has; prepare reads what the part needs.
func aloneCommand(p part, short string, options []any, configure func(*aloneOptions, *serving, *election, func(string) bool) error, complete func(dataDir string), prepare func(*outside) error) *cobra.Command {
	alone := aloneOptions{DataDir: server.DefaultConfig().DataDir}
	front, elect, logs := defaultServing(p.port), defaultElection(), &logging{}
	c := &cobra.Command{
		Use: p.name, Short: short, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := logs.logger(c.ErrOrStderr())
			if err != nil {
				return err
			}
			if configure != nil {
				if err := configure(&alone, &front, &elect, c.Flags().Changed); err != nil {
					return err
				}
			}
			if err := errors.Join(elect.check(), front.check()); err != nil {
				return err
			}
			complete(alone.DataDir)
			reach, err := alone.reach(p)
			if err != nil {
				return err
			}
			if err := prepare(reach); err != nil {
				return err
			}
			return runAlone(c.Context(), p, reach, alone.DataDir, &front, &elect, shown(options...), log)
		},
	}
	bindFlags(c.Flags(), &alone)
	for _, o := range options {
		bindFlags(c.Flags(), o)
	}
	bindFlags(c.Flags(), &front)
	bindFlags(c.Flags(), &elect)
	logs.flags(c.Flags())
	showByTopic(c)
	return c
}

// reach opens the kubeconfig.
func (o *aloneOptions) reach(p part) (*outside, error) {
	path := o.Kubeconfig
	if path == "" {
		path = filepath.Join(o.DataDir, p.name+".kubeconfig")
		if !exists(path) {
			return nil, fmt.Errorf("there is no %s: start `knarr apiserver` over the same --data-dir, or name a kubeconfig with --kubeconfig", path)
		}
	}
	return openOutside(path)
}

// runAlone runs one part until ctx ends.
func runAlone(ctx context.Context, p part, r *outside, dataDir string, front *serving, elect *election, config any, log *slog.Logger) error {
	identity, err := identify(dataDir, p.program)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(r.own())
	if err != nil {
		return err
	}
	x, err := newStation(p, r, elect, identity, &gathering{client: client, parts: 1}, newDesk(p.program, config, front.Profiling), log)
	if err != nil {
		return err
	}
	if front.Port != 0 {
		shown, authorities, err := front.open(dataDir, r.config, p.program)
		if err != nil {
			return err
		}
		listener, err := front.listen()
		if err != nil {
			return err
		}
		log.Info("the part answers", "part", p.name, "url", urlOf(listener))
		go auth.Reread(ctx, log, shown, authorities)
		x.door = &door{*front, listener, shown, authorities}
	}
	x.keep(ctx)
	return nil
}

// open finds what a part shows to those who ask it something, and the authorities by which it knows them.
func (s *serving) open(dataDir string, api *rest.Config, name string) (shown *auth.Certificate, authorities *auth.Bundle, err error) {
	pki := filepath.Join(dataDir, "pki")
	cert, key, ca := s.CertFile, s.KeyFile, s.ClientCA
	if own := filepath.Join(pki, "parts.crt"); cert == "" && exists(own) {
		cert, key = own, filepath.Join(pki, "parts.key")
	}
	if own := filepath.Join(pki, "ca.crt"); ca == "" && exists(own) {
		ca = own
	}
	if cert != "" {
		shown, err = auth.OpenCertificate(cert, key)
	} else {
		shown, err = auth.SelfSigned(name, s.BindAddress)
	}
	if err != nil {
		return nil, nil, err
	}
	if ca == "" {
		ca = api.CAFile
	}
	if ca != "" {
		authorities, err = auth.OpenBundle(ca)
	} else {
		authorities, err = auth.NewBundle(api.CAData)
	}
	return shown, authorities, err
}
