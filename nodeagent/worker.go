package nodeagent

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/clock"
)

// desk is where the pods of the agent's nodes are worked on.
//
//	change in the API, event of the runtime, timer -> wake -> sync: observe, probe, plan, apply, publish -> timer
//
// A pod is worked on by one goroutine at a time, which exists while there is something to do: a pod that just runs costs
// none. What changes meanwhile makes it go round once more.
type desk struct {
	mu      sync.Mutex // guards the fields below it, and of each work those above the line
	pods    map[types.UID]*work
	used    map[string]load              // by node
	ports   map[string]map[hostPort]bool // taken, by node
	statics statics
	// busy are the goroutines that work.
	busy sync.WaitGroup
}

// work is one pod. Fields below the line belong to the goroutine that works on it.
type work struct {
	pod         *corev1.Pod // as the API had it last
	gone        bool        // the API, or its source, has it no more
	static      bool        // it comes from a source of its node
	mirror      *corev1.Pod // of a static pod, as the API has it
	dirty, busy bool
	timer       clock.Timer
	interrupt   context.CancelFunc // of the round that runs, for when the pod is to end
	counted     load               // what it requests of its node
	ports       []hostPort         // that it has taken
	doubted     bool               // it is to be refused if what was heard of the node is true
	resizing    resizing

	// ---
	recalled []run
	sandbox  string
	health   map[string]health
	backoffs map[string]backoff
	revive   map[string]bool
	stopping map[string]bool // by container ID: asked to stop
	trouble  map[string]trouble
	mounting mounting
	// resetting is that all containers are being ended, and past what is known of those of before.
	resetting bool
	past      map[string]run
	ends      time.Time // since when it is being ended
	verdict   *verdict
	status    *corev1.PodStatus // as published last
	mirrored  mirrored          // of a static pod
	published string            // revision of the object that has the status which was published last
	released  bool              // taken from the API; what is there still is held by finalizers, or is seen no more in a moment
	retry     backoff           // of rounds that fail
}

// trouble is why a container that should run does not: the reason and message of its waiting state.
type trouble struct {
	reason, message string
	until           time.Time // when it is tried again
	delay           backoff   // of images
	wait            time.Duration
}

// verdict is why the agent ends a pod.
type verdict struct {
	reason, message string
	refused         bool // it was never begun
}

// told takes in what the API says of a pod.
func (a *Agent) told(ctx context.Context, pod *corev1.Pod, gone bool) {
	a.desk.mu.Lock()
	defer a.desk.mu.Unlock()
	if isMirror(pod) {
		a.toldMirror(ctx, pod, gone)
		return
	}
	w := a.desk.pods[pod.UID]
	if w == nil {
		if gone || finished(pod.Status.Phase) && pod.DeletionTimestamp == nil {
			return
		}
		w = a.newWork(pod, false)
	}
	ends := gone || pod.DeletionTimestamp != nil
	if ends && w.interrupt != nil && w.pod.DeletionTimestamp == nil && !w.gone {
		w.interrupt()
	}
	unchanged := w.pod != nil && !gone && !changes(w.pod, pod)
	if w.pod != nil && w.pod.Generation != pod.Generation && w.counted != nil && !ends {
		a.resize(w, w.pod, pod)
		defer a.retryResizes(pod.Spec.NodeName) // of others, should it have shrunk
	}
	w.pod, w.gone = pod, w.gone || gone
	if !w.busy {
		w.settle()
	}
	if unchanged {
		return // the agent's own writes come back
	}
	a.wake(ctx, w)
}

// newWork puts a pod on the desk, which is locked.
func (a *Agent) newWork(pod *corev1.Pod, static bool) *work {
	w := &work{static: static, recalled: recall(&pod.Status, a.Clock.Now()), health: map[string]health{}, backoffs: map[string]backoff{}, revive: map[string]bool{},
		stopping: map[string]bool{}, trouble: map[string]trouble{}}
	w.sandbox = a.adopted[string(pod.UID)]
	a.desk.pods[pod.UID] = w
	a.admit(w, pod, nil)
	return w
}

// changes reports whether more than the status that the agent wrote itself has changed.
func changes(old, now *corev1.Pod) bool {
	return old.Generation != now.Generation || (old.DeletionTimestamp == nil) != (now.DeletionTimestamp == nil) ||
		!old.DeletionTimestamp.Equal(now.DeletionTimestamp) || len(old.Finalizers) != len(now.Finalizers) ||
		!sameForeignConditions(old, now) || finished(old.Status.Phase) != finished(now.Status.Phase)
}

// wake has a pod worked on. The desk is locked.
func (a *Agent) wake(ctx context.Context, w *work) {
	w.dirty = true
	if w.busy || ctx.Err() != nil {
		return
	}
	w.busy = true
	a.desk.busy.Go(func() {
		a.rounds <- struct{}{}
		defer func() { <-a.rounds }()
		a.workOn(ctx, w)
	})
}

func (a *Agent) wakeUID(ctx context.Context, uid types.UID) {
	a.desk.mu.Lock()
	defer a.desk.mu.Unlock()
	if w := a.desk.pods[uid]; w != nil {
		a.wake(ctx, w)
	}
}

// workOn goes round until nothing is left to do.
func (a *Agent) workOn(ctx context.Context, w *work) {
	for {
		a.desk.mu.Lock()
		w.settle()
		if !w.dirty || ctx.Err() != nil {
			w.busy = false
			a.desk.mu.Unlock()
			return
		}
		w.dirty = false
		pod, gone := w.pod, w.gone
		round, interrupt := context.WithCancel(ctx)
		w.interrupt = interrupt
		a.desk.mu.Unlock()

		next, done, err := a.sync(round, w, pod, gone)
		interrupted := round.Err() != nil // the pod is to end, and the next round begins at once
		interrupt()
		now := a.Clock.Now()
		switch {
		case err != nil && !interrupted:
			a.Log.Warn("work on a pod", "pod", podLabel(pod), "err", err)
			w.retry.delay = min(max(2*w.retry.delay, 100*time.Millisecond), 10*time.Second)
			next = sooner(next, now.Add(w.retry.delay))
		default:
			w.retry.delay = 0
		}
		a.desk.mu.Lock()
		w.interrupt = nil
		if w.timer != nil {
			w.timer.Stop()
			w.timer = nil
		}
		if done || finished(pod.Status.Phase) || w.status != nil && finished(w.status.Phase) {
			a.leave(w)
		}
		if done {
			delete(a.desk.pods, pod.UID)
			if w.static {
				a.staticEnded(ctx, pod)
			}
			w.busy = false
			a.desk.mu.Unlock()
			return
		}
		if !next.IsZero() && !w.dirty {
			w.timer = a.Clock.AfterFunc(max(next.Sub(now), time.Millisecond), func() { a.wakeUID(ctx, pod.UID) })
		}
		a.desk.mu.Unlock()
	}
}

// sync is one round: it makes the pod a little more what it should be, and tells the API what it is. It returns when to
// come back if nothing happens before, and whether nothing is left of the pod.
func (a *Agent) sync(ctx context.Context, w *work, pod *corev1.Pod, gone bool) (next time.Time, done bool, err error) {
	if err := a.reconsider(ctx, w, pod); err != nil {
		return next, false, err
	}
	// 1. What is there, and how is it?
	seen, err := a.observe(ctx, w, pod)
	if err != nil {
		return next, false, err
	}
	overdue, deadline := a.deadline(w, pod)
	ending := gone || overdue || pod.DeletionTimestamp != nil || finished(pod.Status.Phase)
	next = sooner(deadline, a.probe(ctx, w, pod, &seen, ending))
	// 2. What is to be done?
	s := &situation{pod: pod, ending: ending, seen: seen, health: w.health, backoffs: w.backoffs, revive: w.revive, now: a.Clock.Now(), resetting: w.resetting}
	steps := plan(s)
	// 3. Do it. What fails shows in the status, and is tried again.
	wait, applied := a.apply(ctx, w, s, steps)
	next = sooner(next, wait)
	if seen, err = a.observe(ctx, w, pod); err != nil {
		return next, false, err
	}
	// 4. Tell the API.
	if gone {
		if !steps.end || seen.running() {
			return next, false, applied
		}
		return next, applied == nil, a.remove(ctx, w)
	}
	if w.released {
		return next, false, applied // its last word was said
	}
	at := pod
	if w.static {
		if at, err = a.reflect(ctx, pod, a.mirrorOf(w)); err != nil {
			return next, false, err
		}
	}
	over, err := a.publish(ctx, w, pod, at, &seen, ending, steps.end)
	if err != nil {
		return next, false, err
	}
	if applied != nil {
		return next, false, applied
	}
	// 5. A pod that was deleted leaves the API when nothing of it is left.
	if over && pod.DeletionTimestamp != nil {
		return next, false, a.release(ctx, w, pod)
	}
	return next, false, nil
}

// mirrorOf is the mirror of a static pod; nil if there is none.
func (a *Agent) mirrorOf(w *work) *corev1.Pod {
	a.desk.mu.Lock()
	defer a.desk.mu.Unlock()
	return w.mirror
}

// deadline reports whether a pod has been active for longer than it may be, and when it will have been.
func (a *Agent) deadline(w *work, pod *corev1.Pod) (overdue bool, at time.Time) {
	if w.verdict != nil {
		return true, time.Time{}
	}
	limit := pod.Spec.ActiveDeadlineSeconds
	if limit == nil || finished(pod.Status.Phase) {
		return false, time.Time{}
	}
	at = a.active(w, pod).Add(time.Duration(*limit) * time.Second)
	if a.Clock.Now().Before(at) {
		return false, at
	}
	w.verdict = &verdict{reason: "DeadlineExceeded", message: "Pod was active on the node longer than the specified deadline"}
	a.podEvent(pod, corev1.EventTypeNormal, w.verdict.reason, "%s", w.verdict.message)
	return true, time.Time{}
}

// active is since when a pod has been active. The pod that the API shows may not have it yet, and no other round need follow when it has;
// in its first round the pod begins to be active.
func (a *Agent) active(w *work, pod *corev1.Pod) time.Time {
	for _, s := range []*corev1.PodStatus{w.status, &pod.Status} {
		if s != nil && s.StartTime != nil {
			return s.StartTime.Time
		}
	}
	return a.Clock.Now()
}

// observe asks the runtime for a pod.
func (a *Agent) observe(ctx context.Context, w *work, pod *corev1.Pod) (observed, error) {
	if w.sandbox == "" {
		return w.with(observe(nil, w.recalled)), nil
	}
	answer, err := a.Runtime.PodSandboxStatus(ctx, w.sandbox, false)
	if err != nil {
		return observed{}, fmt.Errorf("sandbox of %s: %w", podLabel(pod), err)
	}
	return w.with(observe(answer, w.recalled)), nil
}

// with adds what the runtime does not know any more.
func (w *work) with(o observed) observed {
	o.past = w.past
	return o
}

// follow wakes pods when something happens to their containers, until ctx ends.
func (a *Agent) follow(ctx context.Context) error {
	events := make(chan *cri.ContainerEventResponse, 1024)
	ended := make(chan error, 1)
	go func() { ended <- a.Runtime.GetContainerEvents(ctx, events, nil) }()
	for {
		select {
		case e := <-events:
			if s := e.PodSandboxStatus; s != nil && s.Metadata != nil {
				a.wakeUID(ctx, types.UID(s.Metadata.Uid))
			}
		case err := <-ended:
			return err
		}
	}
}
