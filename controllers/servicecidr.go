package controllers

import (
	"context"
	"net/netip"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	applymeta "k8s.io/client-go/applyconfigurations/meta/v1"
	applynetworking "k8s.io/client-go/applyconfigurations/networking/v1"
	typednetworking "k8s.io/client-go/kubernetes/typed/networking/v1"
)

// serviceCIDRs promises that a range of cluster IPs is Ready while it may be allocated from, and that one that is to go stays
// until no Service needs it: until each address in it lies in another range, too.
//
// The subtle case is an API server that has not heard yet that a range is going, and still gives out addresses of it: so a
// range stays for a while even if nobody needs it.
type serviceCIDRs struct{ ranges, addresses *Source }

const (
	serviceCIDRFinalizer = "networking.k8s.io/service-cidr-finalizer"
	// addressManager is who has made the addresses that belong to Services.
	addressManager = "ipallocator.k8s.io"
	// serviceCIDRGrace is how long a range stays at least.
	serviceCIDRGrace = 10 * time.Second
)

func serviceCIDRLoop(c *Config) Loop {
	x := &serviceCIDRs{c.Source(&networkingv1.ServiceCIDR{}), c.Source(&networkingv1.IPAddress{})}
	return Loop{Watches: []Watch{{x.ranges, x.changed}, {x.addresses, x.addressed}}, Reconcile: x.reconcile}
}

// changed are the range that changed, and those that overlap with one that is new: it may take over their addresses.
func (x *serviceCIDRs) changed(old, now metav1.Object) []Key {
	keys := itself(old, now)
	if old != nil {
		return keys
	}
	for _, p := range prefixesOf(now.(*networkingv1.ServiceCIDR)) {
		for _, other := range x.those(p.Overlaps) {
			keys = append(keys, Key{Name: other})
		}
	}
	return keys
}

// addressed are the ranges of an address that came or went.
func (x *serviceCIDRs) addressed(old, now metav1.Object) (keys []Key) {
	if old != nil && now != nil {
		return nil
	}
	of := itself(old, now)[0]
	address, err := netip.ParseAddr(of.Name)
	if o := firstOf(now, old); err != nil || o.GetLabels()[networkingv1.LabelManagedBy] != addressManager {
		return nil
	}
	for _, name := range x.those(func(p netip.Prefix) bool { return allocatable(p, address) }) {
		keys = append(keys, Key{Name: name})
	}
	return keys
}

func firstOf(a, b metav1.Object) metav1.Object {
	if a != nil {
		return a
	}
	return b
}

// those are the names of ranges of which one prefix is as wanted.
func (x *serviceCIDRs) those(wanted func(netip.Prefix) bool) (names []string) {
	for _, o := range x.ranges.all("") {
		if slices.ContainsFunc(prefixesOf(o.(*networkingv1.ServiceCIDR)), wanted) {
			names = append(names, o.GetName())
		}
	}
	return names
}

func prefixesOf(c *networkingv1.ServiceCIDR) (prefixes []netip.Prefix) {
	for _, text := range c.Spec.CIDRs {
		if p, err := netip.ParsePrefix(text); err == nil {
			prefixes = append(prefixes, p)
		}
	}
	return prefixes
}

// allocatable reports that an address can be given out of a prefix: the first, and the last one of IPv4, are not.
func allocatable(p netip.Prefix, a netip.Addr) bool {
	if !p.Contains(a) || a == p.Masked().Addr() {
		return false
	}
	return !a.Is4() || p.Contains(a.Next())
}

func (x *serviceCIDRs) reconcile(ctx context.Context, t *Turn) error {
	c, _ := x.ranges.cached(t.Key).(*networkingv1.ServiceCIDR)
	if c == nil {
		return nil
	}
	has := slices.Contains(c.Finalizers, serviceCIDRFinalizer)
	client := t.Client.NetworkingV1().ServiceCIDRs()
	if c.DeletionTimestamp == nil {
		if !has {
			if _, err := Patch(ctx, t, client, c.Name, types.StrategicMergePatchType, metadataPatch(map[string]any{"finalizers": []string{serviceCIDRFinalizer}})); err != nil {
				return goneAlready(err)
			}
		}
		return x.tell(ctx, t, c, metav1.Condition{Status: metav1.ConditionTrue, Message: "Kubernetes Service CIDR is ready"})
	}
	if x.needed(c) {
		return x.tell(ctx, t, c, metav1.Condition{Status: metav1.ConditionFalse, Reason: networkingv1.ServiceCIDRReasonTerminating,
			Message: "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"})
	}
	if rest := c.DeletionTimestamp.Add(serviceCIDRGrace).Sub(t.Now); rest > 0 {
		t.Again(rest)
		return nil
	}
	if !has {
		return nil
	}
	_, err := Patch(ctx, t, client, c.Name, types.StrategicMergePatchType, metadataPatch(map[string]any{"$deleteFromPrimitiveList/finalizers": []string{serviceCIDRFinalizer}}))
	return goneAlready(err)
}

// needed reports that addresses would lie in no range if this one went.
func (x *serviceCIDRs) needed(c *networkingv1.ServiceCIDR) bool {
	var others []netip.Prefix
	for _, o := range x.ranges.all("") {
		if o.GetName() != c.Name {
			others = append(others, prefixesOf(o.(*networkingv1.ServiceCIDR))...)
		}
	}
	var addresses []netip.Addr
	for _, o := range x.addresses.all("") {
		if a, err := netip.ParseAddr(o.GetName()); err == nil && o.GetLabels()[networkingv1.LabelManagedBy] == addressManager {
			addresses = append(addresses, a)
		}
	}
	return orphans(prefixesOf(c), others, addresses)
}

// orphans reports that some address lies in ranges that go and in none of the others. Ranges that others contain as a whole
// leave none behind.
func orphans(going, others []netip.Prefix, addresses []netip.Addr) bool {
	covered := func(p netip.Prefix) bool {
		return slices.ContainsFunc(others, func(o netip.Prefix) bool { return o.Overlaps(p) && o.Bits() <= p.Bits() })
	}
	if !slices.ContainsFunc(going, func(p netip.Prefix) bool { return !covered(p) }) {
		return false
	}
	return slices.ContainsFunc(addresses, func(a netip.Addr) bool {
		in := func(p netip.Prefix) bool { return allocatable(p, a) }
		return slices.ContainsFunc(going, in) && !slices.ContainsFunc(others, in)
	})
}

// tell sets the condition Ready, as the field manager of this name.
func (x *serviceCIDRs) tell(ctx context.Context, t *Turn, c *networkingv1.ServiceCIDR, is metav1.Condition) error {
	was := meta.FindStatusCondition(c.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
	if was != nil && was.Status == is.Status && was.Reason == is.Reason && was.Message == is.Message {
		return nil
	}
	_, err := Apply(ctx, t, serviceCIDRStatus{t.Client.NetworkingV1().ServiceCIDRs()}, applynetworking.ServiceCIDR(c.Name).WithStatus(
		applynetworking.ServiceCIDRStatus().WithConditions(applymeta.Condition().WithType(networkingv1.ServiceCIDRConditionReady).
			WithStatus(is.Status).WithReason(is.Reason).WithMessage(is.Message).WithLastTransitionTime(metav1.NewTime(t.Now)))))
	if err != nil && is.Status == metav1.ConditionTrue {
		return t.Failed(c, err, "KubernetesServiceCIDRError", "The ServiceCIDR Status can not be set to Ready=True")
	}
	return err
}

// serviceCIDRStatus applies the sub-resource.
type serviceCIDRStatus struct {
	client typednetworking.ServiceCIDRInterface
}

func (s serviceCIDRStatus) Apply(ctx context.Context, wanted *applynetworking.ServiceCIDRApplyConfiguration, o metav1.ApplyOptions) (*networkingv1.ServiceCIDR, error) {
	return s.client.ApplyStatus(ctx, wanted, o)
}
