package registry

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/knarr-dev/knarr/registry/store"
)

// The node ports in use are a bitmap in one object, /registry/ranges/servicenodeports, as upstream keeps it, so that
// both can work on one etcd. All ports of a Service are taken in one compare-and-swap.

var (
	errPortTaken     = errors.New("provided port is already allocated")
	errPortsMismatch = errors.New("the provided range does not match the current range")
)

// portRanges is where the bitmap is kept; it is no resource of the API.
func portRanges() store.Config {
	return store.Config{
		Resource: schema.GroupResource{Resource: "servicenodeportallocations"},
		Kind:     corev1.SchemeGroupVersion.WithKind("RangeAllocation"),
		Prefix:   "ranges",
		Unsealed: true,
		New:      func() store.Object { return &corev1.RangeAllocation{} },
	}
}

func portsKey() store.Key { return store.Key{Name: "servicenodeports"} }

// nodePortSet is the bitmap while ports are taken and given back.
type nodePortSet struct {
	ports utilnet.PortRange
	bits  *big.Int
	taken []int // by this operation
	dry   bool  // nothing is kept: numbers are made up and ranges not checked
}

// take takes one port.
func (p *nodePortSet) take(port int) error {
	inside := p.ports.Contains(port)
	switch {
	case p.dry && slices.Contains(p.taken, port), inside && p.bits.Bit(port-p.ports.Base) == 1:
		return errPortTaken
	case !inside && !p.dry:
		return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %s", p.ports.String())
	}
	if inside && !p.dry {
		p.bits.SetBit(p.bits, port-p.ports.Base, 1)
	}
	p.taken = append(p.taken, port)
	return nil
}

// takeAny takes a port at random from the upper band; the lower one stays free for those who ask for a number, until
// the upper is full.
func (p *nodePortSet) takeAny() (int, error) {
	if p.dry {
		port := 32768 + 1 // any number will do, but each only once
		if len(p.taken) > 0 {
			port = slices.Max(p.taken) + 1
		}
		p.taken = append(p.taken, port)
		return port, nil
	}
	lower := lowerNodePorts(p.ports.Size)
	for _, band := range []struct{ first, size int }{{lower, p.ports.Size - lower}, {0, lower}} {
		if band.size == 0 {
			continue
		}
		start := rand.IntN(band.size)
		for i := range band.size {
			if port := p.ports.Base + band.first + (start+i)%band.size; p.take(port) == nil {
				return port, nil
			}
		}
	}
	return 0, errRangeFull
}

// lowerNodePorts is the size of the lower band: a 32nd of the range, at least 16 and at most 128; small ranges have none.
func lowerNodePorts(size int) int {
	const smallest, largest, share = 16, 128, 32
	if size <= smallest {
		return 0
	}
	return min(max(size/share, smallest), largest)
}

// free gives a port back.
func (p *nodePortSet) free(port int) {
	if p.ports.Contains(port) {
		p.bits.SetBit(p.bits, port-p.ports.Base, 0)
	}
}

// changePorts runs change on the bitmap and stores it. change may run several times, each time on the state of then.
func (r *Registry) changePorts(ctx context.Context, change func(*nodePortSet) error) error {
	key := portsKey()
	_, err := r.ports().Update(ctx, key, func(current *store.Entry) (store.Outcome, error) {
		set, stored, err := r.loadPorts(current)
		if err != nil {
			return store.Outcome{}, err
		}
		if err := change(set); err != nil {
			return store.Outcome{}, err
		}
		stored.Range, stored.Data = r.Network.NodePorts.String(), set.bits.Bytes()
		return store.Outcome{Put: stored}, nil
	})
	return err
}

// loadPorts reads the bitmap; an entry of nil is an empty one.
func (r *Registry) loadPorts(entry *store.Entry) (*nodePortSet, *corev1.RangeAllocation, error) {
	set := &nodePortSet{ports: r.Network.NodePorts, bits: new(big.Int)}
	if entry == nil {
		return set, &corev1.RangeAllocation{}, nil
	}
	obj, err := entry.Object()
	if err != nil {
		return nil, nil, err
	}
	stored := obj.(*corev1.RangeAllocation).DeepCopy()
	if stored.Range != "" && stored.Range != set.ports.String() {
		return nil, nil, errPortsMismatch
	}
	set.bits.SetBytes(stored.Data)
	return set, stored, nil
}

// releasePorts gives node ports back.
func (r *Registry) releasePorts(ctx context.Context, ports []int) error {
	if len(ports) == 0 {
		return nil
	}
	return r.changePorts(ctx, func(set *nodePortSet) error {
		for _, port := range ports {
			set.free(port)
		}
		return nil
	})
}

// claimPorts takes what node ports the Service needs and does not have, and notes those that it no longer needs.
func (c *serviceClaim) claimPorts(ctx context.Context, s, old *corev1.Service) error {
	var held []int
	if old != nil {
		held = nodePortsOf(old)
	}
	if hasNodePorts(s) {
		var done *corev1.Service
		var taken []int
		assign := func(set *nodePortSet) error {
			done = s.DeepCopy()
			err := assignPorts(done, old, set)
			taken = set.taken
			return err
		}
		if err := c.changePorts(ctx, s, old, assign); err != nil {
			return err
		}
		c.gainedPorts = taken
		s.Spec.Ports, s.Spec.HealthCheckNodePort = done.Spec.Ports, done.Spec.HealthCheckNodePort
	}
	var keeps []int
	if hasNodePorts(s) {
		keeps = nodePortsOf(s)
	}
	for _, port := range held {
		if !slices.Contains(keeps, port) {
			c.dropPort = append(c.dropPort, port)
		}
	}
	return nil
}

// changePorts runs assign on the stored bitmap, or on a copy of it: in a dry run, and when there is nothing to take.
func (c *serviceClaim) changePorts(ctx context.Context, s, old *corev1.Service, assign func(*nodePortSet) error) error {
	r := c.w.Registry
	if !c.w.DryRun && !wantsPorts(s, old) {
		return assign(&nodePortSet{ports: r.Network.NodePorts, bits: new(big.Int)})
	}
	if !c.w.DryRun {
		return r.changePorts(ctx, assign)
	}
	entry, err := r.ports().Get(ctx, portsKey(), "0")
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	set, _, err := r.loadPorts(entry)
	if err != nil {
		return err
	}
	set.dry = true
	return assign(set)
}

// wantsPorts reports that the Service needs a node port that its old self does not have.
func wantsPorts(s, old *corev1.Service) bool {
	var held []int
	if old != nil {
		held = servicePortsOf(old)
	}
	for _, p := range s.Spec.Ports {
		if p.NodePort == 0 && allocatesNodePorts(s) || p.NodePort != 0 && !slices.Contains(held, int(p.NodePort)) {
			return true
		}
	}
	return needsHealthCheck(s) && (old == nil || !needsHealthCheck(old))
}

// assignPorts gives the Service's ports their numbers.
func assignPorts(s, old *corev1.Service, set *nodePortSet) error {
	var err error
	if old == nil {
		err = assignNewPorts(s, set)
	} else {
		err = assignChangedPorts(s, old, set)
	}
	if err != nil || !needsHealthCheck(s) || old != nil && needsHealthCheck(old) {
		return err
	}
	if want := int(s.Spec.HealthCheckNodePort); want != 0 {
		if err := set.take(want); err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate requested HealthCheck NodePort %v: %v", want, err))
		}
		return nil
	}
	port, err := set.takeAny()
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a HealthCheck NodePort %v: %v", port, err))
	}
	s.Spec.HealthCheckNodePort = int32(port)
	return nil
}

// assignNewPorts gives ports of one number (a DNS server's, of TCP and UDP) one node port, the first that is asked for.
func assignNewPorts(s *corev1.Service, set *nodePortSet) error {
	given := map[int32]int32{}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.NodePort == 0 && !allocatesNodePorts(s) {
			continue
		}
		shared, again := given[p.Port]
		switch {
		case again && p.NodePort == 0:
			p.NodePort = shared
		case again && p.NodePort == shared:
		case again:
			if err := takeNodePort(s, i, int(p.NodePort), set); err != nil {
				return err
			}
		default:
			if j := slices.IndexFunc(s.Spec.Ports, func(q corev1.ServicePort) bool { return q.Port == p.Port && q.NodePort != 0 }); j >= 0 {
				p.NodePort = s.Spec.Ports[j].NodePort
			}
			if err := takeNodePort(s, i, int(p.NodePort), set); err != nil {
				return err
			}
			given[p.Port] = p.NodePort
		}
	}
	return nil
}

// assignChangedPorts takes what is new.
func assignChangedPorts(s, old *corev1.Service, set *nodePortSet) error {
	held := servicePortsOf(old)
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.NodePort == 0 && !allocatesNodePorts(s) || slices.Contains(held, int(p.NodePort)) || p.NodePort != 0 && slices.Contains(set.taken, int(p.NodePort)) {
			if err := refuseSamePort(s, i); err != nil {
				return err
			}
			continue
		}
		if err := takeNodePort(s, i, int(p.NodePort), set); err != nil {
			return err
		}
	}
	return nil
}

// refuseSamePort refuses a node port that a port before has for the same protocol.
func refuseSamePort(s *corev1.Service, i int) error {
	p := s.Spec.Ports[i]
	for _, q := range s.Spec.Ports[:i] {
		if p.NodePort != 0 && q.NodePort == p.NodePort && q.Protocol == p.Protocol {
			return fmt.Errorf("duplicate nodePort: {%v %v}", p.Protocol, p.NodePort)
		}
	}
	return nil
}

// takeNodePort takes want, or any port if that is zero, for the Service's i-th port.
func takeNodePort(s *corev1.Service, i, want int, set *nodePortSet) error {
	if want == 0 {
		port, err := set.takeAny()
		if err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", err))
		}
		s.Spec.Ports[i].NodePort = int32(port)
		return nil
	}
	if err := set.take(want); err != nil {
		return serviceInvalid(s, field.Invalid(field.NewPath("spec", "ports").Index(i).Child("nodePort"), want, err.Error()))
	}
	return nil
}

// servicePortsOf are the node ports of the Service's ports.
func servicePortsOf(s *corev1.Service) []int {
	var ports []int
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			ports = append(ports, int(p.NodePort))
		}
	}
	return ports
}

// nodePortsOf are all node ports that the Service holds, that of the health check among them.
func nodePortsOf(s *corev1.Service) []int {
	ports := servicePortsOf(s)
	if needsHealthCheck(s) && s.Spec.HealthCheckNodePort != 0 {
		ports = append(ports, int(s.Spec.HealthCheckNodePort))
	}
	return ports
}
