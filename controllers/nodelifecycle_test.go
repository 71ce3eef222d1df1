package controllers

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestHowFastNodesOfAZoneAreTainted(t *testing.T) {
	for name, c := range map[string]struct {
		zones map[string]zoneHealth
		pace  float64
		all   bool
	}{
		"one node of many is silent":                                 {map[string]zoneHealth{"a": {9, 1}}, evictionPace, false},
		"two of two zones are silent: it is this side that is off":   {map[string]zoneHealth{"a": {0, 2}, "b": {0, 3}}, 0, true},
		"a zone is down as a whole, and another can take its pods":   {map[string]zoneHealth{"a": {0, 5}, "b": {3, 0}}, evictionPace, false},
		"most of a small zone is silent: nothing moves":              {map[string]zoneHealth{"a": {2, 3}}, 0, false},
		"most of a large zone is silent: slowly":                     {map[string]zoneHealth{"a": {20, 40}}, secondaryEvictionPace, false},
		"two silent nodes of three are too few to judge a zone by":   {map[string]zoneHealth{"a": {1, 2}}, evictionPace, false},
		"a little less than the share that makes a zone unhealthy":   {map[string]zoneHealth{"a": {46, 54}}, evictionPace, false},
		"exactly the share that makes a zone unhealthy, and a large": {map[string]zoneHealth{"a": {45, 55}}, secondaryEvictionPace, false},
	} {
		t.Run(name, func(t *testing.T) {
			if pace, all := zonePace(c.zones, "a"); pace != c.pace || all != c.all {
				t.Errorf("pace %v, all %v; want %v, %v", pace, all, c.pace, c.all)
			}
		})
	}
}

func TestTaintsOfOthersStayAsTheyAre(t *testing.T) {
	before := metav1.NewTime(noon().Add(-time.Hour))
	foreign := corev1.Taint{Key: "dedicated", Value: "db", Effect: corev1.TaintEffectNoExecute}
	known := []corev1.Taint{
		{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule},
		foreign,
		{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute, TimeAdded: &before},
	}
	now := metav1.NewTime(noon())
	got := mergeTaints(known, []corev1.Taint{
		{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoSchedule},
		{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute, TimeAdded: &now},
	})
	want := []corev1.Taint{foreign, known[2], {Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoSchedule}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestASilentNodeIsUnknownOnce(t *testing.T) {
	node := &corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"}}}}
	silent := nodeUnknown(node, noon())
	if silent == nil {
		t.Fatal("nothing changes")
	}
	reasons := map[corev1.NodeConditionType]string{}
	for _, c := range silent.Status.Conditions {
		reasons[c.Type] = string(c.Status) + " " + c.Reason
	}
	want := map[corev1.NodeConditionType]string{corev1.NodeReady: "Unknown NodeStatusUnknown", corev1.NodeMemoryPressure: "Unknown NodeStatusNeverUpdated",
		corev1.NodeDiskPressure: "Unknown NodeStatusNeverUpdated", corev1.NodePIDPressure: "Unknown NodeStatusNeverUpdated"}
	if d := cmp.Diff(want, reasons); d != "" {
		t.Error(d)
	}
	if nodeUnknown(silent, noon().Add(time.Minute)) != nil {
		t.Error("a node that is Unknown is written again")
	}
}

func TestHowLongTaintsAreTolerated(t *testing.T) {
	taint := func(key string) corev1.Taint { return corev1.Taint{Key: key, Effect: corev1.TaintEffectNoExecute} }
	exists := func(key string, seconds *int64) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, TolerationSeconds: seconds}
	}
	for name, c := range map[string]struct {
		taints      []corev1.Taint
		tolerations []corev1.Toleration
		stay        time.Duration
		limited     bool
	}{
		"no taint":                        {nil, nil, 0, false},
		"a taint that is not tolerated":   {[]corev1.Taint{taint("a")}, []corev1.Toleration{exists("b", nil)}, 0, true},
		"for ever":                        {[]corev1.Taint{taint("a")}, []corev1.Toleration{exists("a", nil)}, 0, false},
		"for a while":                     {[]corev1.Taint{taint("a")}, []corev1.Toleration{exists("a", ptr.To[int64](300))}, 5 * time.Minute, true},
		"the shortest of all counts":      {[]corev1.Taint{taint("a"), taint("b")}, []corev1.Toleration{exists("a", ptr.To[int64](300)), exists("b", ptr.To[int64](10))}, 10 * time.Second, true},
		"the first that fits counts":      {[]corev1.Taint{taint("a")}, []corev1.Toleration{exists("", nil), exists("a", ptr.To[int64](1))}, 0, false},
		"less than nothing means at once": {[]corev1.Taint{taint("a")}, []corev1.Toleration{exists("a", ptr.To[int64](-5))}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			if stay, limited := toleratedFor(c.taints, c.tolerations); stay != c.stay || limited != c.limited {
				t.Errorf("%v, %v; want %v, %v", stay, limited, c.stay, c.limited)
			}
		})
	}
}

func TestStepsOfTheTimeToLiveOverlap(t *testing.T) {
	step := 0
	for _, c := range []struct{ size, step int }{{100, 0}, {101, 1}, {95, 1}, {89, 0}, {5000, 4}, {1850, 4}, {1799, 3}, {0, 0}} {
		if step = ttlStep(step, c.size); step != c.step {
			t.Errorf("%d nodes: step %d, want %d", c.size, step, c.step)
		}
	}
}
