package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	sliceutil "k8s.io/endpointslice/util"
	"k8s.io/utils/net"
)

// sliceMirror promises that Endpoints that somebody has made by hand, for a Service without a selector, are there as
// EndpointSlices too: one for each set of ports and family of addresses, with a thousand addresses of a subset at most.
//
// The subtle case is a Service that gets a selector: from then on its slices follow from pods, and those that mirror go.
type sliceMirror struct {
	endpoints *Source
	services  *Source
	slices    *Source
}

const (
	// mirrorKeeper is what slices of this controller are labelled with.
	mirrorKeeper = "endpointslicemirroring-controller.k8s.io"
	// mirroredPerSubset is how many addresses of a subset are mirrored.
	mirroredPerSubset = 1000
)

func sliceMirrorLoop(c *Config) Loop {
	x := &sliceMirror{c.Source(&corev1.Endpoints{}), c.Source(&corev1.Service{}), c.Source(&discoveryv1.EndpointSlice{})}
	return Loop{
		Watches:   []Watch{{x.endpoints, mirrorable}, {x.services, selectorGivenOrTaken}, {x.slices, servicesOfSlice(mirrorKeeper)}},
		Reconcile: x.reconcile,
	}
}

// mirrorable are Endpoints that are mirrored, or were before they changed.
func mirrorable(old, now metav1.Object) []Key {
	for _, o := range []metav1.Object{old, now} {
		if o != nil && isMirrored(o) {
			return itself(old, now)
		}
	}
	return nil
}

// isMirrored reports whether Endpoints are to be mirrored, as far as they have a say: the controller of pods' Endpoints says no
// by a label, and a lock for elections is nobody's address.
func isMirrored(o metav1.Object) bool {
	_, lock := o.GetAnnotations()[resourcelock.LeaderElectionRecordAnnotationKey]
	return o.GetLabels()[discoveryv1.LabelSkipMirror] != "true" && !lock
}

// selectorGivenOrTaken are Services that come or go without a selector, or change in that.
func selectorGivenOrTaken(old, now metav1.Object) []Key {
	has := func(o metav1.Object) bool { return o.(*corev1.Service).Spec.Selector != nil }
	switch {
	case old != nil && now != nil && has(old) == has(now):
		return nil
	case now == nil && has(old), old == nil && has(now):
		return nil
	}
	return itself(old, now)
}

func (x *sliceMirror) reconcile(ctx context.Context, t *Turn) error {
	there := keptSlices(x.slices, t.Key, mirrorKeeper)
	e, _ := x.endpoints.cached(t.Key).(*corev1.Endpoints)
	service, _ := x.services.cached(t.Key).(*corev1.Service)
	if e == nil || service == nil || service.Spec.Selector != nil || !isMirrored(e) {
		return x.apply(ctx, t, mirrorPlan{drop: there})
	}
	plan := planMirror(e, there)
	if plan.invalid > 0 {
		t.Event(e, corev1.EventTypeWarning, "InvalidIPAddress", "Skipped %d invalid IP addresses when mirroring to EndpointSlices", plan.invalid)
	}
	if plan.skipped > plan.invalid {
		t.Event(e, corev1.EventTypeWarning, "TooManyAddressesToMirror", "A max of %d addresses can be mirrored to EndpointSlices per Endpoints subset. %d addresses were skipped",
			mirroredPerSubset, plan.skipped)
	}
	if e.DeletionTimestamp != nil {
		plan.create = nil
	}
	return x.apply(ctx, t, plan)
}

func (x *sliceMirror) apply(ctx context.Context, t *Turn, plan mirrorPlan) error {
	client := t.Client.DiscoveryV1().EndpointSlices(t.Namespace)
	for _, s := range plan.create {
		_, err := Create(ctx, t, client, s)
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("create EndpointSlice for Endpoints %s: %w", t.Key, err)
		}
	}
	for _, s := range plan.update {
		if _, err := Update(ctx, t, client, s); err != nil {
			return fmt.Errorf("update EndpointSlice %s for Endpoints %s: %w", s.Name, t.Key, err)
		}
	}
	for _, s := range plan.drop {
		if err := Delete(ctx, t, client, s, metav1.DeleteOptions{}); err != nil {
			return fmt.Errorf("delete EndpointSlice %s for Endpoints %s: %w", s.Name, t.Key, err)
		}
	}
	return nil
}

// mirrorPlan is what to do with the slices of Endpoints.
type mirrorPlan struct {
	create, update, drop []*discoveryv1.EndpointSlice
	invalid              int // addresses that are none
	skipped              int // addresses that are not mirrored, those included
}

// planMirror compares the slices that there are with those that Endpoints make.
func planMirror(e *corev1.Endpoints, there []*discoveryv1.EndpointSlice) mirrorPlan {
	wanted, plan := mirrorOf(e)
	have := map[string][]*discoveryv1.EndpointSlice{}
	for _, s := range there {
		key := mirrorKey(s.AddressType, s.Ports)
		have[key] = append(have[key], s)
	}
	for _, key := range slices.Sorted(maps.Keys(have)) {
		if wanted[key] == nil {
			plan.drop = append(plan.drop, have[key]...)
		} else {
			plan.drop = append(plan.drop, have[key][1:]...)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		s := wanted[key]
		switch {
		case len(have[key]) == 0:
			plan.create = append(plan.create, s)
		case !sameMirror(s, have[key][0]):
			s.Name, s.GenerateName = have[key][0].Name, ""
			plan.update = append(plan.update, s)
		}
	}
	plan.reuse()
	return plan
}

// reuse changes slices that would go into those that would be made: one write for two.
func (p *mirrorPlan) reuse() {
	p.create = slices.DeleteFunc(p.create, func(s *discoveryv1.EndpointSlice) bool {
		i := slices.IndexFunc(p.drop, func(d *discoveryv1.EndpointSlice) bool { return d.AddressType == s.AddressType })
		if i < 0 {
			return false
		}
		s.Name, s.GenerateName = p.drop[i].Name, ""
		p.update, p.drop = append(p.update, s), slices.Delete(p.drop, i, i+1)
		return true
	})
}

// sameMirror reports whether a slice says already what is wanted of it.
func sameMirror(wanted, have *discoveryv1.EndpointSlice) bool {
	return equality.Semantic.DeepEqual(wanted.Labels, have.Labels) && equality.Semantic.DeepEqual(wanted.Annotations, have.Annotations) &&
		equality.Semantic.DeepEqual(wanted.OwnerReferences, have.OwnerReferences) && sameEndpoints(wanted.Endpoints, have.Endpoints)
}

// sameEndpoints compares endpoints in any order.
func sameEndpoints(wanted, have []discoveryv1.Endpoint) bool {
	set := sliceutil.EndpointSet{}
	for i := range wanted {
		set.Insert(&wanted[i])
	}
	for i := range have {
		if got := set.Get(&have[i]); got == nil || !sliceutil.EndpointsEqualBeyondHash(got, &have[i]) {
			return false
		}
	}
	return set.Len() == len(have)
}

// mirrorOf are the slices that mirror Endpoints, by ports and family, and what cannot be mirrored.
func mirrorOf(e *corev1.Endpoints) (map[string]*discoveryv1.EndpointSlice, mirrorPlan) {
	wanted, seen, plan := map[string]*discoveryv1.EndpointSlice{}, map[string]sliceutil.EndpointSet{}, mirrorPlan{}
	for _, subset := range repackSubsets(e.Subsets) {
		ports, added := mirrorPorts(subset.Ports), 0
		mirror := func(addresses []corev1.EndpointAddress, ready bool) {
			for _, a := range addresses {
				if added >= mirroredPerSubset {
					return
				}
				endpoint, family := mirrorEndpoint(a, ready)
				if endpoint == nil {
					plan.invalid++
					continue
				}
				added++
				key := mirrorKey(family, ports)
				if wanted[key] == nil {
					wanted[key], seen[key] = mirrorSlice(e, family, ports), sliceutil.EndpointSet{}
				}
				if !seen[key].Has(endpoint) && len(wanted[key].Endpoints) < mirroredPerSubset {
					seen[key].Insert(endpoint)
					wanted[key].Endpoints = append(wanted[key].Endpoints, *endpoint)
				}
			}
		}
		mirror(subset.Addresses, true)
		mirror(subset.NotReadyAddresses, false)
		plan.skipped += len(subset.Addresses) + len(subset.NotReadyAddresses) - added
	}
	return wanted, plan
}

func mirrorKey(family discoveryv1.AddressType, ports []discoveryv1.EndpointPort) string {
	return fmt.Sprintf("%s-%s", family, sliceutil.NewPortMapKey(slices.Clone(ports))) // it sorts them
}

func mirrorPorts(of []corev1.EndpointPort) []discoveryv1.EndpointPort {
	ports := []discoveryv1.EndpointPort{}
	for _, p := range of {
		ports = append(ports, discoveryv1.EndpointPort{Name: &p.Name, Port: &p.Port, Protocol: &p.Protocol, AppProtocol: p.AppProtocol})
	}
	return ports
}

// mirrorEndpoint is nil for what is no address.
func mirrorEndpoint(a corev1.EndpointAddress, ready bool) (*discoveryv1.Endpoint, discoveryv1.AddressType) {
	ip := net.ParseIPSloppy(a.IP)
	if ip == nil {
		return nil, ""
	}
	family := discoveryv1.AddressTypeIPv4
	if ip.To4() == nil {
		family = discoveryv1.AddressTypeIPv6
	}
	e := &discoveryv1.Endpoint{Addresses: []string{ip.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		TargetRef: a.TargetRef, NodeName: a.NodeName}
	if a.Hostname != "" {
		e.Hostname = &a.Hostname
	}
	return e, family
}

// mirrorSlice is a slice without endpoints.
func mirrorSlice(e *corev1.Endpoints, family discoveryv1.AddressType, ports []discoveryv1.EndpointPort) *discoveryv1.EndpointSlice {
	prefix := e.Name + "-"
	if len(validation.NameIsDNSSubdomain(prefix, true)) > 0 {
		prefix = e.Name
	}
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{GenerateName: prefix, Namespace: e.Namespace, Labels: map[string]string{}, Annotations: map[string]string{},
			OwnerReferences: []metav1.OwnerReference{ownedBy(e, metav1.TypeMeta{APIVersion: "v1", Kind: "Endpoints"})}},
		AddressType: family, Ports: ports, Endpoints: []discoveryv1.Endpoint{},
	}
	maps.Copy(s.Labels, e.Labels)
	s.Labels[discoveryv1.LabelServiceName], s.Labels[discoveryv1.LabelManagedBy] = e.Name, mirrorKeeper
	maps.Copy(s.Annotations, e.Annotations)
	delete(s.Annotations, corev1.EndpointsLastChangeTriggerTime)
	delete(s.Annotations, corev1.LastAppliedConfigAnnotation)
	return s
}
