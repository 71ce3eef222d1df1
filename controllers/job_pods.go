package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// jobPlan is what has to be done to a Job's pods: some go, or others come, never both in one turn.
type jobPlan struct {
	remove []*corev1.Pod
	create []int         // the indexes of new pods; noIndex for pods that have none
	wait   time.Duration // until pods may be created that are to come
}

// plan compares the active pods with those that are wanted. delay is how long failures hold up new pods of a Job that does
// not count them for each index.
func (v *jobView) plan(delay time.Duration, now time.Time) jobPlan {
	active := len(v.active)
	if isSuspended(v.job) {
		return jobPlan{remove: v.active}
	}
	if remove := v.surplus(max(0, active-v.wanted())); len(remove) > 0 {
		return jobPlan{remove: remove[:min(len(remove), burst)]}
	}
	lacking := v.wanted() - active
	if awaitsPhase(v.job) {
		lacking -= int(v.terminating)
	}
	switch {
	case lacking <= 0:
		return jobPlan{}
	case v.job.Spec.BackoffLimitPerIndex == nil && delay > 0:
		return jobPlan{wait: delay}
	}
	lacking = min(lacking, burst)
	if !isIndexed(v.job) {
		return jobPlan{create: slices.Repeat([]int{noIndex}, lacking)}
	}
	return v.planIndexes(lacking, now)
}

// wanted is how many pods are to be active. Where the number of completions is open, no more are started after the first
// success, and those that run may go on.
func (v *jobView) wanted() int {
	switch {
	case v.job.Spec.Completions != nil:
		return int(min(*v.job.Spec.Parallelism, max(0, *v.job.Spec.Completions-v.succeeded)))
	case v.succeeded > 0:
		return len(v.active)
	}
	return int(*v.job.Spec.Parallelism)
}

// surplus are active pods that go: all that double an index or have none that is wanted, and as many more as makes n.
func (v *jobView) surplus(n int) []*corev1.Pod {
	alone := func(*corev1.Pod) int { return 0 }
	var remove, rest []*corev1.Pod
	if isIndexed(v.job) {
		byIndex := map[int][]*corev1.Pod{}
		for _, p := range v.active {
			byIndex[indexOf(p)] = append(byIndex[indexOf(p)], p)
		}
		for _, index := range slices.Sorted(maps.Keys(byIndex)) {
			same := doomed(byIndex[index], alone, v.now)
			if !v.inRange(index) {
				remove = append(remove, same...)
				continue
			}
			remove = append(remove, same[:len(same)-1]...)
			rest = append(rest, same[len(same)-1])
		}
	} else {
		rest = v.active
	}
	if len(remove) < n {
		remove = append(remove, doomed(rest, alone, v.now)[:n-len(remove)]...)
	}
	return remove
}

// planIndexes starts pods for the first n indexes that are neither done nor hopeless nor running. Where failures are
// counted for each index, those that have to wait are left out.
func (v *jobView) planIndexes(n int, now time.Time) jobPlan {
	taken := v.done.union(indexesOf(v.active)).union(v.hopeless)
	if awaitsPhase(v.job) {
		for _, p := range v.pods {
			if isTerminating(p) && indexOf(p) != noIndex {
				taken = taken.with(indexOf(p))
			}
		}
	}
	var out jobPlan
	for _, index := range taken.missing(n, int(*v.job.Spec.Completions)) {
		rest := indexDelay(v.last[index], now)
		switch {
		case rest == 0:
			out.create = append(out.create, index)
		case out.wait == 0 || rest < out.wait:
			out.wait = rest
		}
	}
	return out
}

// action is what a plan does with pods, as metrics name it: pods that have to wait for their turn are to be created, too.
func (p *jobPlan) action() string {
	switch {
	case len(p.remove) > 0:
		return jobDeleting
	case len(p.create) > 0 || p.wait > 0:
		return jobCreating
	}
	return jobTracking
}

// carryOut does what is planned, as far as it can, and corrects the numbers of pods by it.
func (x *jobs) carryOut(ctx context.Context, t *Turn, v *jobView, p jobPlan, version int) (active int32, err error) {
	active = int32(len(v.active))
	if len(p.remove) > 0 {
		gone, err := x.remove(ctx, t, v, p.remove, true)
		return active - gone, err
	}
	made, err := createPods(ctx, t, v.job, x.numbers, podsSeen{v.pods, version}, len(p.create), func(i int) *corev1.Pod { return v.newPod(p.create[i]) })
	return active + int32(made), err
}

// remove deletes pods and returns how many of them are on their way. Those that are not to be counted as failed lose the
// finalizer, too.
func (x *jobs) remove(ctx context.Context, t *Turn, v *jobView, pods []*corev1.Pod, uncounted bool) (gone int32, err error) {
	var n, ready atomic.Int32
	err = eachOf(len(pods), func(i int) error {
		do := func() error { return deletePods(ctx, t, v.job, pods[i:i+1]) }
		if uncounted && isTracked(pods[i]) {
			do = func() error { return x.drop(ctx, t, v.job, pods[i]) }
		}
		if err := do(); err != nil {
			return err
		}
		n.Add(1)
		if isReady(pods[i]) {
			ready.Add(1)
		}
		return nil
	})
	v.ready -= ready.Load()
	v.terminating += n.Load()
	return n.Load(), err
}

// drop deletes a pod and does not count it. It is deleted as it was read, for one that has succeeded meanwhile has to be counted;
// and before it loses the finalizer, for without one it could run to its end uncounted if it was not deleted after all. What
// has not been done then is done by the next turn (see finishDropping).
func (x *jobs) drop(ctx context.Context, t *Turn, job *batchv1.Job, p *corev1.Pod) error {
	x.setDropped(job.UID, p.UID, true)
	err := deletePod(ctx, t, job, p, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID, ResourceVersion: &p.ResourceVersion}})
	switch {
	case err == nil:
		if err := release(ctx, t, p); err != nil {
			return err
		}
	case mayHaveHappened(err):
		return err
	}
	x.setDropped(job.UID, p.UID, false)
	return err
}

// finishDropping takes the finalizer from pods that were deleted not to be counted. It reports whether there were any: the cache
// has to see it before they are looked at.
func (x *jobs) finishDropping(ctx context.Context, t *Turn, job *batchv1.Job, pods []*corev1.Pod) (any bool, err error) {
	for _, p := range pods {
		if !x.isDropped(job.UID, p.UID) {
			continue
		}
		if p.DeletionTimestamp != nil && isTracked(p) {
			if err := release(ctx, t, p); err != nil {
				return true, err
			}
			any = true
		}
		x.setDropped(job.UID, p.UID, false)
	}
	return any, nil
}

func (x *jobs) setDropped(job, pod types.UID, is bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !is {
		delete(x.dropped[job], pod)
		return
	}
	if x.dropped[job] == nil {
		x.dropped[job] = map[types.UID]bool{}
	}
	x.dropped[job][pod] = true
}

func (x *jobs) isDropped(job, pod types.UID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.dropped[job][pod]
}

// release takes the tracking finalizer from the very pod that was read. One that is gone has none.
func release(ctx context.Context, t *Turn, p *corev1.Pod) error {
	patch := metadataPatch(map[string]any{"uid": p.UID, "$deleteFromPrimitiveList/finalizers": []string{batchv1.JobTrackingFinalizer}})
	_, err := Patch[*corev1.Pod](ctx, t, t.Client.CoreV1().Pods(p.Namespace), p.Name, types.StrategicMergePatchType, patch)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing completion finalizer: %w", err)
	}
	return nil
}

// newPod is a pod of the Job, which carries its index in an annotation, a label, the host name and the environment.
func (v *jobView) newPod(index int) *corev1.Pod {
	p := podOf(&v.job.Spec.Template, v.job.Namespace, v.job, ownedBy(v.job, metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}))
	if !isTracked(p) {
		p.Finalizers = append(p.Finalizers, batchv1.JobTrackingFinalizer)
	}
	if index == noIndex {
		return p
	}
	number := strconv.Itoa(index)
	setEntry(&p.Annotations, batchv1.JobCompletionIndexAnnotation, number)
	setEntry(&p.Labels, batchv1.JobCompletionIndexAnnotation, number)
	if v.job.Spec.BackoffLimitPerIndex != nil {
		v.passFailures(p, v.last[index])
	}
	for _, containers := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range containers {
			tellIndex(&containers[i])
		}
	}
	p.Spec.Hostname = v.job.Name + "-" + number
	p.GenerateName = indexedPrefix(v.job.Name, number)
	return p
}

// passFailures hands the number of failures on from the pod that failed last.
func (v *jobView) passFailures(p, failed *corev1.Pod) {
	counted, ignored := indexFailures(failed)
	switch {
	case failed == nil:
	case ruleOn(v.job.Spec.PodFailurePolicy, failed).counts():
		counted++
	default:
		ignored++
	}
	setEntry(&p.Annotations, batchv1.JobIndexFailureCountAnnotation, strconv.Itoa(int(counted)))
	if ignored > 0 {
		setEntry(&p.Annotations, batchv1.JobIndexIgnoredFailureCountAnnotation, strconv.Itoa(int(ignored)))
	}
}

// tellIndex gives a container the variable that has the index, unless the template sets it.
func tellIndex(c *corev1.Container) {
	const name = "JOB_COMPLETION_INDEX"
	if slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == name }) {
		return
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['" + batchv1.JobCompletionIndexAnnotation + "']"}}})
}

// indexedPrefix is how the name of a pod begins, short enough that the index is not cut off with the rest.
func indexedPrefix(job, number string) string {
	const longest = 63 - 5 // what leaves room for the random end of a name
	suffix := "-" + number + "-"
	return job[:min(len(job), longest-len(suffix))] + suffix
}

func setEntry(in *map[string]string, key, value string) {
	if *in == nil {
		*in = map[string]string{}
	}
	(*in)[key] = value
}

// mayStart is when the Job begins to count its time: with its first turn that is not suspended.
func (v *jobView) mayStart(now time.Time) {
	if v.job.Status.StartTime == nil && !isSuspended(v.job) {
		v.job.Status.StartTime = ptr.To(metav1.Time{Time: now})
	}
}
