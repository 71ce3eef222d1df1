package registry

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	netutils "k8s.io/utils/net"

	"github.com/knarr-dev/knarr/registry/store"
)

// A cluster IP is held by the IPAddress object of its name: who creates it has the address, and the store lets one
// create. Addresses come from the ranges of all ServiceCIDRs that are ready. In each, an address that nobody asked for
// is taken at random from the upper band; the lower band stays free for those who ask, until the upper is full.
// (KEPs 1880, 3070)

// defaultServiceCIDR is the range that the cluster was started with.
const defaultServiceCIDR = "kubernetes"

// maxHostBits bounds the ranges that are allocated from, as upstream does: IPv6 prefixes have 64 bits at least.
const maxHostBits = 64

// addressManager marks the IPAddresses that are made here.
const addressManager = "ipallocator.k8s.io"

var (
	errRangeFull     = errors.New("range is full")
	errAddressTaken  = errors.New("provided IP is already allocated")
	errNoSuchRange   = errors.New("the provided network does not match the current range")
	errRangeNotReady = errors.New("allocator not ready")
)

// allocateAddress takes an address of the family for the Service: want, or any if that is empty. A dry run takes none
// and answers with the range's first.
func (r *Registry) allocateAddress(ctx context.Context, s *corev1.Service, family corev1.IPFamily, want string, dryRun bool) (string, error) {
	// The cache may not know the newest range yet: before a refusal it is asked for what is true now.
	for _, resourceVersion := range []string{"0", ""} {
		ranges, err := r.addressRanges(ctx, family, resourceVersion)
		if err != nil {
			return "", err
		}
		var ip string
		if want == "" {
			ip, err = r.allocateAnyAddress(ctx, s, ranges, dryRun)
		} else {
			ip, err = r.allocateThisAddress(ctx, s, ranges, want, dryRun)
		}
		if resourceVersion == "" || !errors.Is(err, errRangeFull) && !errors.Is(err, errNoSuchRange) {
			return ip, err
		}
	}
	return "", errRangeFull
}

func (r *Registry) allocateThisAddress(ctx context.Context, s *corev1.Service, ranges []addressRange, want string, dryRun bool) (string, error) {
	ip, ok := netip.AddrFromSlice(netutils.ParseIPSloppy(want))
	if !ok {
		return "", fmt.Errorf("failed to parse service IP %q", want)
	}
	ip = ip.Unmap()
	for _, a := range ranges {
		switch {
		case !a.usable(ip):
		case dryRun:
			return want, nil
		default:
			return want, r.createAddress(ctx, s, ip)
		}
	}
	switch {
	case dryRun && len(ranges) == 0:
		return "", errRangeNotReady
	case dryRun:
		return "", ranges[0].outside(ip)
	}
	return "", errNoSuchRange
}

func (r *Registry) allocateAnyAddress(ctx context.Context, s *corev1.Service, ranges []addressRange, dryRun bool) (string, error) {
	for _, a := range ranges {
		if dryRun {
			return a.prefix.Addr().String(), nil
		}
		for _, band := range a.bands() {
			if ip, err := r.allocateFromBand(ctx, s, band); !errors.Is(err, errRangeFull) {
				return ip, err
			}
		}
	}
	return "", errRangeFull
}

// allocateFromBand takes the first free address, beginning at a random one.
func (r *Registry) allocateFromBand(ctx context.Context, s *corev1.Service, b addressBand) (string, error) {
	if b.size == 0 {
		return "", errRangeFull
	}
	addresses := r.Store(networkingv1.GroupName, "ipaddresses")
	start := rand.Uint64N(b.size)
	for i := uint64(0); i < b.size; i++ {
		ip := addToAddr(b.first, (start+i)%b.size)
		// The cache tells what is certainly taken; the creation tells the rest.
		if _, err := addresses.Get(ctx, store.Key{Name: ip.String()}, "0"); err == nil {
			continue
		}
		err := r.createAddress(ctx, s, ip)
		if errors.Is(err, errAddressTaken) {
			continue
		}
		return ip.String(), err
	}
	return "", errRangeFull
}

func (r *Registry) createAddress(ctx context.Context, s *corev1.Service, ip netip.Addr) error {
	_, err := r.Create(ctx, r.Resource(networkingv1.GroupName, "ipaddresses"), addressOf(s, ip))
	if apierrors.IsAlreadyExists(err) {
		return errAddressTaken
	}
	return err
}

// addressOf is the object that holds the address for the Service.
func addressOf(s *corev1.Service, ip netip.Addr) *networkingv1.IPAddress {
	return &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: ip.String(), Labels: map[string]string{
			networkingv1.LabelIPAddressFamily: string(familyOfAddr(ip)),
			networkingv1.LabelManagedBy:       addressManager,
		}},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{
			Resource: "services", Namespace: s.Namespace, Name: s.Name,
		}},
	}
}

// releaseAddress gives a cluster IP back.
func (r *Registry) releaseAddress(ctx context.Context, ip string) error {
	name := ip
	if parsed := netutils.ParseIPSloppy(ip); parsed != nil {
		name = parsed.String()
	}
	err := r.Delete(ctx, r.Resource(networkingv1.GroupName, "ipaddresses"), store.Key{Name: name}, nil)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// addressRanges are the ranges that addresses of the family may come from now.
func (r *Registry) addressRanges(ctx context.Context, family corev1.IPFamily, resourceVersion string) ([]addressRange, error) {
	cidrs, err := r.serviceCIDRs(ctx, resourceVersion)
	if err != nil {
		return nil, err
	}
	var ranges []addressRange
	for _, c := range cidrs {
		// One without condition counts as ready: the controller that says otherwise may not run.
		ready := meta.FindStatusCondition(c.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
		if c.DeletionTimestamp != nil || ready != nil && ready.Status != metav1.ConditionTrue {
			continue
		}
		for _, text := range c.Spec.CIDRs {
			p, err := netip.ParsePrefix(text)
			if err == nil && familyOfAddr(p.Addr()) == family && p.Addr().BitLen()-p.Bits() <= maxHostBits {
				ranges = append(ranges, newAddressRange(p.Masked()))
			}
		}
	}
	return ranges, nil
}

// serviceCIDRs are all that there are, the cluster's own first.
func (r *Registry) serviceCIDRs(ctx context.Context, resourceVersion string) ([]*networkingv1.ServiceCIDR, error) {
	var first, others []*networkingv1.ServiceCIDR
	err := r.each(ctx, networkingv1.GroupName, "servicecidrs", resourceVersion, func(o Object) {
		if c := o.(*networkingv1.ServiceCIDR); c.Name == defaultServiceCIDR {
			first = append(first, c)
		} else {
			others = append(others, c)
		}
	})
	return append(first, others...), err
}

// each calls f for every object of a resource, at a resourceVersion as in LIST. The objects are shared: f does not
// change them.
func (r *Registry) each(ctx context.Context, group, plural, resourceVersion string, f func(Object)) error {
	list, err := r.Store(group, plural).List(ctx, store.ListOptions{ResourceVersion: resourceVersion})
	if err != nil {
		return err
	}
	for _, block := range list.Blocks {
		for _, entry := range block.Entries {
			obj, err := entry.Object()
			if err != nil {
				return err
			}
			f(obj)
		}
	}
	return nil
}

// addressRange is a CIDR as a source of addresses.
type addressRange struct {
	prefix netip.Prefix
	first  netip.Addr // after the network's own
	size   uint64     // addresses from first on; IPv4's broadcast address is left out
}

// addressBand is a run of addresses.
type addressBand struct {
	first netip.Addr
	size  uint64
}

func newAddressRange(p netip.Prefix) addressRange {
	a := addressRange{prefix: p, first: p.Addr().Next(), size: math.MaxUint64}
	if host := p.Addr().BitLen() - p.Bits(); host < 64 {
		unusable := uint64(1)
		if p.Addr().Is4() {
			unusable = 2
		}
		a.size = max(uint64(1)<<host, unusable) - unusable
	}
	return a
}

// bands are the upper and the lower part of the range, in the order in which they are used up. The lower has a
// sixteenth of the range, at least 16 and at most 256 addresses; a range of 16 has no lower part.
func (a addressRange) bands() []addressBand {
	const smallest, largest, share = 16, 256, 16
	total := a.size
	if total < math.MaxUint64-2 {
		total = uint64(1) << (a.prefix.Addr().BitLen() - a.prefix.Bits())
	}
	if total <= smallest {
		return []addressBand{{a.first, a.size}}
	}
	lower := min(max(total/share, smallest), largest, a.size)
	return []addressBand{{addToAddr(a.first, lower), a.size - lower}, {a.first, lower}}
}

// usable reports that the address is neither the network's nor IPv4's broadcast address.
func (a addressRange) usable(ip netip.Addr) bool {
	return a.size > 0 && !ip.Less(a.first) && !addToAddr(a.first, a.size-1).Less(ip)
}

func (a addressRange) outside(ip netip.Addr) error {
	return fmt.Errorf("the provided IP (%v) is not in the valid range. The range of valid IPs is %s", ip, a.prefix)
}

// addToAddr is the n-th address after a.
func addToAddr(a netip.Addr, n uint64) netip.Addr {
	if a.Is4() {
		b := a.As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(n))
		return netip.AddrFrom4(b)
	}
	b := a.As16()
	low := binary.BigEndian.Uint64(b[8:])
	if low+n < low {
		binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])+1)
	}
	binary.BigEndian.PutUint64(b[8:], low+n)
	return netip.AddrFrom16(b)
}
