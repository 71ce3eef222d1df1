package scheduler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// hall is where pods are that have a place and are not bound yet: held back by plugins, or being prepared for. Whoever
// needs their place more can end their way here: then there is nothing to delete.
type hall struct {
	mu        sync.Mutex // guards the fields below; it is taken under the scheduler's lock, never the other way round
	held      map[types.UID]*heldPod
	preparing map[types.UID]*preparation
}

func newHall() *hall {
	return &hall{held: map[types.UID]*heldPod{}, preparing: map[types.UID]*preparation{}}
}

// heldPod is a pod that plugins hold back.
type heldPod struct {
	waits map[string]time.Duration // plugins that do, and for how long
	since time.Time
	ended bool
	end   chan verdict // takes one
}

// verdict is how the waiting ended: well, refused, or with an error.
type verdict struct {
	refusal *Refusal
	err     error
}

func (v verdict) status() string {
	switch {
	case v.err != nil:
		return statusError
	case v.refusal != nil:
		return statusUnschedulable
	}
	return statusSuccess
}

// holds reports that a pod is held back.
func (h *hall) holds(uid types.UID) bool { return len(h.holders(uid)) > 0 }

// holders are the plugins that hold a pod back.
func (h *hall) holders(uid types.UID) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held[uid] == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(h.held[uid].waits))
}

// maxPermitWait bounds how long a plugin may hold a pod back.
const maxPermitWait = 15 * time.Minute

// hold begins to hold a pod back.
func (h *hall) hold(uid types.UID, waits map[string]time.Duration, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held[uid] = &heldPod{waits: waits, since: now, end: make(chan verdict, 1)}
}

// allow is one plugin's word that it holds a pod back no more.
func (h *hall) allow(uid types.UID, plugin string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.held[uid]
	if p == nil {
		return
	}
	if delete(p.waits, plugin); len(p.waits) == 0 {
		p.finish(verdict{})
	}
}

// stop ends the waiting; it returns false if it has ended, or there was none.
func (h *hall) stop(uid types.UID, v verdict) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.held[uid]
	return p != nil && p.finish(v)
}

func (p *heldPod) finish(v verdict) bool {
	if p.ended {
		return false
	}
	p.ended = true
	p.end <- v
	return true
}

// await waits until all plugins let a pod go, one of them refuses it, or the time of one is up.
func (h *hall) await(ctx context.Context, uid types.UID, clock clock.Clock) (v verdict, waited time.Duration) {
	h.mu.Lock()
	p := h.held[uid]
	h.mu.Unlock()
	if p == nil {
		return verdict{}, 0
	}
	defer func() {
		h.mu.Lock()
		delete(h.held, uid)
		h.mu.Unlock()
		waited = clock.Now().Sub(p.since)
	}()
	for {
		plugin, wait := h.shortest(p)
		timer := clock.NewTimer(wait - clock.Now().Sub(p.since))
		select {
		case v := <-p.end:
			timer.Stop()
			return v, 0
		case <-ctx.Done():
			timer.Stop()
			return verdict{err: ctx.Err()}, 0
		case <-timer.C():
			h.expire(p, plugin, wait)
		}
	}
}

// shortest is the plugin whose time is up first.
func (h *hall) shortest(p *heldPod) (plugin string, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	wait = maxPermitWait
	for name, w := range p.waits {
		if w <= wait {
			plugin, wait = name, w
		}
	}
	return plugin, wait
}

// expire refuses a pod for a plugin that still holds it back.
func (h *hall) expire(p *heldPod, plugin string, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, still := p.waits[plugin]; still {
		p.finish(verdict{refusal: &Refusal{Plugin: plugin, Reasons: []string{fmt.Sprintf("rejected due to timeout after waiting %v at plugin %v", wait, plugin)}}})
	}
}

// preparation is a pod that is being prepared for.
type preparation struct {
	cancel   context.CancelCauseFunc
	canceled bool
}

// prepare begins to prepare: until done, the context may be cancelled.
func (h *hall) prepare(ctx context.Context, uid types.UID) (context.Context, func() error) {
	ctx, cancel := context.WithCancelCause(ctx)
	p := &preparation{cancel: cancel}
	h.mu.Lock()
	h.preparing[uid] = p
	h.mu.Unlock()
	return ctx, func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.preparing, uid)
		defer cancel(nil)
		if p.canceled {
			return context.Cause(ctx)
		}
		return nil
	}
}

// preempt ends a pod's way; it returns false if the pod is not here, or not any more.
func (h *hall) preempt(uid types.UID) bool {
	if h.stop(uid, verdict{err: errors.New("waiting on permit for pod: preempted")}) {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.preparing[uid]
	if p == nil {
		return false
	}
	p.canceled = true
	p.cancel(errors.New("preempted by DefaultPreemption"))
	return true
}

// Allow says that a plugin holds a pod back no more.
func (s *Scheduler) Allow(uid types.UID, plugin string) { s.hall.allow(uid, plugin) }

// Reject refuses a pod that is held back, in a plugin's name; it returns false if it is not.
func (s *Scheduler) Reject(uid types.UID, plugin, reason string) bool {
	return s.hall.stop(uid, verdict{refusal: &Refusal{Plugin: plugin, Reasons: []string{reason}}})
}

// permit asks the plugins. A pod that some of them hold back waits in the hall, in the background.
func (s *Scheduler) permit(c *Cycle, n *Node) *Refusal {
	if len(c.profile.permitters) == 0 {
		return nil
	}
	waits := map[string]time.Duration{}
	for _, p := range c.profile.permitters {
		wait, refusal := p.plugin.Permit(c, n)
		if refusal != nil {
			return refusal
		}
		if wait > 0 {
			waits[p.name] = min(wait, maxPermitWait)
		}
	}
	if len(waits) > 0 {
		s.hall.hold(c.Pod.UID, waits, s.config.Clock.Now())
	}
	return nil
}
