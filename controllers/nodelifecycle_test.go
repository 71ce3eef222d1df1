package controllers

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
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

// What a node says of itself and what is heard no more end in different words to its pods.
func TestWhoIsToldOfANodeThatIsNotReady(t *testing.T) {
	ready := func(s corev1.ConditionStatus) []corev1.NodeCondition {
		return []corev1.NodeCondition{{Type: corev1.NodeReady, Status: s}}
	}
	const registered, notReady, podNotReady = "Normal RegisteredNode Node n event: Registered Node n in Controller",
		"Normal NodeNotReady Node n status is now: NodeNotReady", "Warning NodeNotReady Node is not ready"
	for name, c := range map[string]struct {
		first []corev1.NodeCondition
		then  func(*corev1.Node) time.Duration // what happens until the next turn, and how long it takes
		want  []string
	}{
		"it falls silent": {ready(corev1.ConditionTrue), func(*corev1.Node) time.Duration { return time.Minute },
			[]string{registered, notReady, podNotReady}},
		"it says that it is not ready": {ready(corev1.ConditionTrue), func(n *corev1.Node) time.Duration {
			n.Status.Conditions[0].Status = corev1.ConditionFalse
			return time.Second
		}, []string{registered}},
		"it falls silent after it has said so": {ready(corev1.ConditionTrue), func(n *corev1.Node) time.Duration {
			n.Status.Conditions[0].Status = corev1.ConditionFalse
			return time.Minute
		}, []string{registered}},
		"it was silent when the controller began": {ready(corev1.ConditionUnknown), func(*corev1.Node) time.Duration { return time.Second },
			[]string{registered, podNotReady}},
		"nobody has ever spoken for it": {nil, func(*corev1.Node) time.Duration { return 2 * time.Minute }, []string{registered}},
		"it is deleted":                 {ready(corev1.ConditionTrue), nil, []string{registered, "Normal RemovingNode Node n event: Removing Node n from Controller"}},
	} {
		t.Run(name, func(t *testing.T) {
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u", CreationTimestamp: metav1.NewTime(noon())}, Status: corev1.NodeStatus{Conditions: c.first}}
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"}, Spec: corev1.PodSpec{NodeName: "n"},
				Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}
			api, events := fake.NewClientset(node, pod), record.NewFakeRecorder(10)
			config := &Config{Informers: informers.NewSharedInformerFactory(api, 0)}
			x := nodeLifecycleOf(config)
			l := &loop{events: events, config: config}
			l.awaited.init(clocktesting.NewFakeClock(noon()), nil)
			turn := func(at time.Time) {
				t.Helper()
				if err := x.reconcile(t.Context(), &Turn{Key: Key{Name: "n"}, Client: api, Now: at, loop: l}); err != nil {
					t.Fatal(err)
				}
			}
			show := func(o any) {
				if err := x.nodes.informer.GetStore().Add(o); err != nil {
					t.Fatal(err)
				}
			}
			if err := x.pods.informer.GetStore().Add(pod); err != nil {
				t.Fatal(err)
			}
			show(node)
			turn(noon())
			if c.then == nil {
				if err := x.nodes.informer.GetStore().Delete(node); err != nil {
					t.Fatal(err)
				}
				turn(noon())
			} else {
				changed := node.DeepCopy()
				now := noon().Add(c.then(changed))
				show(changed)
				turn(now)
				written, err := api.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				show(written)
				turn(now)
			}
			close(events.Events)
			var got []string
			for e := range events.Events {
				got = append(got, e)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestTimesOfPodsOnTaintedNodes(t *testing.T) {
	ends := noon().Add(time.Minute)
	running, told := &stay{uid: "p", ends: ends}, &stay{uid: "p", ends: noon(), told: true}
	for name, c := range map[string]struct {
		was       *stay
		tolerated time.Duration
		limited   bool
		want      *stay
		cancelled bool
	}{
		"it tolerates for ever":                               {nil, 0, false, nil, false},
		"its time begins":                                     {nil, time.Minute, true, running, false},
		"it does not tolerate at all":                         {nil, 0, true, &stay{uid: "p", ends: noon()}, false},
		"its time becomes no shorter":                         {running, time.Second, true, running, false},
		"nor longer":                                          {running, time.Hour, true, running, false},
		"it tolerates for ever by now, or is gone":            {running, 0, false, nil, true},
		"it does not tolerate any more":                       {running, 0, true, &stay{uid: "p", ends: noon()}, true},
		"it is sent away once":                                {told, time.Minute, true, told, false},
		"what is done is not called off":                      {told, 0, false, nil, false},
		"another of its name has come, and has its own time":  {&stay{uid: "old", ends: noon()}, time.Minute, true, running, true},
		"another of the name of one that was sent away comes": {&stay{uid: "old", ends: noon(), told: true}, time.Minute, true, running, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, cancelled := planStay(c.was, "p", c.tolerated, c.limited, noon())
			if d := cmp.Diff(c.want, got, cmp.AllowUnexported(stay{})); d != "" || cancelled != c.cancelled {
				t.Errorf("cancelled %v, want %v; %s", cancelled, c.cancelled, d)
			}
		})
	}
}

func TestTimesOfPodsWithoutANode(t *testing.T) {
	config := &Config{Informers: informers.NewSharedInformerFactory(fake.NewClientset(), 0)}
	x := &taintEviction{nodes: config.Source(&corev1.Node{})}
	due := &stay{uid: "p", ends: noon()}
	for name, c := range map[string]struct {
		uid, node string
		want      *stay
	}{
		"its node's object was deleted":                {"p", "gone", due},
		"one of its name waits for a node":             {"q", "", nil},
		"one of its name has a node that is not shown": {"q", "unseen", nil},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(c.uid)}, Spec: corev1.PodSpec{NodeName: c.node}}
			if got, _ := x.plan(due, pod, noon()); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

func TestAConditionThatIsNewComesLast(t *testing.T) {
	pod := &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady}, {Type: corev1.PodScheduled}}}}
	for of, want := range map[corev1.PodConditionType][]corev1.PodConditionType{
		corev1.DisruptionTarget: {corev1.PodReady, corev1.PodScheduled, corev1.DisruptionTarget},
		corev1.PodReady:         {corev1.PodReady, corev1.PodScheduled},
	} {
		before, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		patch, err := json.Marshal(map[string]any{"status": conditionPatch(pod, corev1.PodCondition{Type: of, Status: corev1.ConditionTrue})})
		if err != nil {
			t.Fatal(err)
		}
		after, err := strategicpatch.StrategicMergePatch(before, patch, &corev1.Pod{})
		if err != nil {
			t.Fatal(err)
		}
		var patched corev1.Pod
		if err := json.Unmarshal(after, &patched); err != nil {
			t.Fatal(err)
		}
		var got []corev1.PodConditionType
		for _, c := range patched.Status.Conditions {
			got = append(got, c.Type)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", of, d)
		}
	}
}

func TestNewTaintsAreFromNowOn(t *testing.T) {
	node := &corev1.Node{Spec: corev1.NodeSpec{Unschedulable: true}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue}}}}
	at := metav1.NewTime(noon())
	want := []corev1.Taint{{Key: corev1.TaintNodeDiskPressure, Effect: corev1.TaintEffectNoSchedule, TimeAdded: &at},
		{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule, TimeAdded: &at}}
	if d := cmp.Diff(want, conditionTaints(node, noon())); d != "" {
		t.Error(d)
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
