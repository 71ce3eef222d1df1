package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// check is something that works in a cluster. Those that come later build on those before.
type check struct {
	name string
	of   func(context.Context, kubernetes.Interface) error
}

// namespace is where all of it happens.
const namespace = "play"

func checks() []check {
	return []check{
		{"the node is ready", nodeReady},
		{"a namespace has its account and the authority's certificate", namespaceFurnished},
		{"a Deployment becomes running pods", deploymentRuns},
		{"its Service has slices and Endpoints with them", serviceHasSlices},
		{"a new template is rolled out", templateRolledOut},
		{"a budget keeps a pod from being evicted until it allows it", budgetHolds},
		{"a Job completes", jobCompletes},
		{"a CronJob starts Jobs", cronJobStarts},
		{"a StatefulSet and a DaemonSet run", setsRun},
		{"a quota is counted", quotaCounted},
		{"a pod that fits nowhere says why", podUnschedulable},
		{"a more important pod takes a place", podPreempts},
		{"what belonged to a Deployment goes with it", garbageCollected},
		{"the namespace goes, and all that is in it", namespaceGoes},
	}
}

// until polls until is says that it is so; what it says else is the error in the end.
func until(ctx context.Context, is func() error) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(context.Context) (bool, error) {
		last = is()
		return last == nil, nil
	})
	return errors.Join(err, last)
}

func nodeReady(ctx context.Context, c kubernetes.Interface) error {
	return until(ctx, func() error {
		n, err := c.CoreV1().Nodes().Get(ctx, "node-1", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(n.Spec.Taints) > 0 || !slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		}) {
			return fmt.Errorf("taints %v, conditions %v", n.Spec.Taints, n.Status.Conditions)
		}
		return nil
	})
}

func namespaceFurnished(ctx context.Context, c kubernetes.Interface) error {
	if _, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	return until(ctx, func() error {
		_, err := c.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		if err == nil {
			_, err = c.CoreV1().ConfigMaps(namespace).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		}
		return err
	})
}

func template(app string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}}, Spec: corev1.PodSpec{
		TerminationGracePeriodSeconds: ptr.To[int64](1), Containers: []corev1.Container{{Name: "c", Image: "one",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}}}}}}
}

func selecting(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

func deploymentRuns(ctx context.Context, c kubernetes.Interface) error {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](3), Selector: selecting("web"), Template: template("web")}}
	if _, err := c.AppsV1().Deployments(namespace).Create(ctx, d, metav1.CreateOptions{}); err != nil {
		return err
	}
	return until(ctx, func() error { return deploymentComplete(ctx, c, 3) })
}

func deploymentComplete(ctx context.Context, c kubernetes.Interface, size int32) error {
	d, err := c.AppsV1().Deployments(namespace).Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if s := d.Status; s.ObservedGeneration < d.Generation || s.Replicas != size || s.AvailableReplicas != size || s.UpdatedReplicas != size {
		return fmt.Errorf("status %+v", s)
	}
	return nil
}

func serviceHasSlices(ctx context.Context, c kubernetes.Interface) error {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"},
		Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}}}
	if _, err := c.CoreV1().Services(namespace).Create(ctx, s, metav1.CreateOptions{}); err != nil {
		return err
	}
	return until(ctx, func() error {
		slices, err := c.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=web"})
		if err != nil {
			return err
		}
		ready := 0
		for _, s := range slices.Items {
			for _, e := range s.Endpoints {
				if ptr.Deref(e.Conditions.Ready, false) {
					ready++
				}
			}
		}
		e, err := c.CoreV1().Endpoints(namespace).Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if ready != 3 || len(e.Subsets) != 1 || len(e.Subsets[0].Addresses) != 3 {
			return fmt.Errorf("%d ready endpoints, subsets %+v", ready, e.Subsets)
		}
		return nil
	})
}

func templateRolledOut(ctx context.Context, c kubernetes.Interface) error {
	patch := []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"two"}]}}}}`)
	if _, err := c.AppsV1().Deployments(namespace).Patch(ctx, "web", types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return err
	}
	return until(ctx, func() error {
		if err := deploymentComplete(ctx, c, 3); err != nil {
			return err
		}
		pods, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil || len(pods.Items) != 3 {
			return fmt.Errorf("%d pods: %w", len(pods.Items), err)
		}
		for _, p := range pods.Items {
			if p.Spec.Containers[0].Image != "two" {
				return fmt.Errorf("pod %s has the image %s", p.Name, p.Spec.Containers[0].Image)
			}
		}
		return nil
	})
}

func budgetHolds(ctx context.Context, c kubernetes.Interface) error {
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: policyv1.PodDisruptionBudgetSpec{Selector: selecting("web"), MinAvailable: ptr.To(intstr.FromInt32(3))}}
	if _, err := c.PolicyV1().PodDisruptionBudgets(namespace).Create(ctx, b, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := until(ctx, func() error {
		b, err := c.PolicyV1().PodDisruptionBudgets(namespace).Get(ctx, "web", metav1.GetOptions{})
		if err == nil && (b.Status.CurrentHealthy != 3 || b.Status.DesiredHealthy != 3) {
			err = fmt.Errorf("status %+v", b.Status)
		}
		return err
	}); err != nil {
		return err
	}
	pods, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil || len(pods.Items) == 0 {
		return fmt.Errorf("%d pods: %w", len(pods.Items), err)
	}
	evict := func() error {
		return c.CoreV1().Pods(namespace).EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pods.Items[0].Name, Namespace: namespace}})
	}
	if err := evict(); !apierrors.IsTooManyRequests(err) {
		return fmt.Errorf("an eviction that the budget does not allow: %v", err)
	}
	if _, err := c.PolicyV1().PodDisruptionBudgets(namespace).Patch(ctx, "web", types.MergePatchType, []byte(`{"spec":{"minAvailable":2}}`), metav1.PatchOptions{}); err != nil {
		return err
	}
	if err := until(ctx, evict); err != nil {
		return err
	}
	return until(ctx, func() error { return deploymentComplete(ctx, c, 3) })
}

func jobSpec() batchv1.JobSpec {
	t := template("sum")
	t.Spec.RestartPolicy, t.Spec.Containers[0].Command = corev1.RestartPolicyNever, []string{"true"}
	return batchv1.JobSpec{Completions: ptr.To[int32](4), Parallelism: ptr.To[int32](2), CompletionMode: ptr.To(batchv1.IndexedCompletion), Template: t}
}

func jobCompletes(ctx context.Context, c kubernetes.Interface) error {
	if _, err := c.BatchV1().Jobs(namespace).Create(ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "sum"}, Spec: jobSpec()}, metav1.CreateOptions{}); err != nil {
		return err
	}
	return until(ctx, func() error {
		j, err := c.BatchV1().Jobs(namespace).Get(ctx, "sum", metav1.GetOptions{})
		if err == nil && (j.Status.CompletionTime == nil || j.Status.Succeeded != 4 || j.Status.CompletedIndexes != "0-3") {
			err = fmt.Errorf("status %+v", j.Status)
		}
		return err
	})
}

func cronJobStarts(ctx context.Context, c kubernetes.Interface) error {
	j := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "often"}, Spec: batchv1.CronJobSpec{Schedule: "@every 2s", JobTemplate: batchv1.JobTemplateSpec{Spec: jobSpec()}}}
	if _, err := c.BatchV1().CronJobs(namespace).Create(ctx, j, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := until(ctx, func() error {
		j, err := c.BatchV1().CronJobs(namespace).Get(ctx, "often", metav1.GetOptions{})
		if err == nil && j.Status.LastSuccessfulTime == nil {
			err = fmt.Errorf("status %+v", j.Status)
		}
		return err
	}); err != nil {
		return err
	}
	return c.BatchV1().CronJobs(namespace).Delete(ctx, "often", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)})
}

func setsRun(ctx context.Context, c kubernetes.Interface) error {
	s := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: appsv1.StatefulSetSpec{ServiceName: "db", Replicas: ptr.To[int32](2), Selector: selecting("db"), Template: template("db")}}
	d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "log"}, Spec: appsv1.DaemonSetSpec{Selector: selecting("log"), Template: template("log")}}
	if _, err := c.AppsV1().StatefulSets(namespace).Create(ctx, s, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := c.AppsV1().DaemonSets(namespace).Create(ctx, d, metav1.CreateOptions{}); err != nil {
		return err
	}
	return until(ctx, func() error {
		s, err := c.AppsV1().StatefulSets(namespace).Get(ctx, "db", metav1.GetOptions{})
		if err != nil {
			return err
		}
		d, err := c.AppsV1().DaemonSets(namespace).Get(ctx, "log", metav1.GetOptions{})
		if err == nil && (s.Status.AvailableReplicas != 2 || d.Status.NumberAvailable != 1) {
			err = fmt.Errorf("status %+v and %+v", s.Status, d.Status)
		}
		return err
	})
}

func quotaCounted(ctx context.Context, c kubernetes.Interface) error {
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "some"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/deployments.apps": resource.MustParse("1")}}}
	if _, err := c.CoreV1().ResourceQuotas(namespace).Create(ctx, q, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := until(ctx, func() error {
		q, err := c.CoreV1().ResourceQuotas(namespace).Get(ctx, "some", metav1.GetOptions{})
		if used := q.Status.Used["count/deployments.apps"]; err == nil && used.Value() != 1 {
			err = fmt.Errorf("status %+v", q.Status)
		}
		return err
	}); err != nil {
		return err
	}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "more"}, Spec: appsv1.DeploymentSpec{Selector: selecting("more"), Template: template("more")}}
	if _, err := c.AppsV1().Deployments(namespace).Create(ctx, d, metav1.CreateOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota") {
		return fmt.Errorf("one more than the quota allows: %v", err)
	}
	return nil
}

// sized is a pod that asks for CPUs.
func sized(name, cpus, class string) *corev1.Pod {
	t := template(name)
	t.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse(cpus)
	t.Spec.PriorityClassName = class
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: t.Spec}
}

func podUnschedulable(ctx context.Context, c kubernetes.Interface) error {
	if _, err := c.CoreV1().Pods(namespace).Create(ctx, sized("huge", "1000", ""), metav1.CreateOptions{}); err != nil {
		return err
	}
	return until(ctx, func() error {
		p, err := c.CoreV1().Pods(namespace).Get(ctx, "huge", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range p.Status.Conditions {
			if condition.Reason == corev1.PodReasonUnschedulable && strings.HasPrefix(condition.Message, "0/1 nodes are available: 1 Insufficient cpu.") {
				return nil
			}
		}
		return fmt.Errorf("conditions %+v", p.Status.Conditions)
	})
}

func podPreempts(ctx context.Context, c kubernetes.Interface) error {
	n, err := c.CoreV1().Nodes().Get(ctx, "node-1", metav1.GetOptions{})
	if err != nil {
		return err
	}
	most := fmt.Sprintf("%d", n.Status.Allocatable.Cpu().Value()*6/10)
	for i, name := range []string{"small", "great"} {
		class := "play-" + name
		important := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: class}, Value: int32(i * 1000)}
		if _, err := c.SchedulingV1().PriorityClasses().Create(ctx, important, metav1.CreateOptions{}); err != nil {
			return err
		}
		if err := until(ctx, func() error { // admission may hear of the class a moment later
			_, err := c.CoreV1().Pods(namespace).Create(ctx, sized(name, most, class), metav1.CreateOptions{})
			return err
		}); err != nil {
			return err
		}
		if err := until(ctx, func() error {
			p, err := c.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
			if err == nil && p.Status.Phase != corev1.PodRunning {
				err = fmt.Errorf("status %+v", p.Status)
			}
			return err
		}); err != nil {
			return err
		}
	}
	if _, err := c.CoreV1().Pods(namespace).Get(ctx, "small", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return fmt.Errorf("the less important one is still there: %v", err)
	}
	return nil
}

func garbageCollected(ctx context.Context, c kubernetes.Interface) error {
	if err := c.AppsV1().Deployments(namespace).Delete(ctx, "web", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)}); err != nil {
		return err
	}
	return until(ctx, func() error {
		_, err := c.AppsV1().Deployments(namespace).Get(ctx, "web", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("the Deployment: %v", err)
		}
		sets, err := c.AppsV1().ReplicaSets(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil || len(sets.Items) > 0 {
			return fmt.Errorf("%d ReplicaSets: %w", len(sets.Items), err)
		}
		pods, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil || len(pods.Items) > 0 {
			return fmt.Errorf("%d pods: %w", len(pods.Items), err)
		}
		return nil
	})
}

func namespaceGoes(ctx context.Context, c kubernetes.Interface) error {
	if err := c.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return until(ctx, func() error {
		n, err := c.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, fmt.Errorf("status %+v", n.Status))
	})
}
