package main

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/transport"
)

// A process can be stopped, and its machine can sleep, for longer than its lease lasts. When it goes on, another leads, and it takes a moment
// until this one has heard of it; what it has meanwhile in hand is from before. So everything that a term writes passes a
// transport that asks the clock first: nothing is sent that the lease does not cover any more.

// hold is for how long a lease is held.
type hold struct {
	life    time.Duration // from when its renewal was asked for
	renewed atomic.Pointer[time.Time]
}

// covers reports whether the lease is held at a time. A clock that stands still while the machine sleeps does not know; the other
// one can be set. So both have to agree.
func (h *hold) covers(now time.Time) bool {
	at := h.renewed.Load()
	return at != nil && max(now.Sub(*at), now.Round(0).Sub(at.Round(0))) < h.life
}

// heldLock is a lease whose renewals are noted.
type heldLock struct {
	resourcelock.Interface
	hold *hold
}

func (l heldLock) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.note(r, func() error { return l.Interface.Create(ctx, r) })
}

func (l heldLock) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.note(r, func() error { return l.Interface.Update(ctx, r) })
}

func (l heldLock) note(r resourcelock.LeaderElectionRecord, write func() error) error {
	asked := time.Now()
	err := write()
	if err == nil && r.HolderIdentity == l.Identity() {
		l.hold.renewed.Store(&asked)
	}
	return err
}

// covered reaches the API in another's way, as long as the lease is held; to read, always.
type covered struct {
	reach
	hold *hold
}

func (c covered) own() *rest.Config                { return c.cover(c.reach.own()) }
func (c covered) account(name string) *rest.Config { return c.cover(c.reach.account(name)) }

// cover puts the question last, after all that may take time.
func (c covered) cover(config *rest.Config) *rest.Config {
	config.WrapTransport = transport.Wrappers(func(next http.RoundTripper) http.RoundTripper { return coveredTrips{c.hold, next} }, config.WrapTransport)
	return config
}

type coveredTrips struct {
	hold *hold
	next http.RoundTripper
}

var errNotHeld = errors.New("nothing is written after the lease has run out")

func (t coveredTrips) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet && !t.hold.covers(time.Now()) {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, errNotHeld
	}
	return t.next.RoundTrip(r)
}

// WrappedRoundTripper lets client-go see what is behind.
func (t coveredTrips) WrappedRoundTripper() http.RoundTripper { return t.next }
