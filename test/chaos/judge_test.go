package chaos

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// judge knows what must hold at every moment, and goes through what the observer has written down.
//
// How many pods a workload may have follows from what was wanted of it in the course of the round: who has not heard yet of
// the last size may still act on the one before.
type judge struct {
	most  map[types.UID]int // pods of a workload in this round
	least map[types.UID]int // of which are ready, if it is a Deployment
	// doubted is set while two leaders act: what only a single one can keep is not asked for then. That no owner has a pod too many is.
	doubted  bool
	steady   map[types.UID]bool                  // guarded Deployments that have been complete once
	done     map[types.UID]map[types.UID]success // by Job and pod
	runs     map[string]types.UID                // the Job of a run, by CronJob and time
	passed   map[types.UID]bool                  // namespaces that came
	problems []string
	culprits map[string]bool // the workloads that they are about
}

func newJudge() *judge {
	return &judge{most: map[types.UID]int{}, least: map[types.UID]int{}, steady: map[types.UID]bool{}, done: map[types.UID]map[types.UID]success{}, runs: map[string]types.UID{}, passed: map[types.UID]bool{}, culprits: map[string]bool{}}
}

// begin forgets the sizes of rounds before.
func (j *judge) begin(s state) {
	clear(j.most)
	clear(j.least)
	clear(j.steady)
	for _, o := range s {
		j.allow(o)
	}
}

func (j *judge) wrong(c change, format string, args ...any) {
	if c.blind {
		return
	}
	j.problems = append(j.problems, fmt.Sprintf("revision %d: ", c.revision)+fmt.Sprintf(format, args...))
	culprit := c.object.GetName()
	if app := c.object.GetLabels()["app"]; app != "" {
		culprit = app
	}
	j.culprits[culprit] = true
}

// allow notes how many pods an object wants.
func (j *judge) allow(o metav1.Object) {
	if n, wants := wanted(o); wants {
		j.most[o.GetUID()] = max(j.most[o.GetUID()], n)
	}
	if d, is := o.(*appsv1.Deployment); is {
		least, known := j.least[d.UID]
		if n := needed(d); !known || n < least {
			j.least[d.UID] = n
		}
	}
}

// wanted is how many pods a workload may have.
func wanted(o metav1.Object) (int, bool) {
	switch o := o.(type) {
	case *appsv1.Deployment:
		size := int(ptr.Deref(o.Spec.Replicas, 1))
		surge, err := intstr.GetScaledValueFromIntOrPercent(o.Spec.Strategy.RollingUpdate.MaxSurge, size, true)
		return size + surge, err == nil
	case *appsv1.ReplicaSet:
		return int(ptr.Deref(o.Spec.Replicas, 1)), true
	case *corev1.ReplicationController:
		return int(ptr.Deref(o.Spec.Replicas, 1)), true
	case *appsv1.StatefulSet:
		return int(ptr.Deref(o.Spec.Replicas, 1)), true
	case *batchv1.Job:
		return int(min(ptr.Deref(o.Spec.Parallelism, 1), ptr.Deref(o.Spec.Completions, 1))), true
	}
	return 0, false
}

// needed is how many pods of a Deployment are to be ready while it changes, if nobody hurts them.
func needed(d *appsv1.Deployment) int {
	size := int(ptr.Deref(d.Spec.Replicas, 1))
	missing, err := intstr.GetScaledValueFromIntOrPercent(d.Spec.Strategy.RollingUpdate.MaxUnavailable, size, false)
	switch {
	case d.Spec.Template.Labels[guardLabel] != "":
		return guardLeast // evictions alone take pods
	case err != nil || d.Spec.Template.Labels[calmLabel] == "":
		return 0
	}
	return size - missing
}

// see looks at the state after a change.
func (j *judge) see(s state, c change) {
	j.allow(c.object)
	switch o := c.object.(type) {
	case *corev1.Pod:
		j.seePod(s, c, o)
	case *corev1.Namespace:
		j.passed[o.UID] = j.passed[o.UID] || c.first
	case *batchv1.Job:
		j.seeRun(s, c, o)
		if _, most := j.successes(o); !c.gone && int(o.Status.Succeeded) > most {
			j.wrong(c, "Job %s counts %d successes of %d", o.Name, o.Status.Succeeded, most)
		}
	}
}

// seeRun looks at a Job of a CronJob: each time has one Job, and no other runs beside it.
func (j *judge) seeRun(s state, c change, job *batchv1.Job) {
	cron := metav1.GetControllerOfNoCopy(job)
	if cron == nil || !c.first {
		return
	}
	run := string(cron.UID) + job.Annotations[batchv1.CronJobScheduledTimestampAnnotation]
	if other, before := j.runs[run]; before && other != job.UID {
		j.wrong(c, "CronJob %s runs a second time for %s", cron.Name, job.Annotations[batchv1.CronJobScheduledTimestampAnnotation])
	}
	j.runs[run] = job.UID
	for _, other := range of[*batchv1.Job](s) {
		controller := metav1.GetControllerOfNoCopy(other)
		if _, over := ended(other); !over && other.UID != job.UID && controller != nil && controller.UID == cron.UID && other.DeletionTimestamp == nil {
			j.wrong(c, "CronJob %s starts %s while %s runs", cron.Name, job.Name, other.Name)
		}
	}
}

func (j *judge) seePod(s state, c change, p *corev1.Pod) {
	j.room(s, c, p)
	controller := metav1.GetControllerOfNoCopy(p)
	if controller == nil {
		return
	}
	if p.Status.Phase == corev1.PodSucceeded && controller.Kind == "Job" {
		if j.done[controller.UID] == nil {
			j.done[controller.UID] = map[types.UID]success{}
		}
		if _, before := j.done[controller.UID][p.UID]; !before {
			j.done[controller.UID][p.UID] = success{p.Annotations[batchv1.JobCompletionIndexAnnotation], p.DeletionTimestamp != nil}
		}
	}
	pods := podsOf(s, controller.UID)
	most, known := j.most[controller.UID]
	if n := len(active(pods)); known && c.first && n > most {
		j.wrong(c, "%s %s has %d pods of %d", controller.Kind, controller.Name, n, most)
	}
	switch owner := s[controller.UID].(type) {
	case *appsv1.ReplicaSet:
		j.seeDeployment(s, c, owner)
	case *appsv1.StatefulSet:
		if c.first {
			j.inOrder(c, owner, p, pods)
		}
	case *appsv1.DaemonSet:
		onNodes := map[string]int{}
		for _, p := range active(pods) {
			node := targetOf(p)
			if onNodes[node]++; onNodes[node] > 1 {
				j.wrong(c, "DaemonSet %s has %d pods on %s", owner.Name, onNodes[node], node)
			}
		}
	case *batchv1.Job:
		indexes := map[string]int{}
		for _, p := range active(pods) {
			if index, has := p.Annotations[batchv1.JobCompletionIndexAnnotation]; has {
				if indexes[index]++; indexes[index] > 1 {
					j.wrong(c, "Job %s has %d pods of index %s", owner.Name, indexes[index], index)
				}
			}
		}
	}
}

// seeDeployment counts the pods of all ReplicaSets of a Deployment.
func (j *judge) seeDeployment(s state, c change, of *appsv1.ReplicaSet) {
	controller := metav1.GetControllerOfNoCopy(of)
	if controller == nil {
		return
	}
	d, ok := s[controller.UID].(*appsv1.Deployment)
	if !ok {
		return
	}
	all, well := 0, 0
	for _, rs := range setsOf(s, d.UID) {
		pods := podsOf(s, rs.UID)
		all += len(active(pods))
		well += len(ready(pods))
	}
	if all > j.most[d.UID] && !j.doubted && c.first {
		j.wrong(c, "Deployment %s has %d pods of %d", d.Name, all, j.most[d.UID])
	}
	least := j.least[d.UID]
	j.steady[d.UID] = j.steady[d.UID] || well >= least
	if j.steady[d.UID] && well < least && d.DeletionTimestamp == nil && !j.doubted {
		j.wrong(c, "Deployment %s has %d pods ready and needs %d", d.Name, well, least)
	}
}

// inOrder reports a pod of a StatefulSet that was created before those below it were ready. Pods of calm ones are deleted by
// nobody else.
func (j *judge) inOrder(c change, set *appsv1.StatefulSet, p *corev1.Pod, pods []*corev1.Pod) {
	if set.Spec.PodManagementPolicy != appsv1.OrderedReadyPodManagement || p.Labels[calmLabel] == "" || j.doubted {
		return
	}
	var ordinal int
	if _, err := fmt.Sscan(p.Labels[appsv1.PodIndexLabel], &ordinal); err != nil {
		j.wrong(c, "pod %s has no ordinal: %v", p.Name, err)
		return
	}
	for i := range ordinal {
		before := fmt.Sprintf("%s-%d", set.Name, i)
		if !slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return p.Name == before && isReady(p) }) {
			j.wrong(c, "pod %s is created while %s is not ready", p.Name, before)
		}
	}
}

// targetOf is the node that a DaemonSet's pod is for.
func targetOf(p *corev1.Pod) string {
	if a := p.Spec.Affinity; a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
			for _, f := range term.MatchFields {
				return f.Values[0]
			}
		}
	}
	return p.Spec.NodeName
}

// room reports a node that is given more than it has.
func (j *judge) room(s state, c change, p *corev1.Pod) {
	if p.Spec.NodeName == "" || j.doubted || c.gone || isFinished(p) || p.DeletionTimestamp != nil {
		return
	}
	var used resource.Quantity
	for _, other := range of[*corev1.Pod](s) {
		if other.Spec.NodeName == p.Spec.NodeName && !isFinished(other) {
			for _, container := range other.Spec.Containers {
				used.Add(*container.Resources.Requests.Cpu())
			}
		}
	}
	for _, n := range of[*corev1.Node](s) {
		if n.Name == p.Spec.NodeName && used.Cmp(*n.Status.Allocatable.Cpu()) > 0 {
			j.wrong(c, "node %s has %v CPUs and pods that ask for %v", n.Name, n.Status.Allocatable.Cpu(), &used)
		}
	}
}

// success is a pod of a Job that has succeeded.
type success struct {
	index string
	going bool // it had been deleted before: the Job may have ended without it
}

// successes are those of a Job that were seen, each pod once, or each index: those that have to be counted, and those that may.
func (j *judge) successes(job *batchv1.Job) (least, most int) {
	if ptr.Deref(job.Spec.CompletionMode, "") != batchv1.IndexedCompletion {
		for _, s := range j.done[job.UID] {
			if most++; !s.going {
				least++
			}
		}
		return least, most
	}
	staying, all := map[string]bool{}, map[string]bool{}
	for _, s := range j.done[job.UID] {
		if all[s.index] = true; !s.going {
			staying[s.index] = true
		}
	}
	return len(staying), len(all)
}

// end compares what has been counted with what was seen, when all is over.
func (j *judge) end(s state) {
	for _, job := range of[*batchv1.Job](s) {
		if least, _ := j.successes(job); int(job.Status.Succeeded) < least {
			j.wrong(change{revision: number(job.ResourceVersion), object: job}, "Job %s has counted %d successes of %d", job.Name, job.Status.Succeeded, least)
		}
	}
}

// unfinished says what is not as it should be when everybody has had time; empty if all is.
func unfinished(s state) (left []string) {
	say := func(format string, args ...any) { left = append(left, fmt.Sprintf(format, args...)) }
	nodes := 0
	for _, o := range s {
		if _, is := o.(*corev1.Node); is {
			nodes++
		}
	}
	for _, o := range s {
		if c := metav1.GetControllerOfNoCopy(o); c != nil && s[c.UID] == nil && observedKind(c.Kind) {
			say("%T %s is an orphan of %s %s", o, o.GetName(), c.Kind, c.Name)
		}
		if o.GetDeletionTimestamp() != nil {
			say("%T %s is still going", o, o.GetName())
		}
		wants, has, rest := 0, 0, ""
		switch o := o.(type) {
		case *corev1.Pod:
			if !isFinished(o) && !isReady(o) {
				say("pod %s on %q is %s", o.Name, o.Spec.NodeName, o.Status.Phase)
			}
			continue
		case *appsv1.Deployment:
			for _, rs := range setsOf(s, o.UID) {
				has += len(ready(podsOf(s, rs.UID)))
			}
			wants, rest = int(*o.Spec.Replicas), settled(o.Generation, o.Status.ObservedGeneration, *o.Spec.Replicas, o.Status.Replicas, o.Status.UpdatedReplicas, o.Status.AvailableReplicas)
		case *appsv1.ReplicaSet:
			wants, has = int(*o.Spec.Replicas), len(ready(podsOf(s, o.UID)))
			rest = settled(o.Generation, o.Status.ObservedGeneration, *o.Spec.Replicas, o.Status.Replicas, o.Status.AvailableReplicas)
		case *corev1.ReplicationController:
			wants, has = int(*o.Spec.Replicas), len(ready(podsOf(s, o.UID)))
			rest = settled(o.Generation, o.Status.ObservedGeneration, *o.Spec.Replicas, o.Status.Replicas, o.Status.AvailableReplicas)
		case *appsv1.StatefulSet:
			wants, has = int(*o.Spec.Replicas), len(ready(podsOf(s, o.UID)))
			rest = settled(o.Generation, o.Status.ObservedGeneration, *o.Spec.Replicas, o.Status.Replicas, o.Status.UpdatedReplicas, o.Status.AvailableReplicas)
		case *appsv1.DaemonSet:
			wants, has = nodes, len(ready(podsOf(s, o.UID)))
			rest = settled(o.Generation, o.Status.ObservedGeneration, int32(nodes), o.Status.UpdatedNumberScheduled, o.Status.NumberAvailable, o.Status.DesiredNumberScheduled)
		case *batchv1.Job:
			if how, over := ended(o); !over || how != batchv1.JobComplete || o.Status.UncountedTerminatedPods != nil && len(o.Status.UncountedTerminatedPods.Succeeded) > 0 {
				rest = fmt.Sprintf("status %+v", o.Status)
			}
		default:
			continue
		}
		if wants != has || rest != "" {
			say("%T %s: %d pods of %d; %s", o, o.GetName(), has, wants, rest)
		}
	}
	slices.Sort(left)
	return left
}

// observedKind reports whether objects of a kind are observed.
func observedKind(kind string) bool {
	return slices.Contains([]string{"Deployment", "ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet", "Job", "CronJob"}, kind)
}

// settled says in what a status differs from what is wanted.
func settled(generation, observed int64, size int32, counts ...int32) string {
	if generation != observed || slices.ContainsFunc(counts, func(n int32) bool { return n != size }) {
		return fmt.Sprintf("generation %d of %d, counts %d of %d", observed, generation, counts, size)
	}
	return ""
}
