package scheduler

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
)

// owners finds which pods are like a pod: those of the same services and the same controller.
type owners struct {
	services     corelisters.ServiceLister
	controllers  corelisters.ReplicationControllerLister
	replicaSets  appslisters.ReplicaSetLister
	statefulSets appslisters.StatefulSetLister
}

func newOwners(f informers.SharedInformerFactory) *owners {
	core, apps := f.Core().V1(), f.Apps().V1()
	return &owners{core.Services().Lister(), core.ReplicationControllers().Lister(), apps.ReplicaSets().Lister(), apps.StatefulSets().Lister()}
}

// selector is of the pods that are like the pod; it is empty if the pod belongs to nobody. What is gone selects nothing.
func (o *owners) selector(pod *corev1.Pod) labels.Selector {
	set := labels.Set{}
	services, _ := o.services.Services(pod.Namespace).List(labels.Everything())
	for _, s := range services {
		if s.Spec.Selector != nil && labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(pod.Labels)) {
			set = labels.Merge(set, s.Spec.Selector)
		}
	}
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return set.AsSelector()
	}
	switch owner.APIVersion + "/" + owner.Kind {
	case "v1/ReplicationController":
		if rc, err := o.controllers.ReplicationControllers(pod.Namespace).Get(owner.Name); err == nil {
			set = labels.Merge(set, rc.Spec.Selector)
		}
	case "apps/v1/ReplicaSet":
		if rs, err := o.replicaSets.ReplicaSets(pod.Namespace).Get(owner.Name); err == nil {
			return narrowed(set.AsSelector(), rs.Spec.Selector)
		}
	case "apps/v1/StatefulSet":
		if ss, err := o.statefulSets.StatefulSets(pod.Namespace).Get(owner.Name); err == nil {
			return narrowed(set.AsSelector(), ss.Spec.Selector)
		}
	}
	return set.AsSelector()
}

func narrowed(s labels.Selector, by *metav1.LabelSelector) labels.Selector {
	requirements, _ := selectorOf(by).Requirements()
	return s.Add(requirements...)
}
