package chaos

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// observer reads what happens over watches that nobody delays, and writes it down. Revisions of one cluster are in one order
// whatever they are of, so what it has written down can be gone through again (see replay): every state that a reader could
// have seen, once each.
type observer struct {
	sources []source
	ending  sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	now   state
	begun state // at the beginning of the round
	log   []change
	past  []change // of the round that was gone through last
	gaps  []gap
}

// gap is where a watch could not be taken up where it had ended: of what happened to the source in between only the outcome is
// known. (An API server that was killed does not know it either.)
type gap struct{ after, until int64 }

// source is a resource that is observed.
type source struct {
	name  string
	lists cache.ListerWatcher
}

// change is an object that became another, or, if gone is set, was removed.
type change struct {
	revision int64
	object   metav1.Object
	gone     bool
	first    bool // there was nothing of it before
	blind    bool // it lies in a gap of some source: what was so at that moment is not known
}

// state is what there is at some revision.
type state map[types.UID]metav1.Object

func newObserver(client kubernetes.Interface) *observer {
	core, apps, batch := client.CoreV1().RESTClient(), client.AppsV1().RESTClient(), client.BatchV1().RESTClient()
	o := &observer{now: state{}, begun: state{}}
	for resource, of := range map[string]cache.Getter{"pods": core, "nodes": core, "replicationcontrollers": core, "namespaces": core, "deployments": apps,
		"replicasets": apps, "statefulsets": apps, "daemonsets": apps, "jobs": batch, "cronjobs": batch, "endpointslices": client.DiscoveryV1().RESTClient()} {
		o.sources = append(o.sources, source{resource, cache.NewListWatchFromClient(of, resource, metav1.NamespaceAll, fields.Everything())})
	}
	return o
}

// observe reads until ctx ends. When it returns, what there was before is known.
func (o *observer) observe(ctx context.Context) error {
	for _, s := range o.sources {
		listed, err := s.lists.List(metav1.ListOptions{})
		if err != nil {
			return err
		}
		revision := o.took(listed)
		o.ending.Go(func() {
			for ctx.Err() == nil {
				revision = o.follow(ctx, s, revision)
			}
		})
	}
	return nil
}

// follow reads a resource from a revision on until the API server no longer knows what came after the last that was seen, which
// it returns.
func (o *observer) follow(ctx context.Context, s source, seen string) string {
	listed, err := s.lists.List(metav1.ListOptions{})
	if err != nil {
		pause(ctx, 20*time.Millisecond)
		return seen
	}
	revision := o.took(listed)
	o.mu.Lock()
	o.gaps = append(o.gaps, gap{number(seen), number(revision)})
	o.mu.Unlock()
	for ctx.Err() == nil {
		w, err := s.lists.Watch(metav1.ListOptions{ResourceVersion: revision, AllowWatchBookmarks: true})
		if err != nil {
			pause(ctx, 20*time.Millisecond)
			continue
		}
		last, known := o.read(ctx, w, revision)
		if revision = last; !known {
			break
		}
	}
	return revision
}

// read takes in what a watch tells, and returns the revision after which to go on, and whether the API server knows that.
func (o *observer) read(ctx context.Context, w watch.Interface, revision string) (last string, known bool) {
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return revision, true
		case e, open := <-w.ResultChan():
			if !open {
				return revision, true
			}
			m, err := meta.Accessor(e.Object)
			if e.Type == watch.Error || err != nil {
				return revision, false
			}
			revision = m.GetResourceVersion()
			if e.Type != watch.Bookmark {
				o.note(m, e.Type == watch.Deleted)
			}
		}
	}
}

// took notes what a list has that is new, and what it no longer has.
func (o *observer) took(list runtime.Object) string {
	m, err := meta.ListAccessor(list)
	if err != nil {
		panic(err) // every list is one
	}
	found, err := meta.ExtractList(list)
	if err != nil {
		panic(err)
	}
	there := map[types.UID]bool{}
	for _, x := range found {
		object := x.(metav1.Object)
		there[object.GetUID()] = true
		o.note(object, false)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for uid, object := range o.now {
		if !there[uid] && len(found) > 0 && sameKind(object, found[0]) {
			delete(o.now, uid)
			o.log = append(o.log, change{revision: number(m.GetResourceVersion()), object: object, gone: true})
		}
	}
	return m.GetResourceVersion()
}

func sameKind(a, b any) bool { return fmt.Sprintf("%T", a) == fmt.Sprintf("%T", b) }

func (o *observer) note(object metav1.Object, gone bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	known := o.now[object.GetUID()]
	switch {
	case gone:
		delete(o.now, object.GetUID())
	case known != nil && number(known.GetResourceVersion()) >= number(object.GetResourceVersion()):
		return
	default:
		o.now[object.GetUID()] = object
	}
	o.log = append(o.log, change{revision: number(object.GetResourceVersion()), object: object, gone: gone})
}

func number(revision string) int64 {
	n, err := strconv.ParseInt(revision, 10, 64)
	if err != nil {
		panic(err) // this API's are numbers
	}
	return n
}

// caughtUp waits until the observer knows all that there is.
func (o *observer) caughtUp(ctx context.Context) error {
	for _, s := range o.sources {
		err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
			listed, err := s.lists.List(metav1.ListOptions{})
			if err != nil {
				return false, nil
			}
			found, err := meta.ExtractList(listed)
			return err == nil && o.knows(found), nil
		})
		if err != nil {
			return fmt.Errorf("%s are not observed: %w", s.name, err)
		}
	}
	return nil
}

func (o *observer) knows(found []runtime.Object) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, x := range found {
		object := x.(metav1.Object)
		known := o.now[object.GetUID()]
		if known == nil || number(known.GetResourceVersion()) < number(object.GetResourceVersion()) {
			return false
		}
	}
	return true
}

// look runs f over what there is now.
func (o *observer) look(f func(state)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f(o.now)
}

// replay goes through the round that has ended, in order of revisions: each is called after every change with what there was
// then. The next round begins after it.
func (o *observer) replay(each func(state, change)) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	slices.SortStableFunc(o.log, func(a, b change) int { return cmp.Compare(a.revision, b.revision) })
	for _, c := range o.log {
		if c.gone {
			delete(o.begun, c.object.GetUID())
		} else {
			c.first = o.begun[c.object.GetUID()] == nil
			c.blind = slices.ContainsFunc(o.gaps, func(g gap) bool { return c.revision > g.after && c.revision <= g.until })
			o.begun[c.object.GetUID()] = c.object
		}
		each(o.begun, c)
	}
	o.past, o.log, o.gaps = o.log, nil, nil
	return len(o.past)
}

// story is what happened to a workload and its pods in the round that was gone through last.
func (o *observer) story(name string) string {
	var b strings.Builder
	for _, c := range o.past {
		if n := c.object.GetName(); n != name && !strings.HasPrefix(n, name+"-") {
			continue
		}
		fmt.Fprintf(&b, "\n\t%d %T %s", c.revision, c.object, c.object.GetName())
		if controller := metav1.GetControllerOf(c.object); controller != nil {
			fmt.Fprintf(&b, " of %s %.8s", controller.Name, controller.UID)
		} else {
			fmt.Fprintf(&b, " %.8s", c.object.GetUID())
		}
		if c.gone {
			b.WriteString(" gone")
		}
		if c.object.GetDeletionTimestamp() != nil {
			b.WriteString(" going")
		}
		switch o := c.object.(type) {
		case *corev1.Pod:
			fmt.Fprintf(&b, " %s ready=%t on %q %v", o.Status.Phase, isReady(o), o.Spec.NodeName, o.Finalizers)
		case *appsv1.ReplicaSet:
			fmt.Fprintf(&b, " wants %d, %+v", *o.Spec.Replicas, o.Status)
		case *batchv1.Job:
			fmt.Fprintf(&b, " suspended=%t parallelism %d, succeeded %d, noted %+v", *o.Spec.Suspend, *o.Spec.Parallelism, o.Status.Succeeded, o.Status.UncountedTerminatedPods)
		}
	}
	return b.String()
}

// of are the objects of a kind.
func of[T metav1.Object](s state) []T {
	var found []T
	for _, o := range s {
		if x, ok := o.(T); ok {
			found = append(found, x)
		}
	}
	return found
}

// podsOf are the pods that an object controls.
func podsOf(s state, owner types.UID) []*corev1.Pod {
	var found []*corev1.Pod
	for _, p := range of[*corev1.Pod](s) {
		if c := metav1.GetControllerOfNoCopy(p); c != nil && c.UID == owner {
			found = append(found, p)
		}
	}
	return found
}

// setsOf are the ReplicaSets that a Deployment controls.
func setsOf(s state, deployment types.UID) []*appsv1.ReplicaSet {
	var found []*appsv1.ReplicaSet
	for _, rs := range of[*appsv1.ReplicaSet](s) {
		if c := metav1.GetControllerOfNoCopy(rs); c != nil && c.UID == deployment {
			found = append(found, rs)
		}
	}
	return found
}

func isFinished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func isActive(p *corev1.Pod) bool { return !isFinished(p) && p.DeletionTimestamp == nil }

func isReady(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func active(pods []*corev1.Pod) []*corev1.Pod {
	return slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool { return !isActive(p) })
}

func ready(pods []*corev1.Pod) []*corev1.Pod {
	return slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool { return !isReady(p) })
}

// ended reports how a Job ended.
func ended(j *batchv1.Job) (batchv1.JobConditionType, bool) {
	for _, c := range j.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c.Type, true
		}
	}
	return "", false
}

func podsIn(s state) []*corev1.Pod { return of[*corev1.Pod](s) }
