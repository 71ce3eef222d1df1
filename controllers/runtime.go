package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
)

// Key names the object that a controller reconciles. Namespace is empty for cluster-scoped objects.
type Key struct{ Namespace, Name string }

// String is the key as logs and errors show it.
func (k Key) String() string {
	if k.Namespace == "" {
		return k.Name
	}
	return k.Namespace + "/" + k.Name
}

// KeyOf is the key of an object.
func KeyOf(o metav1.Object) Key { return Key{o.GetNamespace(), o.GetName()} }

// Loop is what a controller does: whenever something changes that concerns a key, it reconciles the key.
type Loop struct {
	Watches []Watch
	// Gathered are watches whose changes wait for others (see gathering), so that one turn does for all of them.
	Gathered []Watch
	// Found are watches of which only that counts which was there when the loop began: what happened while none ran.
	Found []Watch
	// Reconcile makes the world match for t.Key. It is never run twice for a key at a time, and not before the caches have
	// seen what it wrote the last time. After an error it is run again, later and later.
	Reconcile func(ctx context.Context, t *Turn) error
	// Everything is for controllers that are about all resources, also those that appear while they run. It is asked
	// about each, and returns the keys that a change of one of its objects concerns, or nil for none of interest.
	Everything func(*Resource) func(old, now metav1.Object) []Key
	// First are keys that need a turn without anything having changed.
	First []Key
	// LastBackoff is how long a key that fails waits for its next turn at most; zero for a minute.
	LastBackoff time.Duration
	// Beside is a second loop of the same controller, whose keys name objects of another kind.
	Beside *Loop
}

// Watch is a kind of object whose changes concern keys.
type Watch struct {
	*Source
	// Keys are those that a change concerns. old is nil for an object that is new to the cache, now for one that is gone.
	Keys func(old, now metav1.Object) []Key
}

// Turn is one run of Reconcile.
type Turn struct {
	Key
	Client   kubernetes.Interface
	Metadata metadata.Interface // for resources of any kind
	Now      time.Time
	Log      *slog.Logger

	loop  *loop
	again time.Duration
}

// Again asks for another turn of the key after a while, whatever happens until then.
func (t *Turn) Again(after time.Duration) {
	if t.again == 0 || after < t.again {
		t.again = max(after, time.Millisecond)
	}
}

// Wake asks for a turn of another key.
func (t *Turn) Wake(k Key) { t.loop.queue.Add(k) }

// Event tells people what happened to an object.
func (t *Turn) Event(of runtime.Object, kind, reason, format string, args ...any) {
	t.loop.events.Eventf(of, kind, reason, format, args...)
}

// Failed tells people of an error that keeps an object from being as it should, and returns it as one that they know of:
// the log need not repeat it at each turn. Nothing has failed if the work is merely to end.
func (t *Turn) Failed(of runtime.Object, err error, reason, format string, args ...any) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	t.Event(of, corev1.EventTypeWarning, reason, format, args...)
	return &known{err}
}

// loop runs one controller: a queue of keys and the workers that take from it.
//
//	event of an informer -> Keys -> queue -> a worker: awaited writes seen? -> Reconcile -> again, or back-off
//
// A key whose writes the caches have not seen yet is put aside, and comes back with the event that it waits for.
type loop struct {
	Loop
	name    string
	workers int
	config  *Config
	client  kubernetes.Interface
	meta    metadata.Interface
	log     *slog.Logger
	queue   workqueue.TypedRateLimitingInterface[Key]
	events  record.EventRecorder
	awaited awaited
	ended   atomic.Bool
}

// Back-off of a key that fails. It doubles from upstream's least, but not up to upstream's 1,000 seconds: in an outage every change
// that is seen is another turn that fails, and what has failed often enough would be left alone long after the outage.
const (
	firstBackoff = 5 * time.Millisecond
	lastBackoff  = time.Minute
)

// gathering is how long a gathered change waits.
const gathering = time.Second

func newLoop(row Controller, l Loop, c *Config) *loop {
	x := &loop{Loop: l, name: row.Name, workers: max(cmp.Or(c.Workers[row.Name], row.Workers), 1), config: c,
		client: c.ClientFor(row.Account), meta: c.MetadataFor(row.Account), log: c.Log.With("controller", row.Name),
		events: c.EventsFrom(cmp.Or(row.Teller, row.Name))}
	x.queue = c.metrics.queue(x.name, c.Clock, workqueue.NewTypedItemExponentialFailureRateLimiter[Key](firstBackoff, cmp.Or(x.LastBackoff, lastBackoff)))
	x.awaited.init(c.Clock, x.queue.Add)
	if x.Everything != nil {
		c.everything()
	}
	return x
}

// run watches and works until ctx ends, and takes its handlers from the shared informers then.
func (x *loop) run(ctx context.Context) error {
	var synced []cache.InformerSynced
	for i, w := range slices.Concat(x.Watches, x.Gathered, x.Found) {
		handler := x.handler(w, 0)
		switch n := len(x.Watches); {
		case i >= n+len(x.Gathered):
			handler = x.found(w)
		case i >= n:
			handler = x.handler(w, gathering)
		}
		registration, err := w.informer.AddEventHandler(handler)
		if err != nil {
			return fmt.Errorf("watch for %s: %w", x.name, err)
		}
		defer w.informer.RemoveEventHandler(registration)
		synced = append(synced, registration.HasSynced)
	}
	if x.Everything != nil {
		f := x.config.all.follow(x)
		defer x.config.all.forget(f)
		// One resource that does not answer must not hold up the work on all others.
		patient := x.config.Clock.Now().Add(30 * time.Second)
		synced = append(synced, func() bool { return x.config.all.synced(f) || x.config.Clock.Now().After(patient) })
	}
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return ctx.Err()
	}
	for _, k := range x.First {
		x.queue.Add(k)
	}
	var working sync.WaitGroup
	for range x.workers {
		working.Go(func() {
			for x.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	x.queue.ShutDown()
	working.Wait()
	return nil
}

// handler queues the keys that a change concerns after a while, and at once those that have waited for it.
func (x *loop) handler(w Watch, after time.Duration) cache.ResourceEventHandler {
	tell := func(old, now metav1.Object) {
		for _, k := range w.Keys(old, now) {
			x.queue.AddAfter(k, after)
		}
		x.awaited.saw(w.Source)
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { tell(nil, o.(metav1.Object)) },
		UpdateFunc: func(o, n any) {
			switch old, now := o.(metav1.Object), n.(metav1.Object); {
			case old.GetUID() != now.GetUID(): // deleted and made again between two looks
				tell(old, nil)
				tell(nil, now)
			case old.GetResourceVersion() != now.GetResourceVersion():
				tell(old, now)
			}
		},
		DeleteFunc: func(o any) {
			if last, unknown := o.(cache.DeletedFinalStateUnknown); unknown {
				o = last.Obj
			}
			tell(o.(metav1.Object), nil)
		},
	}
}

// found queues the keys of what is there when the watch begins.
func (x *loop) found(w Watch) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerDetailedFuncs{AddFunc: func(o any, before bool) {
		if !before {
			return
		}
		for _, k := range w.Keys(nil, o.(metav1.Object)) {
			x.queue.Add(k)
		}
	}}
}

// next works on one key. It returns false when the queue is shut down.
func (x *loop) next(ctx context.Context) bool {
	k, ended := x.queue.Get()
	if ended {
		return false
	}
	defer x.queue.Done(k)
	if x.awaited.holds(ctx, k) {
		return true // it comes back
	}
	t := &Turn{Key: k, Client: x.client, Metadata: x.meta, Now: x.config.Clock.Now(), Log: x.log.With("key", k.String()), loop: x}
	err := x.reconcile(ctx, t)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		x.log.Log(ctx, severity(err), "reconcile", "key", k.String(), "err", err)
		x.config.metrics.retries.WithLabelValues(x.name).Inc()
		x.queue.AddRateLimited(k)
	default:
		x.queue.Forget(k)
		if t.again > 0 {
			x.queue.AddAfter(k, t.again)
		}
	}
	return true
}

// reconcile turns a panic into an error: one bad object must not end the work on all others.
func (x *loop) reconcile(ctx context.Context, t *Turn) (err error) {
	defer func() {
		if what := recover(); what != nil {
			err = &panicked{what, string(debug.Stack())}
		}
	}()
	return x.Reconcile(ctx, t)
}

// known is an error that people know of by an event.
type known struct{ error }

func (k *known) Unwrap() error { return k.error }

type panicked struct {
	what  any
	stack string
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v\n%s", p.what, p.stack) }

// severity of an error: what another turn settles by itself is of interest to those who look for it only.
func severity(err error) slog.Level {
	switch {
	case errors.As(err, new(*panicked)):
		return slog.LevelError
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err), apierrors.HasStatusCause(err, "NamespaceTerminating"):
		return slog.LevelDebug
	case errors.Is(err, errOwnerUnseen), errors.Is(err, errNoSuchKind), errors.Is(err, context.Canceled), errors.As(err, new(*known)):
		return slog.LevelDebug
	}
	return slog.LevelWarn
}
