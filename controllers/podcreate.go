package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

var (
	errOwnerChanged   = errors.New("the owner is another by now, or is going")
	errNamespaceGoing = errors.New("the namespace is going")
	errNameTaken      = errors.New("the name of the pod is taken")
)

// burst is how many pods an owner gets or loses in one turn at most.
const burst = 500

// podOf is a pod of a template, owned by owner.
func podOf(template *corev1.PodTemplateSpec, namespace string, owner metav1.Object, reference metav1.OwnerReference) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: *template.Spec.DeepCopy()}
	p.ObjectMeta = metav1.ObjectMeta{Namespace: namespace, GenerateName: podPrefix(owner.GetName()), Labels: p.Labels,
		Annotations: p.Annotations, Finalizers: p.Finalizers, OwnerReferences: []metav1.OwnerReference{reference}}
	return p
}

// podPrefix is how the names of an owner's pods begin.
func podPrefix(owner string) string {
	if dashed := owner + "-"; len(validation.NameIsDNSSubdomain(dashed, true)) == 0 {
		return dashed
	}
	return owner
}

// podOwner is an object that has pods.
type podOwner interface {
	runtime.Object
	metav1.Object
}

// createPods creates n pods, one after the other, for an owner of whose pods some have been seen. It returns how many there are.
func createPods(ctx context.Context, t *Turn, owner podOwner, numbers *podNumbers, seen podsSeen, n int, one func(i int) *corev1.Pod) (done int, err error) {
	if n == 0 {
		return 0, nil
	}
	pods := make([]*corev1.Pod, n)
	for i := range pods {
		pods[i] = one(i)
	}
	if !numbers.name(owner.GetUID(), seen, pods) {
		t.Wake(t.Key)
		return 0, nil
	}
	done, err = inBatches(n, func(i int) error { return createPod(ctx, t, owner, numbers, pods[i]) })
	if errors.Is(err, errNameTaken) {
		t.Wake(t.Key)
		err = nil
	}
	return done, err
}

// inBatches calls do for 0 to n-1, at once in batches that double, so that what keeps one from succeeding (a quota) is not
// asked n times. It returns how many calls succeeded, and the first error of the last batch. A namespace that is going ends
// the batches without an error: there is nothing to create any more.
func inBatches(n int, do func(i int) error) (done int, err error) {
	for from, batch := 0, 1; from < n && err == nil; from, batch = from+batch, batch*2 {
		batch = min(batch, n-from)
		var failed atomic.Int32
		err = eachOf(batch, func(i int) error {
			err := do(from + i)
			if err != nil && !errors.Is(err, errNamespaceGoing) {
				failed.Add(1)
			}
			return err
		})
		done += batch - int(failed.Load())
	}
	if errors.Is(err, errNamespaceGoing) {
		err = nil
	}
	return done, err
}

// createPod creates a pod. One that is there already, since somebody else has filled the gap or an answer was lost, is as good.
func createPod(ctx context.Context, t *Turn, owner podOwner, numbers *podNumbers, p *corev1.Pod) error {
	made, err := Create(ctx, t, t.Client.CoreV1().Pods(p.Namespace), p)
	switch {
	case err == nil:
		numbers.taken(owner.GetUID(), made)
		t.Event(owner, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %v", made.Name)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return errNamespaceGoing
	case apierrors.IsAlreadyExists(err) && p.Name != "":
		numbers.taken(owner.GetUID(), p)
		return awaitPod(ctx, t, owner, numbers, p)
	default:
		return t.Failed(owner, err, "FailedCreate", "Error creating: %v", err)
	}
	return nil
}

// awaitPod awaits a pod that is there already as if it had been created. If its name is another's, the next turn has another name for it.
// If it was there and is gone, what the turn has seen is too old to decide on.
func awaitPod(ctx context.Context, t *Turn, owner podOwner, numbers *podNumbers, p *corev1.Pod) error {
	// The accounts may list pods; none may get one.
	list, err := t.Client.CoreV1().Pods(p.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + p.Name})
	if err != nil {
		return err
	}
	at := slices.IndexFunc(list.Items, func(one corev1.Pod) bool { return one.Name == p.Name })
	switch {
	case at < 0:
		return apierrors.NewNotFound(corev1.Resource("pods"), p.Name)
	case !numbers.isSame(owner.GetUID(), &list.Items[at], p):
		return errNameTaken
	}
	t.wrote(p, &list.Items[at], nil)
	return nil
}

// deletePods deletes all of them at once.
func deletePods(ctx context.Context, t *Turn, owner runtime.Object, pods []*corev1.Pod) error {
	return eachOf(len(pods), func(i int) error { return deletePod(ctx, t, owner, pods[i], metav1.DeleteOptions{}) })
}

func deletePod(ctx context.Context, t *Turn, owner runtime.Object, p *corev1.Pod, options metav1.DeleteOptions) error {
	err := Delete(ctx, t, t.Client.CoreV1().Pods(p.Namespace), p, options)
	switch {
	case apierrors.IsConflict(err):
		return err // it is not what it was when that was decided
	case err != nil:
		return fmt.Errorf("unable to delete pods: %w", t.Failed(owner, err, "FailedDelete", "Error deleting: %v", err))
	}
	t.Event(owner, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %v", p.Name)
	return nil
}

// atOnce is how many requests of a turn are under way at a time. More would be no faster, and the API server, which shares
// itself among its clients, would send some away for a second.
const atOnce = 50

// eachOf calls do for 0 to n-1, many at once, and returns the first error.
func eachOf(n int, do func(i int) error) error {
	errs := make([]error, n)
	var next atomic.Int64
	var running sync.WaitGroup
	for range min(n, atOnce) {
		running.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				errs[i] = do(int(i))
			}
		})
	}
	running.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}
