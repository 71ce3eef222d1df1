package controllers

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRangesOfNodes(t *testing.T) {
	x := &nodeIPAM{ready: true, ipv4: nodeMaskIPv4, ipv6: nodeMaskIPv6, taken: map[netip.Prefix]string{}, next: make([]uint64, 2),
		clusters: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/23"), netip.MustParsePrefix("fd00::/48")}}
	node := func(name string, has ...string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDRs: has}}
	}
	check := func(what string, of *corev1.Node, want []string, complete bool) {
		t.Helper()
		got, ok := x.assign(of)
		if d := cmp.Diff(want, got); d != "" || ok != complete {
			t.Errorf("%s: complete %v, %s", what, ok, d)
		}
	}
	check("what a node has is taken", node("a", "10.244.0.0/24", "fd00::/64"), nil, true)
	check("another gets the next of each range", node("b"), []string{"10.244.1.0/24", "fd00:0:0:1::/64"}, true)
	check("and the same again until it has it", node("b"), []string{"10.244.1.0/24", "fd00:0:0:1::/64"}, true)
	check("none is left", node("c"), []string{}, false)
	x.release("a")
	check("what a node that is gone had is free", node("c"), []string{"10.244.0.0/24", "fd00:0:0:2::/64"}, true)
}

func TestRangesOfNodesAreAsLongAsWanted(t *testing.T) {
	x := &nodeIPAM{ready: true, ipv4: 26, taken: map[netip.Prefix]string{}, next: make([]uint64, 1),
		clusters: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, services: []netip.Prefix{netip.MustParsePrefix("10.0.0.64/28")}}
	var got []string
	for _, name := range []string{"a", "b", "c"} {
		ranges, _ := x.assign(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
		got = append(got, ranges...)
	}
	// The second would be one in which Services have their addresses.
	if d := cmp.Diff([]string{"10.0.0.0/26", "10.0.0.128/26", "10.0.0.192/26"}, got); d != "" {
		t.Error(d)
	}
}
