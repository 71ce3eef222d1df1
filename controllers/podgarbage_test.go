package controllers

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestFateOfPods(t *testing.T) {
	going := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }
	on := func(p *corev1.Pod) { p.Spec.NodeName = "n" }
	dead := func(p *corev1.Pod) { p.Status.Phase, p.DeletionGracePeriodSeconds = corev1.PodFailed, ptr.To[int64](0) }
	node := func(ready corev1.ConditionStatus, taints ...string) *corev1.Node {
		n := &corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}}}
		for _, key := range taints {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key})
		}
		return n
	}
	for name, c := range map[string]struct {
		pod  []func(*corev1.Pod)
		node *corev1.Node
		want fate
	}{
		"waits for a node":                       {nil, nil, podStays},
		"goes and never had a node":              {[]func(*corev1.Pod){going}, nil, podGoes},
		"all has been done for it":               {[]func(*corev1.Pod){going, dead}, nil, podStays},
		"on a node that nobody has seen":         {[]func(*corev1.Pod){on}, nil, podHasNoNode},
		"goes on a node that works":              {[]func(*corev1.Pod){on, going}, node("True", corev1.TaintNodeOutOfService), podStays},
		"goes on a node that is silent":          {[]func(*corev1.Pod){on, going}, node("Unknown"), podStays},
		"goes on a node that is out of service":  {[]func(*corev1.Pod){on, going}, node("False", corev1.TaintNodeOutOfService), podGoes},
		"stays on a node that is out of service": {[]func(*corev1.Pod){on}, node("False", corev1.TaintNodeOutOfService), podStays},
	} {
		t.Run(name, func(t *testing.T) {
			p := &corev1.Pod{}
			for _, change := range c.pod {
				change(p)
			}
			if got := fateOf(p, c.node); got != c.want {
				t.Errorf("%v, not %v", got, c.want)
			}
		})
	}
}

func TestEvictedThenOldestPodsGoFirst(t *testing.T) {
	pod := func(name string, age int64, phase corev1.PodPhase, reason string) metav1.Object {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Unix(1000-age, 0)}, Status: corev1.PodStatus{Phase: phase, Reason: reason}}
	}
	pods := []metav1.Object{pod("runs", 900, corev1.PodRunning, ""), pod("young", 1, corev1.PodSucceeded, ""), pod("old", 500, corev1.PodFailed, ""),
		pod("evicted", 2, corev1.PodFailed, "Evicted"), pod("also-old", 500, corev1.PodSucceeded, "")}
	var got []string
	for _, p := range surplusPods(pods, 1) {
		got = append(got, p.Name)
	}
	if diff := cmp.Diff([]string{"evicted", "also-old", "old"}, got); diff != "" {
		t.Error(diff)
	}
	if surplusPods(pods, 4) != nil {
		t.Error("as many as are kept are no surplus")
	}
}

func TestWhenJobsExpire(t *testing.T) {
	ended := batchv1.JobCondition{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(100, 0)}
	for name, c := range map[string]struct {
		ttl        *int32
		conditions []batchv1.JobCondition
		want       int64 // zero for never
	}{
		"after its time":              {ptr.To[int32](50), []batchv1.JobCondition{ended}, 150},
		"not if nobody wants it":      {nil, []batchv1.JobCondition{ended}, 0},
		"not before its end":          {ptr.To[int32](50), []batchv1.JobCondition{{Type: batchv1.JobSuspended, Status: corev1.ConditionTrue}}, 0},
		"not if nobody knows its end": {ptr.To[int32](50), []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			job := &batchv1.Job{Spec: batchv1.JobSpec{TTLSecondsAfterFinished: c.ttl}, Status: batchv1.JobStatus{Conditions: c.conditions}}
			at, expires := jobExpiry(job)
			if expires != (c.want > 0) || expires && at.Unix() != c.want {
				t.Errorf("%v at %v", expires, at)
			}
		})
	}
}
