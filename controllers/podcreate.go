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

// createPods creates n pods.
func createPods(ctx context.Context, t *Turn, owner runtime.Object, n int, make func() *corev1.Pod) error {
	_, err := inBatches(n, func(int) error { return createPod(ctx, t, owner, make()) })
	return err
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

// createPod creates a pod.
func createPod(ctx context.Context, t *Turn, owner runtime.Object, p *corev1.Pod) error {
	made, err := Create(ctx, t, t.Client.CoreV1().Pods(p.Namespace), p)
	switch {
	case err == nil:
		t.Event(owner, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %v", made.Name)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return errNamespaceGoing
	default:
		return t.Failed(owner, err, "FailedCreate", "Error creating: %v", err)
	}
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
