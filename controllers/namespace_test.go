package controllers

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestConditionsOfGoingNamespace(t *testing.T) {
	var status corev1.NamespaceStatus
	begun, later := time.Unix(1000, 0), time.Unix(2000, 0)
	left := newRemnants("a")
	left.note(podResource(), []metav1.PartialObjectMetadata{{}}, time.Minute)
	held := metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Finalizers: []string{"x.io/hold"}}}
	left.note(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, []metav1.PartialObjectMetadata{held, held}, 0)
	left.deletions = []error{errors.New("no"), errors.New("never")}
	if !left.conditions(&status, begun) || left.conditions(&status, later) {
		t.Error("the first look is news, the second is not")
	}
	if !newRemnants("a").conditions(&status, later) {
		t.Error("that nothing is left is news")
	}
	type line struct {
		Of, Status, Reason, Message string
		Since                       time.Time
	}
	shown := func(s corev1.NamespaceStatus) (lines []line) {
		for _, c := range s.Conditions {
			lines = append(lines, line{string(c.Type), string(c.Status), c.Reason, c.Message, c.LastTransitionTime.Time})
		}
		return lines
	}
	want := []line{
		{"NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered", "All resources successfully discovered", begun},
		{"NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions", "All legacy kube types successfully parsed", begun},
		{"NamespaceDeletionContentFailure", "False", "ContentDeleted", "All content successfully deleted, may be waiting on finalization", later},
		{"NamespaceContentRemaining", "False", "ContentRemoved", "All content successfully removed", later},
		{"NamespaceFinalizersRemaining", "False", "ContentHasNoFinalizers", "All content-preserving finalizers finished", later},
	}
	if diff := cmp.Diff(want, shown(status)); diff != "" {
		t.Error(diff)
	}
	left.conditions(&status, later)
	for i, message := range map[int]string{
		2: "Failed to delete all resource types, 2 remaining: never, no",
		3: "Some resources are remaining: deployments.apps has 2 resource instances, pods. has 1 resource instances",
		4: "Some content in the namespace has finalizers remaining: x.io/hold in 2 resource instances",
	} {
		if got := status.Conditions[i]; got.Message != message || got.Status != corev1.ConditionTrue {
			t.Errorf("%+v, not %q", got, message)
		}
	}
	if left.wait != time.Minute/2+time.Second {
		t.Errorf("another look after %v", left.wait)
	}
	if err := newRemnants("a").note(podResource(), []metav1.PartialObjectMetadata{{}}, 0); err == nil {
		t.Error("what nothing holds should have gone")
	}
}
