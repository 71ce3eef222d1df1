package controllers

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func daemonSetOf(unavailable, surge int) *appsv1.DaemonSet {
	ds := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "d", UID: "d"}}
	ds.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{
		MaxUnavailable: ptr.To(intstr.FromInt(unavailable)), MaxSurge: ptr.To(intstr.FromInt(surge))}}
	return ds
}

// daemonNodes are nodes a, b and c; s is one that may keep a pod but gets none, x one that may not even keep it.
func daemonNodes(names string) (nodes []*corev1.Node) {
	for _, name := range strings.Split(names, "") {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		switch name {
		case "s":
			n.Spec.Taints = []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoSchedule}}
		case "x":
			n.Spec.Taints = []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoExecute}}
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// daemonPods reads pods from words: a node, and for what they are like r (ready), o (of the old revision), g (going), f
// (failed), or u (not bound yet).
func daemonPods(words string) (pods []*corev1.Pod) {
	for i, word := range strings.Fields(words) {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: word, CreationTimestamp: metav1.Time{Time: jobNoon().Add(time.Duration(i) * time.Second)}}}
		p.Spec.NodeName, p.Status.Phase = word[:1], corev1.PodRunning
		setEntry(&p.Labels, appsv1.DefaultDaemonSetUniqueLabelKey, "new")
		for _, c := range word[1:] {
			switch c {
			case 'r':
				p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
			case 'o':
				p.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] = "old"
			case 'g':
				p.DeletionTimestamp = &metav1.Time{Time: jobNoon()}
			case 'f':
				p.Status.Phase = corev1.PodFailed
			case 'u':
				aim(p, p.Spec.NodeName)
				p.Spec.NodeName = ""
			}
		}
		pods = append(pods, p)
	}
	return pods
}

func TestDaemonSetPlan(t *testing.T) {
	onDelete := daemonSetOf(1, 0)
	onDelete.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
	for rule, test := range map[string]struct {
		ds                *appsv1.DaemonSet
		nodes, pods, want string
	}{
		"each node that fits gets a pod":                      {daemonSetOf(1, 0), "abs", "br", "+a"},
		"what runs may go on where nothing new may":           {daemonSetOf(1, 0), "s", "sr", ""},
		"unless it is driven away":                            {daemonSetOf(1, 0), "x", "xr", "-xr"},
		"one a node, the oldest":                              {daemonSetOf(1, 0), "a", "ar a", "-a"},
		"a pod that is bound comes before any other":          {daemonSetOf(1, 0), "a", "au ar", "-au"},
		"what failed is removed":                              {daemonSetOf(1, 0), "a", "af", "-af"},
		"and made anew when it is gone":                       {daemonSetOf(1, 0), "a", "afg", "+a"},
		"not while one is going":                              {daemonSetOf(1, 0), "a", "arg", ""},
		"what waits for a node that is gone":                  {daemonSetOf(1, 0), "a", "ar bu cr", "-bu"},
		"an update replaces as many as may be away":           {daemonSetOf(2, 0), "abc", "aro bro cro", "-aro -bro"},
		"and waits for them":                                  {daemonSetOf(1, 0), "abc", "ar b cro", ""},
		"those that are not available go first":               {daemonSetOf(1, 0), "abc", "aro bo cro", "-bo"},
		"all of them, for nothing is lost":                    {daemonSetOf(1, 0), "abc", "ao bo cro", "-ao -bo"},
		"one at least":                                        {daemonSetOf(0, 0), "abc", "aro bro cro", "-aro"},
		"none when pods are to be deleted by hand":            {onDelete, "ab", "aro bro", ""},
		"a surge comes beside":                                {daemonSetOf(0, 1), "abc", "aro bro cro", "+a"},
		"and waits":                                           {daemonSetOf(0, 1), "abc", "aro a bro cro", ""},
		"then the old one goes":                               {daemonSetOf(0, 1), "abc", "aro ar bro cro", "-aro"},
		"or when it is not ready itself":                      {daemonSetOf(0, 1), "abc", "ao a bro cro", "-ao"},
		"old pods that are not available need no surge":       {daemonSetOf(0, 1), "abc", "ao bo cro", "+a +b +c"},
		"while surging one that is going is no pod":           {daemonSetOf(0, 1), "a", "arg", "+a"},
		"what is misplaced stays for as long as it is needed": {daemonSetOf(0, 1), "abs", "ar b sro", ""},
		"and goes when it is not":                             {daemonSetOf(0, 1), "abs", "ar br sro", "-sro"},
	} {
		t.Run(rule, func(t *testing.T) {
			p := viewDaemons(test.ds, "new", daemonNodes(test.nodes), daemonPods(test.pods), jobNoon()).plan()
			var got []string
			for _, pod := range p.remove {
				got = append(got, "-"+pod.Name)
			}
			for _, node := range p.create {
				got = append(got, "+"+node)
			}
			slices.Sort(got)
			if got := strings.Join(got, " "); got != test.want {
				t.Errorf("%q, not %q", got, test.want)
			}
		})
	}
}

func TestDaemonSetStatus(t *testing.T) {
	s, _ := viewDaemons(daemonSetOf(1, 0), "new", daemonNodes("abcsx"), daemonPods("ar bro sr"), jobNoon()).status()
	got := fmt.Sprint(s.DesiredNumberScheduled, s.CurrentNumberScheduled, s.NumberMisscheduled, s.NumberReady, s.UpdatedNumberScheduled, s.NumberAvailable, s.NumberUnavailable)
	if got != "3 2 1 2 1 2 1" {
		t.Error(got)
	}
}

func TestWhichNodesFitADaemon(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"disk": "ssd"}},
		Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}, {Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute}}}}
	for rule, test := range map[string]struct {
		change func(*corev1.PodSpec)
		want   daemonFit
	}{
		"nodes with problems of their own": {func(*corev1.PodSpec) {}, daemonFit{true, true}},
		"labels that are selected":         {func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"disk": "ssd"} }, daemonFit{true, true}},
		"others not":                       {func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"disk": "hdd"} }, daemonFit{}},
		"the one that is named":            {func(s *corev1.PodSpec) { s.NodeName = "b" }, daemonFit{}},
	} {
		t.Run(rule, func(t *testing.T) {
			ds := daemonSetOf(1, 0)
			test.change(&ds.Spec.Template.Spec)
			if got := fitOf(ds, node); got != test.want {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestFailedDaemonsStayLongerEachTime(t *testing.T) {
	x, ds := &daemonSets{failed: map[daemonPlace]daemonFailures{}}, daemonSetOf(1, 0)
	for _, want := range []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second} {
		if got := x.held(ds, "a", jobNoon()); got != want {
			t.Errorf("%v, not %v", got, want)
		}
		x.fails(ds, "a", jobNoon())
	}
	if got := x.held(ds, "a", jobNoon().Add(time.Minute)); got != 0 {
		t.Error(got)
	}
}
