package controllers

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
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

func TestRangesOfAnotherSizeAreTakenAsWell(t *testing.T) {
	for name, c := range map[string]struct {
		has  string
		want string // that another node gets
	}{
		"a part of one":      {"10.0.0.64/26", "10.0.1.0/24"},
		"several":            {"10.0.0.0/23", "10.0.2.0/24"},
		"all":                {"10.0.0.0/16", ""},
		"none of them":       {"10.1.0.0/24", "10.0.0.0/24"},
		"one of this size":   {"10.0.0.0/24", "10.0.1.0/24"},
		"of another family":  {"fd00::/64", "10.0.0.0/24"},
		"what is no range":   {"everything", "10.0.0.0/24"},
		"with further bits":  {"10.0.0.7/24", "10.0.1.0/24"},
		"not the first ones": {"10.0.3.0/24", "10.0.0.0/24"},
	} {
		t.Run(name, func(t *testing.T) {
			x := &nodeIPAM{ready: true, ipv4: nodeMaskIPv4, ipv6: nodeMaskIPv6, taken: map[netip.Prefix]string{}, next: make([]uint64, 1),
				clusters: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/22")}}
			x.assign(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: corev1.NodeSpec{PodCIDRs: []string{c.has}}})
			got, _ := x.assign(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "b"}})
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestANodeWithoutARangeTriesAgain(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u"}}
	for name, c := range map[string]struct {
		free    bool
		refused error
		going   bool
		event   string
	}{
		"none is left":           {false, nil, false, "Normal CIDRNotAvailable Node n status is now: CIDRNotAvailable"},
		"the API refuses it":     {true, apierrors.NewInternalError(errors.New("no")), false, "Normal CIDRAssignmentFailed Node n status is now: CIDRAssignmentFailed"},
		"it has one":             {true, nil, false, ""},
		"it needs none: it goes": {false, nil, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			node := node.DeepCopy()
			if c.going {
				node.DeletionTimestamp = &metav1.Time{Time: noon()}
			}
			api, events := fake.NewClientset(node), record.NewFakeRecorder(10)
			api.PrependReactor("patch", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
				return c.refused != nil, nil, c.refused
			})
			config := &Config{Informers: informers.NewSharedInformerFactory(api, 0)}
			x := &nodeIPAM{nodes: config.Source(&corev1.Node{}), ready: true, ipv4: nodeMaskIPv4, taken: map[netip.Prefix]string{}, next: make([]uint64, 1),
				clusters: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}
			if !c.free {
				x.taken[x.clusters[0]] = "other"
			}
			if err := x.nodes.informer.GetStore().Add(node); err != nil {
				t.Fatal(err)
			}
			l := &loop{events: events, config: config}
			l.awaited.init(clocktesting.NewFakeClock(noon()), nil)
			err := x.reconcile(t.Context(), &Turn{Key: Key{Name: "n"}, Client: api, Now: noon(), loop: l})
			event := ""
			if len(events.Events) > 0 {
				event = <-events.Events
			}
			if event != c.event || (err != nil) != (c.event != "") {
				t.Errorf("%v, event %q; want %q", err, event, c.event)
			}
		})
	}
}
