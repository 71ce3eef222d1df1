package controllers

import (
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// resourceQuotas promises that the status of a quota says what its namespace is allowed and what it uses.
//
// Admission adds to what is used with each object that it lets in; the controller finds out what is used really when a
// quota is new or allows something else, when objects have gone or use less, and every few minutes. The subtle case is a
// cache that has not seen yet what admission has let in: a turn that has changed something is followed by another.
type resourceQuotas struct {
	everything *everything
	quotas     *Source
	meters     map[schema.GroupResource]quotaMeter
}

const (
	quotaResync  = 5 * time.Minute
	quotaRecheck = 10 * time.Second
)

func resourceQuotaLoop(c *Config) Loop {
	x := &resourceQuotas{c.everything(), c.Source(&corev1.ResourceQuota{}), quotaMeters(c)}
	return Loop{Watches: []Watch{{x.quotas, quotaAllowsOtherwise}}, Everything: x.follow, Reconcile: x.reconcile}
}

// quotaAllowsOtherwise leaves out what admission and this controller write: the status of a quota that allows what it did. A status
// that does not say what is allowed is somebody else's, and is not left to stand until the next look at all.
func quotaAllowsOtherwise(old, now metav1.Object) []Key {
	if old != nil && now != nil {
		was, is := old.(*corev1.ResourceQuota), now.(*corev1.ResourceQuota)
		if quantitiesEqual(was.Spec.Hard, is.Spec.Hard) && quantitiesEqual(is.Spec.Hard, is.Status.Hard) {
			return nil
		}
	}
	return itself(old, now)
}

// follow is about objects that have gone or use less than before, and the quotas that count them.
func (x *resourceQuotas) follow(r *Resource) func(old, now metav1.Object) []Key {
	if !r.Namespaced {
		return nil
	}
	meter := x.meter(r.resource.GroupResource())
	return func(old, now metav1.Object) (keys []Key) {
		if old == nil || now != nil && (meter.frees == nil || !meter.frees(old, now)) {
			return nil
		}
		for _, o := range x.quotas.all(old.GetNamespace()) {
			if slices.ContainsFunc(slices.Collect(maps.Keys(o.(*corev1.ResourceQuota).Status.Hard)), meter.names) {
				keys = append(keys, KeyOf(o))
			}
		}
		return keys
	}
}

// meter is what quota knows of a resource: the number of objects, if nothing else.
func (x *resourceQuotas) meter(of schema.GroupResource) quotaMeter {
	if m, special := x.meters[of]; special {
		return m
	}
	return objectMeter(quotaCount(of))
}

func (x *resourceQuotas) reconcile(ctx context.Context, t *Turn) error {
	quota, there := x.quotas.cached(t.Key).(*corev1.ResourceQuota)
	if !there {
		return nil
	}
	t.Again(quotaResync)
	used := x.use(quota, t.Now)
	if quota.Status.Used != nil && equality.Semantic.DeepEqual(quota.Spec.Hard, quota.Status.Hard) && quantitiesEqual(used, quota.Status.Used) {
		return nil
	}
	changed := quota.DeepCopy()
	changed.Status = corev1.ResourceQuotaStatus{Hard: maps.Clone(quota.Spec.Hard), Used: used}
	if changed.Status.Hard == nil {
		changed.Status.Hard = corev1.ResourceList{}
	}
	t.Again(quotaRecheck)
	_, err := UpdateStatus(ctx, t, t.Client.CoreV1().ResourceQuotas(t.Namespace), changed)
	return goneAlready(err)
}

// use is what the quota's namespace uses of what it bounds. What nobody measures (any more) stays as it was.
func (x *resourceQuotas) use(quota *corev1.ResourceQuota, now time.Time) corev1.ResourceList {
	measured := corev1.ResourceList{}
	for _, of := range x.everything.names() {
		meter, r := x.meter(of), x.everything.of(of)
		if r == nil || !r.Namespaced {
			continue
		}
		var names []corev1.ResourceName
		for name := range quota.Spec.Hard {
			if meter.names(name) {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			addQuantities(measured, meter.measure(r.all(quota.Namespace), names, quota, now))
		}
	}
	used := corev1.ResourceList{}
	for name := range quota.Spec.Hard {
		if q, known := measured[name]; known {
			used[name] = q
		} else if q, known := quota.Status.Used[name]; known {
			used[name] = q
		}
	}
	return used
}

// quotaMeters are for resources of which more than the number of objects is measured, or whose number goes by a second,
// older name.
func quotaMeters(c *Config) map[schema.GroupResource]quotaMeter {
	devices := &deviceUse{c.Source(&resourcev1.ResourceClaim{}), c.Source(&resourcev1.DeviceClass{}), c.Source(&corev1.Pod{})}
	c.Source(&corev1.Service{})
	c.Source(&corev1.PersistentVolumeClaim{})
	meters := map[schema.GroupResource]quotaMeter{
		{Resource: "pods"}:                                        podMeter(),
		{Resource: "services"}:                                    serviceMeter(),
		{Resource: "persistentvolumeclaims"}:                      volumeClaimMeter(),
		{Group: resourcev1.GroupName, Resource: "resourceclaims"}: devices.meter(),
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceConfigMaps, corev1.ResourceQuotas, corev1.ResourceReplicationControllers, corev1.ResourceSecrets} {
		of := schema.GroupResource{Resource: string(name)}
		meters[of] = objectMeter(quotaCount(of), name)
	}
	return meters
}
