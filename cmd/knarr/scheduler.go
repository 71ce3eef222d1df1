package main

import (
	"context"
	"math/rand/v2"
	"time"

	"k8s.io/utils/clock"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/scheduler"
)

// schedulerOptions are what the scheduler can be told, in `knarr up` too. The flags are upstream's.
type schedulerOptions struct {
	ConfigFile string `flag:"config" help:"file of a KubeSchedulerConfiguration: profiles, plugins, their arguments, extenders (default: upstream's)"`

	read *scheduler.Configuration // of the file
}

// open reads the file.
func (o *schedulerOptions) open() (err error) {
	o.read, err = readSchedulerConfig(o.ConfigFile)
	return err
}

// readSchedulerConfig reads a file of the scheduler's configuration; without one, upstream's defaults hold. Errors name
// the file and the line.
func readSchedulerConfig(path string) (*scheduler.Configuration, error) {
	if path == "" {
		return scheduler.DefaultConfiguration(), nil
	}
	kind := auth.ConfigKind[scheduler.Configuration]{Kind: scheduler.ConfigurationKind, Versions: []string{scheduler.ConfigurationVersion},
		Default: scheduler.SetDefaults, Validate: scheduler.Validate}
	return kind.Read(path)
}

// configure reads the file, and takes over what it says about the process, unless a flag says otherwise. Limits for
// requests are not taken over: how many are too many is for the API server to see to.
func (o *schedulerOptions) configure(a *alone, flagged func(string) bool) error {
	if err := o.open(); err != nil || o.ConfigFile == "" {
		return err
	}
	elect := &a.elect
	if a.Kubeconfig == "" {
		a.Kubeconfig = o.read.ClientConnection.Kubeconfig
	}
	l := &o.read.LeaderElection
	adopt(flagged, "leader-elect", &elect.Elect, *l.LeaderElect)
	adopt(flagged, "leader-elect-lease-duration", &elect.Duration, l.LeaseDuration.Duration)
	adopt(flagged, "leader-elect-renew-deadline", &elect.Deadline, l.RenewDeadline.Duration)
	adopt(flagged, "leader-elect-retry-period", &elect.Retry, l.RetryPeriod.Duration)
	adopt(flagged, "leader-elect-resource-name", &elect.Name, l.ResourceName)
	adopt(flagged, "leader-elect-resource-namespace", &elect.Namespace, l.ResourceNamespace)
	adopt(flagged, "profiling", &a.front.Profiling, *o.read.EnableProfiling)
	return nil
}

func (o *schedulerOptions) prepare(*outside) error { return nil }

// adopt takes over what a file says for what a flag would.
func adopt[T bool | string | time.Duration](flagged func(string) bool, flag string, into *T, value T) {
	if !flagged(flag) {
		*into = value
	}
}

// configured is what the file says, and what holds where it says nothing.
func (o *schedulerOptions) configured() (string, any) { return "componentconfig", o.read }

// run runs the scheduler for one term.
func (o *schedulerOptions) run(ctx context.Context, t *term) error {
	tell, end, err := t.voice.series(ctx)
	if err != nil {
		return err
	}
	defer end()
	s, err := scheduler.New(&scheduler.Config{
		Client: t.client, Informers: t.informers, Clock: clock.RealClock{}, Random: rand.IntN, Log: t.log, EventsFor: tell, Configuration: o.read,
	})
	if err != nil {
		return err
	}
	t.counts().MustRegister(s.Collectors()...)
	t.show(s.Handler())
	return s.Run(ctx)
}
