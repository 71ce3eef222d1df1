package controllers

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// nodeIPAM promises that each node has a range of pod addresses of its own, of every range of the cluster; none if the
// cluster has none.
//
// The subtle case is the start: what nodes have already is taken before anything is given away.
type nodeIPAM struct {
	nodes      *Source
	clusters   []netip.Prefix
	services   []netip.Prefix // are not given away
	ipv4, ipv6 int            // lengths of nodes' prefixes

	mu    sync.Mutex // guards the fields below
	ready bool       // what nodes had at the start is in taken
	taken map[netip.Prefix]string
	next  []uint64 // by cluster range: the number from which a free one is looked for
}

// Sizes of a node's ranges, as upstream's.
const (
	nodeMaskIPv4 = 24
	nodeMaskIPv6 = 64
)

func nodeIPAMLoop(c *Config) Loop {
	if len(c.ClusterCIDRs) == 0 {
		return Loop{}
	}
	x := &nodeIPAM{nodes: c.Source(&corev1.Node{}), clusters: c.ClusterCIDRs, services: c.ServiceRanges,
		ipv4: cmp.Or(c.NodeMaskIPv4, nodeMaskIPv4), ipv6: cmp.Or(c.NodeMaskIPv6, nodeMaskIPv6), taken: map[netip.Prefix]string{}, next: make([]uint64, len(c.ClusterCIDRs))}
	return Loop{Watches: []Watch{{x.nodes, itself}}, Reconcile: x.reconcile}
}

func (x *nodeIPAM) reconcile(ctx context.Context, t *Turn) error {
	node, _ := x.nodes.cached(t.Key).(*corev1.Node)
	switch {
	case node == nil:
		x.release(t.Name)
		return nil
	case node.DeletionTimestamp != nil && len(node.Spec.PodCIDRs) == 0:
		return nil
	}
	// A node that gets none tries again: others may go, and what is refused now may be taken later.
	failed := func(reason string, err error) error {
		t.Event(nodeReference(node), corev1.EventTypeNormal, reason, "Node %s status is now: %s", node.Name, reason)
		return &known{err}
	}
	ranges, complete := x.assign(node)
	if ranges == nil {
		return nil
	}
	if !complete {
		return failed("CIDRNotAvailable", errNoRange)
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": node.UID}, "spec": map[string]any{"podCIDR": ranges[0], "podCIDRs": ranges}})
	if err != nil {
		return err
	}
	if _, err = Patch(ctx, t, t.Client.CoreV1().Nodes(), node.Name, types.MergePatchType, body); goneAlready(err) != nil {
		return failed("CIDRAssignmentFailed", err)
	}
	return nil
}

var errNoRange = errors.New("all ranges for pods are taken")

// assign takes ranges for a node that has none; nil if it has. The same node gets the same ones until it is gone.
func (x *nodeIPAM) assign(node *corev1.Node) (ranges []string, complete bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.ready {
		for _, o := range x.nodes.all("") {
			x.occupy(o.(*corev1.Node))
		}
		x.ready = true
	}
	if len(node.Spec.PodCIDRs) > 0 {
		x.occupy(node)
		return nil, true
	}
	for i, cluster := range x.clusters {
		p, ok := x.take(i, cluster, node.Name)
		if !ok {
			for p := range x.taken {
				if x.taken[p] == node.Name {
					delete(x.taken, p)
				}
			}
			return []string{}, false
		}
		ranges = append(ranges, p.String())
	}
	return ranges, true
}

// occupy takes what a node has. Nodes whose ranges were given when these had another size have a part of one, or several.
func (x *nodeIPAM) occupy(node *corev1.Node) {
	for _, text := range node.Spec.PodCIDRs {
		has, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}
		for _, cluster := range x.clusters {
			for p := range rangesAbout(cluster, x.mask(cluster), has) {
				x.taken[p] = node.Name
			}
		}
	}
}

// rangesAbout are the ranges for nodes of a cluster's range that have addresses in common with a prefix.
func rangesAbout(cluster netip.Prefix, mask int, has netip.Prefix) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		if has.Bits() >= mask && cluster.Contains(has.Addr()) {
			yield(netip.PrefixFrom(has.Addr(), mask).Masked())
			return
		}
		if !cluster.Overlaps(has) {
			return
		}
		for n := range rangesIn(cluster, mask) {
			if p := rangeOf(cluster, mask, n); p.Overlaps(has) && !yield(p) {
				return
			}
		}
	}
}

// take is the next free range of the cluster's. One that was given back is not used again before all others were.
func (x *nodeIPAM) take(i int, cluster netip.Prefix, node string) (netip.Prefix, bool) {
	for p, owner := range x.taken {
		if owner == node && cluster.Contains(p.Addr()) {
			return p, true // its patch has not been seen yet
		}
	}
	mask := x.mask(cluster)
	count := rangesIn(cluster, mask)
	for n := range count {
		number := (x.next[i] + n) % count
		if p := rangeOf(cluster, mask, number); x.taken[p] == "" && !slices.ContainsFunc(x.services, p.Overlaps) {
			x.taken[p], x.next[i] = node, number+1
			return p, true
		}
	}
	return netip.Prefix{}, false
}

func (x *nodeIPAM) release(node string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for p, owner := range x.taken {
		if owner == node {
			delete(x.taken, p)
		}
	}
}

// mask is the length of nodes' prefixes in a range of the cluster's.
func (x *nodeIPAM) mask(cluster netip.Prefix) int {
	if cluster.Addr().Is4() {
		return max(x.ipv4, cluster.Bits())
	}
	return max(x.ipv6, cluster.Bits())
}

// rangesIn is how many ranges of nodes a cluster's range has; of a very large one the first 65,536 are used.
func rangesIn(cluster netip.Prefix, mask int) uint64 { return 1 << min(mask-cluster.Bits(), 16) }

// rangeOf is the range of that number.
func rangeOf(cluster netip.Prefix, mask int, number uint64) netip.Prefix {
	raw := cluster.Masked().Addr().AsSlice()
	if len(raw) == 4 {
		binary.BigEndian.PutUint32(raw, binary.BigEndian.Uint32(raw)+uint32(number<<(32-mask)))
	} else if mask <= 64 {
		binary.BigEndian.PutUint64(raw, binary.BigEndian.Uint64(raw)+number<<(64-mask))
	}
	address, _ := netip.AddrFromSlice(slices.Clip(raw))
	return netip.PrefixFrom(address, mask)
}
