package chaos

import (
	"fmt"
	"math/rand/v2"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// workload is one of those that change: what it is made of, and what is done to it.
type workload struct {
	resource, name string
	make           func(name string) runtime.Object
	// changes are patches of it, by lots; nil for Jobs, which are replaced when they have ended.
	changes []func(*rand.Rand) string
	// calm workloads change as others do, but nobody deletes their pods.
	calm bool
	// guarded ones do not change: their pods are evicted, as far as their budget lets them be.
	guarded bool

	deleted bool // and to be created anew when nothing is left of it
}

const (
	// calmLabel is on the pods of calm workloads.
	calmLabel = "calm"
	// guardLabel is on those that have a budget.
	guardLabel = "guarded"
	// guardSize and guardLeast are the size of a guarded workload, and how many of its pods are to be ready.
	guardSize, guardLeast = 4, 3
)

// population is the workloads, some fifty.
func population() []*workload {
	var all []*workload
	add := func(n int, w workload) {
		base := w.name
		for i := range n {
			each := w
			each.name = fmt.Sprintf("%s-%d", base, i)
			all = append(all, &each)
		}
	}
	add(10, workload{resource: "deployments", name: "roll", make: deployment(nil), changes: []func(*rand.Rand) string{size, template, template, paused}})
	add(4, workload{resource: "deployments", name: "smooth", make: deployment(calmly()), changes: []func(*rand.Rand) string{template, size}, calm: true})
	add(3, workload{resource: "deployments", name: "guard", make: guarded, guarded: true, calm: true})
	add(7, workload{resource: "replicasets", name: "set", make: replicaSet, changes: []func(*rand.Rand) string{size}})
	add(2, workload{resource: "replicationcontrollers", name: "old", make: replicationController, changes: []func(*rand.Rand) string{size}})
	add(4, workload{resource: "statefulsets", name: "order", make: statefulSet(calmly(), appsv1.OrderedReadyPodManagement), changes: []func(*rand.Rand) string{size, template}, calm: true})
	add(4, workload{resource: "statefulsets", name: "state", make: statefulSet(nil, appsv1.ParallelPodManagement), changes: []func(*rand.Rand) string{size, template}})
	add(2, workload{resource: "daemonsets", name: "daemon", make: daemonSet, changes: []func(*rand.Rand) string{template}})
	add(7, workload{resource: "jobs", name: "count", make: job(batchv1.NonIndexedCompletion), changes: []func(*rand.Rand) string{parallelism, suspended}})
	add(7, workload{resource: "jobs", name: "index", make: job(batchv1.IndexedCompletion), changes: []func(*rand.Rand) string{parallelism, suspended}})
	add(2, workload{resource: "cronjobs", name: "tick", make: cronJob, changes: []func(*rand.Rand) string{suspended}})
	return all
}

func calmly() map[string]string { return map[string]string{calmLabel: "true"} }

// Changes of workloads, as merge patches.

func size(r *rand.Rand) string { return fmt.Sprintf(`{"spec":{"replicas":%d}}`, r.IntN(6)) }

func template(r *rand.Rand) string {
	return fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"version":"%d","simulated.knarr.dev/ready-after":"%dms","simulated.knarr.dev/stop-after":"%dms"}}}}}`,
		r.IntN(4), r.IntN(3)*100, r.IntN(4)*100)
}

func paused(r *rand.Rand) string { return fmt.Sprintf(`{"spec":{"paused":%t}}`, r.IntN(2) == 0) }

func parallelism(r *rand.Rand) string { return fmt.Sprintf(`{"spec":{"parallelism":%d}}`, 1+r.IntN(5)) }

func suspended(r *rand.Rand) string { return fmt.Sprintf(`{"spec":{"suspend":%t}}`, r.IntN(2) == 0) }

// goingOn is what lets a workload become what it should be, whatever was done to it.
func goingOn(resource string) string {
	switch resource {
	case "deployments":
		return `{"spec":{"paused":false}}`
	case "jobs", "cronjobs":
		return `{"spec":{"suspend":false}}`
	}
	return ""
}

func pod(name string, more map[string]string) corev1.PodTemplateSpec {
	labels := map[string]string{"app": name}
	for k, v := range more {
		labels[k] = v
	}
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{"simulated.knarr.dev/ready-after": "100ms", "simulated.knarr.dev/stop-after": "100ms"}},
		Spec: corev1.PodSpec{TerminationGracePeriodSeconds: ptr.To[int64](1), Containers: []corev1.Container{{Name: "c", Image: "image",
			ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(80)}}, PeriodSeconds: 1},
			Resources:      corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m")}}}}},
	}
}

func selector(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func deployment(labels map[string]string) func(string) runtime.Object {
	return func(name string) runtime.Object {
		return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](3), Selector: selector(name), Template: pod(name, labels), RevisionHistoryLimit: ptr.To[int32](2),
			Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: ptr.To(intstr.FromInt32(1)), MaxUnavailable: ptr.To(intstr.FromInt32(1))}}}}
	}
}

func guarded(name string) runtime.Object {
	d := deployment(map[string]string{calmLabel: "true", guardLabel: "true"})(name).(*appsv1.Deployment)
	d.Spec.Replicas = ptr.To[int32](guardSize)
	return d
}

// budget keeps pods of a guarded workload.
func budget(name string) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: policyv1.PodDisruptionBudgetSpec{Selector: selector(name), MinAvailable: ptr.To(intstr.FromInt32(guardLeast))}}
}

func replicaSet(name string) runtime.Object {
	return &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.ReplicaSetSpec{
		Replicas: ptr.To[int32](3), Selector: selector(name), Template: pod(name, nil)}}
}

func replicationController(name string) runtime.Object {
	return &corev1.ReplicationController{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ReplicationControllerSpec{
		Replicas: ptr.To[int32](2), Selector: map[string]string{"app": name}, Template: ptr.To(pod(name, nil))}}
}

func statefulSet(labels map[string]string, policy appsv1.PodManagementPolicyType) func(string) runtime.Object {
	return func(name string) runtime.Object {
		return &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.StatefulSetSpec{ServiceName: name, PodManagementPolicy: policy,
			Replicas: ptr.To[int32](2), Selector: selector(name), Template: pod(name, labels)}}
	}
}

func daemonSet(name string) runtime.Object {
	return &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DaemonSetSpec{Selector: selector(name), Template: pod(name, nil)}}
}

func job(mode batchv1.CompletionMode) func(string) runtime.Object {
	return func(name string) runtime.Object {
		t := pod(name, map[string]string{calmLabel: "true"})
		t.Spec.RestartPolicy = corev1.RestartPolicyNever
		t.Annotations["simulated.knarr.dev/exit-after"] = "300ms"
		return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.JobSpec{CompletionMode: &mode,
			Parallelism: ptr.To[int32](2), Completions: ptr.To[int32](5), BackoffLimit: ptr.To[int32](1000), Template: t}}
	}
}

// cronJob runs every minute, one Job at a time.
func cronJob(name string) runtime.Object {
	return &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.CronJobSpec{Schedule: "* * * * *", ConcurrencyPolicy: batchv1.ForbidConcurrent,
		SuccessfulJobsHistoryLimit: ptr.To[int32](2), JobTemplate: batchv1.JobTemplateSpec{Spec: job(batchv1.NonIndexedCompletion)(name).(*batchv1.Job).Spec}}}
}
