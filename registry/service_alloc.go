package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/knarr-dev/knarr/registry/store"
)

// A Service's addresses and ports are allocated before the Service is stored, and what it no longer needs is released
// after: whatever fails in between, nothing is held by two Services. What leaks when the process dies in between is
// found by repair (service_repair.go).
//
// Each allocation is one compare-and-swap in etcd, the creation of an IPAddress (service_addresses.go) or a change of
// the node ports' bitmap (service_ports.go), so any number of API servers may do it at once.

// serviceClaim is what a write of a Service has taken, and will give back.
type serviceClaim struct {
	w                     *Write
	gained, dropped       []string // addresses
	gainedPorts, dropPort []int    // node ports
}

// beginService fills in what a client leaves to the server: address families, addresses and ports.
func beginService(ctx context.Context, w *Write, s, old *corev1.Service) (func(stored bool), error) {
	if old != nil {
		keepAllocated(s, old)
	}
	alignClusterIPs(s, old)
	if err := w.Registry.Network.settleFamilies(s, old); err != nil {
		return nil, err
	}
	c := &serviceClaim{w: w}
	finish := func(stored bool) { c.finish(context.WithoutCancel(ctx), stored) }
	err := c.claimAddresses(ctx, s, old)
	if err == nil {
		err = c.claimPorts(ctx, s, old)
	}
	if err != nil {
		finish(false)
		return nil, err
	}
	return finish, nil
}

// finish releases what the outcome makes superfluous.
func (c *serviceClaim) finish(ctx context.Context, stored bool) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	addresses, ports := c.gained, c.gainedPorts
	if stored {
		addresses, ports = c.dropped, c.dropPort
	}
	if !c.w.DryRun {
		c.w.Registry.release(ctx, addresses, ports)
	}
}

// serviceDeleted releases what the Service held. Its Endpoints go too, lest a Service of the same name begin with them.
func serviceDeleted(ctx context.Context, w *Write, s *corev1.Service) {
	if w.DryRun {
		return
	}
	r, key := w.Registry, store.Key{Namespace: s.Namespace, Name: s.Name}
	if err := r.Delete(ctx, r.Resource("", "endpoints"), key, nil); err != nil && !apierrors.IsNotFound(err) {
		slog.Error("delete the endpoints of a deleted service", "service", key, "err", err)
	}
	r.release(ctx, heldAddresses(s), nodePortsOf(s))
}

// release gives addresses and ports back; what cannot be released now is found by repair.
func (r *Registry) release(ctx context.Context, addresses []string, ports []int) {
	for _, ip := range addresses {
		if err := r.releaseAddress(ctx, ip); err != nil {
			slog.Error("release a cluster IP", "ip", ip, "err", err)
		}
	}
	if err := r.releasePorts(ctx, ports); err != nil {
		slog.Error("release node ports", "ports", ports, "err", err)
	}
}

// heldAddresses are the Service's own cluster IPs.
func heldAddresses(s *corev1.Service) []string {
	if !needsClusterIP(s) || isHeadless(s) {
		return nil
	}
	return s.Spec.ClusterIPs
}

// keepAllocated carries over what the server filled in before and the client did not repeat, so that the manifest that
// created a Service can be put again.
func keepAllocated(s, old *corev1.Service) {
	spec, was := &s.Spec, &old.Spec
	if needsClusterIP(s) && needsClusterIP(old) {
		fill(&spec.ClusterIP, was.ClusterIP)
		if len(spec.ClusterIPs) == 0 {
			spec.ClusterIPs = slices.Clone(was.ClusterIPs)
		}
	}
	if allocatesNodePorts(s) && allocatesNodePorts(old) {
		keepNodePorts(spec.Ports, was.Ports)
	}
	if needsHealthCheck(s) && needsHealthCheck(old) {
		fill(&spec.HealthCheckNodePort, was.HealthCheckNodePort)
	}
}

// keepNodePorts gives ports without a node port that of the old port of the same name, unless another has it now.
func keepNodePorts(ports, old []corev1.ServicePort) {
	var taken []int32
	for _, p := range ports {
		taken = append(taken, p.NodePort)
	}
	for i := range ports {
		if ports[i].NodePort != 0 {
			continue
		}
		for _, o := range old {
			if o.Name == ports[i].Name && !slices.Contains(taken, o.NodePort) {
				ports[i].NodePort = o.NodePort
			}
		}
	}
}

// allocatesNodePorts reports a Service whose ports get node ports of themselves.
func allocatesNodePorts(s *corev1.Service) bool {
	allocate := s.Spec.AllocateLoadBalancerNodePorts
	return s.Spec.Type == corev1.ServiceTypeNodePort || isBalanced(s) && (allocate == nil || *allocate)
}

// alignClusterIPs guesses what clients of before dual stack mean, who know clusterIP and not clusterIPs. Validation
// judges the result.
func alignClusterIPs(s, old *corev1.Service) {
	spec := &s.Spec
	if old == nil {
		if spec.ClusterIP != "" && len(spec.ClusterIPs) == 0 {
			spec.ClusterIPs = []string{spec.ClusterIP}
		}
		return
	}
	was := &old.Spec
	untouched := slices.Equal(spec.ClusterIPs, was.ClusterIPs)
	switch {
	case spec.ClusterIP == was.ClusterIP:
		if len(spec.ClusterIPs) == 0 {
			spec.ClusterIPs = slices.Clone(was.ClusterIPs)
		}
	case untouched && spec.ClusterIP == "":
		spec.ClusterIPs = nil
	case untouched:
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
}

// claimAddresses makes the Service's addresses those of its families.
func (c *serviceClaim) claimAddresses(ctx context.Context, s, old *corev1.Service) error {
	spec := &s.Spec
	switch {
	case old == nil, needsClusterIP(s) && !needsClusterIP(old):
		if !needsClusterIP(s) || isNone(s) {
			return nil
		}
		return c.claimFamilies(ctx, s, 0)
	case keepsPreferredFamilies(s, old), isNone(old), !needsClusterIP(old):
		return nil
	case !needsClusterIP(s):
		c.dropped = old.Spec.ClusterIPs
		return nil
	}
	switch is, was := len(spec.IPFamilies), len(old.Spec.IPFamilies); {
	case is == 2 && was == 1:
		return c.claimFamilies(ctx, s, 1)
	case is == 1 && was == 2:
		c.dropped = old.Spec.ClusterIPs[1:]
	}
	return nil
}

// isNone reports clusterIPs that begin with None, valid or not.
func isNone(s *corev1.Service) bool {
	return len(s.Spec.ClusterIPs) > 0 && s.Spec.ClusterIPs[0] == corev1.ClusterIPNone
}

// claimFamilies takes an address for each family from the given one on: the one asked for, or any.
func (c *serviceClaim) claimFamilies(ctx context.Context, s *corev1.Service, from int) error {
	spec := &s.Spec
	spec.ClusterIPs = slices.Clone(spec.ClusterIPs)
	for len(spec.ClusterIPs) < len(spec.IPFamilies) {
		spec.ClusterIPs = append(spec.ClusterIPs, "")
	}
	for i := from; i < len(spec.IPFamilies); i++ {
		ip, err := c.claimAddress(ctx, s, spec.IPFamilies[i], spec.ClusterIPs[i])
		if err != nil {
			return err
		}
		spec.ClusterIPs[i] = ip
		if i == 0 {
			spec.ClusterIP = ip
		}
	}
	return nil
}

func (c *serviceClaim) claimAddress(ctx context.Context, s *corev1.Service, family corev1.IPFamily, want string) (string, error) {
	ip, err := c.w.Registry.allocateAddress(ctx, s, family, want, c.w.DryRun)
	switch {
	case err == nil:
		c.gained = append(c.gained, ip)
		return ip, nil
	case want != "":
		return "", serviceInvalid(s, field.Invalid(field.NewPath("spec", "clusterIPs"), s.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %v: %v", want, err)))
	case errors.Is(err, errRangeFull):
		return "", apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP for Service %q: %w", s.Name, err))
	}
	return "", serviceInvalid(s, field.Invalid(field.NewPath("spec", "clusterIPs"), s.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP: %v", err)))
}

func serviceInvalid(s *corev1.Service, err *field.Error) error {
	return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), s.Name, field.ErrorList{err})
}
