package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/knarr-dev/knarr/scheduler"
)

// manyNodes are names from one number to another.
func manyNodes(from, to int) (names []string) {
	for i := from; i < to; i++ {
		names = append(names, fmt.Sprint("n", i))
	}
	return names
}

func TestManyNodesAreAFewLines(t *testing.T) {
	why := &scheduler.Why{Namespace: "shop", Name: "web", State: "Pending", Summary: "no node would do", Message: "0/5000 nodes are available: ...", Nodes: 5000}
	fit := scheduler.WhyRefusal{Plugin: "NodeResourcesFit", Reasons: []string{"Insufficient cpu", "Insufficient memory"}, Nodes: 4990}
	for i := range 499 {
		fit.Groups = append(fit.Groups, scheduler.WhyGroup{Nodes: manyNodes(10*i, 10*i+10), Facts: []scheduler.Fact{
			{Text: fmt.Sprintf("cpu: 3 asked, %dm free of 4", 999-i)}, {Text: "memory: 3Gi asked, 1Gi free of 8Gi"}}})
	}
	taints := scheduler.WhyRefusal{Plugin: "TaintToleration", Reasons: []string{"node(s) had untolerated taint(s)"}, Nodes: 10,
		Groups: []scheduler.WhyGroup{{Nodes: manyNodes(4990, 5000), Facts: []scheduler.Fact{{Text: "taint db:NoSchedule is not tolerated"}}}}}
	why.Refusals = []scheduler.WhyRefusal{fit, taints}
	why.Changes = []scheduler.WhyChange{{Steps: []string{"lower requests.cpu from 3 to 999m", "tolerate taint a"}, Node: "n1"}}
	want := `
pending: shop/web: no node would do
0/5000 nodes are available: ...

Refused by:
  NodeResourcesFit, 4,990 nodes: Insufficient cpu, Insufficient memory
    n0, n1, n2 and 7 more: cpu: 3 asked, 999m free of 4
                           memory: 3Gi asked, 1Gi free of 8Gi
    n10, n11, n12 and 7 more: cpu: 3 asked, 998m free of 4
                              memory: 3Gi asked, 1Gi free of 8Gi
    n20, n21, n22 and 7 more: cpu: 3 asked, 997m free of 4
                              memory: 3Gi asked, 1Gi free of 8Gi
    n30, n31, n32 and 7 more: cpu: 3 asked, 996m free of 4
                              memory: 3Gi asked, 1Gi free of 8Gi
    4,950 other nodes, no nearer to letting it in
  TaintToleration, 10 nodes: node(s) had untolerated taint(s)
    n4990, n4991, n4992 and 7 more: taint db:NoSchedule is not tolerated

To let it run, one of these is enough; each has been tried in thought:
  lower requests.cpu from 3 to 999m
  and tolerate taint a
    it would run on n1
`
	if d := cmp.Diff(strings.TrimPrefix(want, "\n"), explainPod(why)); d != "" {
		t.Error(d)
	}
}

func TestScoresOfManyNodesAreTheBestAndItsOwn(t *testing.T) {
	why := &scheduler.Why{Namespace: "shop", Name: "web", State: "Scheduled", Summary: "it runs on n900", Node: "n900", Nodes: 1000}
	for i := range 10 {
		s := scheduler.WhyScore{Nodes: manyNodes(100*i, 100*i+100), Total: int64(500 - i), Best: i == 0,
			Plugins: []scheduler.WhyPluginScore{{Plugin: "NodeResourcesFit", Score: 50, Weight: 1, Weighted: 50}}}
		why.Scores = append(why.Scores, s)
	}
	why.Scores[9].Nodes, why.Scores[9].Here = []string{"n900"}, true
	text := explainPod(why)
	for _, part := range []string{"  500  n0, n1, n2 and 97 more  <- the best\n", "  491  n900  <- where it is\n", "and 4 groups of nodes with other scores"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in\n%s", part, text)
		}
	}
	if strings.Contains(text, "495") {
		t.Errorf("too much is told:\n%s", text)
	}
}
