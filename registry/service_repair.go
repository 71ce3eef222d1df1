package registry

import (
	"context"
	"errors"
	"log/slog"
	"math/big"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/knarr-dev/knarr/registry/store"
)

// Between the allocation and the Service lies an instant in which a process can die, and etcd may be edited or restored.
// Repair compares what Services have with what is held for them, and makes them agree: an address or port of a Service
// that is not held is taken for it; what is held and nobody has is released, when it is old enough not to belong to a
// Service that is just being written.

// How old a held address must be before it counts as leaked: a request lives for a minute at most.
const (
	leakedAfter   = time.Minute
	replacedAfter = 5 * time.Second // while its Service exists
)

// leakPasses is in how many passes a held port must be found without a Service before it is released.
const leakPasses = 3

// serviceRepair remembers between passes what it suspects.
type serviceRepair struct {
	r     *Registry
	leaks map[int]int // port -> passes until it is released
}

// addresses has Services and IPAddresses agree.
func (p *serviceRepair) addresses(ctx context.Context) error {
	services := map[store.Key]*corev1.Service{}
	if err := p.r.each(ctx, "", "services", "", func(o Object) { services[objectKey(o)] = o.(*corev1.Service) }); err != nil {
		return err
	}
	held := map[string]*networkingv1.IPAddress{}
	err := p.r.each(ctx, networkingv1.GroupName, "ipaddresses", "", func(o Object) { held[o.GetName()] = o.(*networkingv1.IPAddress) })
	if err != nil {
		return err
	}
	cidrs, err := p.r.serviceCIDRs(ctx, "")
	if err != nil {
		return err
	}
	var errs []error
	for key, s := range services {
		for _, text := range heldAddresses(s) {
			ip, err := netip.ParseAddr(text)
			if err != nil || !inServiceCIDR(cidrs, ip) {
				slog.Warn("the cluster IP of a Service lies in no ServiceCIDR; recreate the Service", "service", key, "ip", text)
				continue
			}
			errs = append(errs, p.holdFor(ctx, s, ip, held[ip.String()], services))
		}
	}
	now := time.Now()
	for _, a := range held {
		if isLeaked(a, services, now) {
			slog.Warn("an address belongs to no Service; released", "ip", a.Name)
			errs = append(errs, p.r.releaseUnchanged(ctx, a))
		}
	}
	return errors.Join(errs...)
}

// watch restores at once what is deleted while a Service has it, until ctx ends. The passes find what it misses.
func (p *serviceRepair) watch(ctx context.Context) {
	for ctx.Err() == nil {
		if err := p.restoreDeleted(ctx); err != nil && ctx.Err() == nil {
			slog.Warn("watch the addresses of Services", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// restoreDeleted follows the deletions of IPAddresses from now on; it returns when the watch breaks.
func (p *serviceRepair) restoreDeleted(ctx context.Context) error {
	addresses := p.r.Store(networkingv1.GroupName, "ipaddresses")
	list, err := addresses.List(ctx, store.ListOptions{Limit: 1})
	if err != nil {
		return err
	}
	w, err := addresses.Watch(ctx, store.WatchOptions{ResourceVersion: list.Revision.String()})
	if err != nil {
		return err
	}
	defer w.Close()
	var events []store.Event
	for {
		if events, err = w.Next(ctx, events[:0]); err != nil {
			return err
		}
		for _, e := range events {
			if e.Type != watch.Deleted {
				continue
			}
			if err := p.restore(ctx, e.Entry); err != nil {
				return err
			}
		}
	}
}

// restore holds a deleted address again if its Service still has it.
func (p *serviceRepair) restore(ctx context.Context, deleted *store.Entry) error {
	obj, err := deleted.Object()
	if err != nil {
		return err
	}
	ref := obj.(*networkingv1.IPAddress).Spec.ParentRef
	if ref == nil || ref.Group != "" || ref.Resource != "services" {
		return nil
	}
	owner, err := p.r.read(ctx, "", "services", store.Key{Namespace: ref.Namespace, Name: ref.Name})
	if apierrors.IsNotFound(err) {
		return nil // released with the Service
	}
	if err != nil {
		return err
	}
	s := owner.(*corev1.Service)
	ip, err := netip.ParseAddr(deleted.Name)
	if err != nil || !slices.Contains(heldAddresses(s), deleted.Name) {
		return nil
	}
	return p.r.createMissing(ctx, p.r.Resource(networkingv1.GroupName, "ipaddresses"), addressOf(s, ip))
}

// holdFor has the address be held for the Service. One that two Services have stays with the first.
func (p *serviceRepair) holdFor(ctx context.Context, s *corev1.Service, ip netip.Addr, is *networkingv1.IPAddress, services map[store.Key]*corev1.Service) error {
	want := addressOf(s, ip)
	switch {
	case is == nil:
		slog.Warn("the cluster IP of a Service is not allocated; repairing", "service", objectKey(s), "ip", ip)
		return p.r.createMissing(ctx, p.r.Resource(networkingv1.GroupName, "ipaddresses"), want)
	case equal(is.Spec, want.Spec) && holdsLabels(is, want):
		return nil
	}
	if ref := is.Spec.ParentRef; ref != nil && ref.Resource == "services" && !equal(is.Spec, want.Spec) {
		other := services[store.Key{Namespace: ref.Namespace, Name: ref.Name}]
		if other != nil && slices.Contains(other.Spec.ClusterIPs, is.Name) {
			slog.Warn("two Services have the same cluster IP; recreate one of them", "ip", ip, "service", objectKey(s), "holder", objectKey(other))
			return nil
		}
	}
	slog.Warn("the cluster IP of a Service is held for something else; repairing", "service", objectKey(s), "ip", ip)
	if err := p.r.releaseUnchanged(ctx, is); err != nil {
		return err
	}
	_, err := p.r.Create(ctx, p.r.Resource(networkingv1.GroupName, "ipaddresses"), want)
	return err
}

func holdsLabels(is, want *networkingv1.IPAddress) bool {
	for k, v := range want.Labels {
		if is.Labels[k] != v {
			return false
		}
	}
	return true
}

// isLeaked reports an address that was allocated here and that no Service has.
func isLeaked(a *networkingv1.IPAddress, services map[store.Key]*corev1.Service, now time.Time) bool {
	if a.Labels[networkingv1.LabelManagedBy] != addressManager {
		return false
	}
	ref := a.Spec.ParentRef
	if ref == nil || ref.Group != "" || ref.Resource != "services" {
		return true // somebody has changed it
	}
	age := now.Sub(a.CreationTimestamp.Time)
	s := services[store.Key{Namespace: ref.Namespace, Name: ref.Name}]
	switch {
	case s == nil:
		return age > leakedAfter
	case slices.Contains(s.Spec.ClusterIPs, a.Name):
		return false
	case s.Spec.Type == corev1.ServiceTypeExternalName: // about to get addresses
		return age > leakedAfter
	}
	return age > replacedAfter
}

// releaseUnchanged deletes the address if it is still the object that was judged.
func (r *Registry) releaseUnchanged(ctx context.Context, a *networkingv1.IPAddress) error {
	err := r.Delete(ctx, r.Resource(networkingv1.GroupName, "ipaddresses"), store.Key{Name: a.Name}, func(o Object) bool {
		return o.GetUID() == a.UID && o.GetResourceVersion() == a.ResourceVersion
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func inServiceCIDR(cidrs []*networkingv1.ServiceCIDR, ip netip.Addr) bool {
	for _, c := range cidrs {
		for _, text := range c.Spec.CIDRs {
			if p, err := netip.ParsePrefix(text); err == nil && p.Contains(ip) {
				return true
			}
		}
	}
	return false
}

// ports has the bitmap of node ports say what Services have. It reads the bitmap before the Services and writes it only
// if nobody did in between, so that no allocation is lost.
func (p *serviceRepair) ports(ctx context.Context) error {
	entry, err := p.r.ports().Get(ctx, portsKey(), "")
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	stored, err := storedPorts(entry)
	if err != nil {
		return err
	}
	used := map[int]bool{}
	if err := p.r.each(ctx, "", "services", "", func(o Object) { usePorts(o.(*corev1.Service), used) }); err != nil {
		return err
	}
	set := p.rebuild(stored, used)
	_, err = p.r.ports().Update(ctx, portsKey(), func(current *store.Entry) (store.Outcome, error) {
		if (current == nil) != (entry == nil) || current != nil && current.Revision != entry.Revision {
			return store.Outcome{}, nil // the next pass will see
		}
		next := &corev1.RangeAllocation{Range: set.ports.String(), Data: set.bits.Bytes()}
		return store.Outcome{Put: next}, nil
	})
	return err
}

// rebuild is the bitmap of the used ports and of those that are suspected to be leaked but not yet given up.
func (p *serviceRepair) rebuild(stored []int, used map[int]bool) *nodePortSet {
	set := &nodePortSet{ports: p.r.Network.NodePorts, bits: new(big.Int)}
	for port := range used {
		delete(p.leaks, port)
		if !set.ports.Contains(port) {
			slog.Warn("a node port lies outside of the range; recreate the Service", "port", port, "range", set.ports.String())
			continue
		}
		if err := set.take(port); err == nil && !slices.Contains(stored, port) {
			slog.Warn("a node port of a Service is not allocated; repairing", "port", port)
		}
	}
	for _, port := range stored {
		if used[port] || !set.ports.Contains(port) {
			continue
		}
		left, suspected := p.leaks[port]
		if !suspected {
			left = leakPasses - 1
		}
		if left == 0 {
			slog.Warn("a node port belongs to no Service; released", "port", port)
			delete(p.leaks, port)
			continue
		}
		p.leaks[port] = left - 1
		_ = set.take(port) // it was free: no Service uses it
	}
	return set
}

// storedPorts are the ports of the stored bitmap, whatever range it was made for.
func storedPorts(entry *store.Entry) ([]int, error) {
	if entry == nil {
		return nil, nil
	}
	obj, err := entry.Object()
	if err != nil {
		return nil, err
	}
	a := obj.(*corev1.RangeAllocation)
	if a.Range == "" {
		return nil, nil
	}
	ports, err := utilnet.ParsePortRange(a.Range)
	if err != nil {
		return nil, err
	}
	bits, all := new(big.Int).SetBytes(a.Data), []int(nil)
	for i := range ports.Size {
		if bits.Bit(i) == 1 {
			all = append(all, ports.Base+i)
		}
	}
	return all, nil
}

// usePorts notes the Service's node ports.
func usePorts(s *corev1.Service, used map[int]bool) {
	for _, port := range nodePortsOf(s) {
		if used[port] && !slices.Contains(sharedPorts(s), port) {
			slog.Warn("a node port is assigned to several Services; recreate one of them", "port", port, "service", objectKey(s))
		}
		used[port] = true
	}
}

// sharedPorts are the node ports that one Service has for several protocols.
func sharedPorts(s *corev1.Service) []int {
	var shared []int
	for i, port := range servicePortsOf(s) {
		if slices.Contains(servicePortsOf(s)[:i], port) {
			shared = append(shared, port)
		}
	}
	return shared
}
