package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/knarr-dev/knarr/registry"
)

// part is a row of the table: a client of the API that runs in this process beside others, or in one of its own.
type part struct {
	name    string // of its subcommand and its files
	program string // what upstream calls it: the name of its lease, whom its events are from, and who has set fields of objects
	status  string // the name of its component status
	user    registry.User
	port    int // where it answers, unless told otherwise
	// configured is what the part was told, under upstream's name, for /configz.
	configured func() (name string, config any)
	// run works for one term, from the election that the part wins until ctx ends.
	run func(ctx context.Context, t *term) error
}

// controllersPart and schedulerPart are the parts of which one in a cluster works at a time: they stand for a lease.
func controllersPart(o *controllersOptions) part {
	return part{name: "controllers", program: "kube-controller-manager", status: "controller-manager", port: 10257,
		user: registry.User{Name: "system:kube-controller-manager"}, configured: o.configured, run: o.run}
}

func schedulerPart(o *schedulerOptions) part {
	return part{name: "scheduler", program: "kube-scheduler", status: "scheduler", port: 10259,
		user: registry.User{Name: "system:kube-scheduler"}, configured: o.configured, run: o.run}
}

// reach is how a part reaches the API.
type reach interface {
	// own is the part under its own identity.
	own() *rest.Config
	// account is the part as a service account of kube-system.
	account(name string) *rest.Config
}

// station is a part in its process: what it keeps from one term to the next.
type station struct {
	part
	reach
	client    kubernetes.Interface
	election  *election
	hold      *hold  // of its lease
	identity  string // under which it holds its lease
	informers *gathering
	voice     *voice
	desk      *desk
	door      *door // nil if nobody is answered
	log       *slog.Logger
}

// term is what a part has while it works. It writes while its lease is held, and not longer.
type term struct {
	*station
	reach
	client    kubernetes.Interface
	informers informers.SharedInformerFactory
}

// as is the term's part as a service account; without a name, under its own identity.
func (t *term) as(account string) *rest.Config {
	if account == "" {
		return t.own()
	}
	return t.account(account)
}

// newStation makes a part ready to stand for its lease.
func newStation(p part, r reach, e *election, identity string, g *gathering, d *desk, log *slog.Logger) (*station, error) {
	r = named{r, p.program}
	client, err := kubernetes.NewForConfig(r.own())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	x := &station{part: p, reach: r, client: client, election: e, hold: &hold{life: e.Deadline}, identity: identity, informers: g, desk: d, log: log}
	x.voice = newVoice(client)
	g.stands(p.name)
	return x, nil
}

// keep has the part work, term after term, and answer those who ask how it is, until ctx ends.
func (x *station) keep(ctx context.Context) {
	defer x.voice.end()
	answering, end := context.WithCancel(context.WithoutCancel(ctx))
	var answered sync.WaitGroup
	defer answered.Wait()
	defer end()
	if x.door != nil {
		answered.Go(func() { x.door.keep(answering, x) })
	}
	defer context.AfterFunc(ctx, func() { x.desk.leaving.Store(true) })()
	defer x.informers.passes(x.name)
	keepRunning(ctx, x.name, x.log, func(ctx context.Context) error {
		x.informers.stands(x.name)
		return x.election.lead(ctx, x, x.work)
	})
}

// work is one term.
func (x *station) work(ctx context.Context) error {
	shared, leave := x.informers.join(ctx, x.name)
	defer leave()
	if ctx.Err() != nil {
		return nil
	}
	t := &term{x, x.reach, x.client, shared}
	if x.election.Elect {
		var err error
		t.reach = covered{x.reach, x.hold}
		if t.client, err = kubernetes.NewForConfig(t.own()); err != nil {
			return err
		}
	}
	defer x.desk.begin(t)()
	return x.run(ctx, t)
}

// keepRunning starts again what ends before its time, after a moment. What it ends of is told once, until that is
// something else.
func keepRunning(ctx context.Context, name string, log *slog.Logger, run func(context.Context) error) {
	for told := ""; ; {
		err := run(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			told = ""
		} else if err.Error() != told {
			told = err.Error()
			log.Error("a part has ended and is started again until it runs", "part", name, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(restartPause):
		}
	}
}

// restartPause keeps a part that ends at once from doing nothing else.
const restartPause = time.Second
