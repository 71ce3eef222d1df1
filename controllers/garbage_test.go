package controllers

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	metadatafake "k8s.io/client-go/metadata/fake"
	"k8s.io/utils/ptr"
)

// graphObject is written "name(owner,!owner)phase": owners that are blocked have a "!"; the phase is "", "going",
// "waiting" or "releasing". The UID is the name.
func graphObject(text string) metav1.Object {
	if text == "" {
		return nil
	}
	name, rest, _ := strings.Cut(text, "(")
	owners, phase, _ := strings.Cut(rest, ")")
	o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, UID: types.UID(name)}}
	for _, owner := range strings.FieldsFunc(owners, func(r rune) bool { return r == ',' }) {
		bare := strings.TrimPrefix(owner, "!")
		o.OwnerReferences = append(o.OwnerReferences, metav1.OwnerReference{Name: bare, UID: types.UID(bare), BlockOwnerDeletion: ptr.To(bare != owner)})
	}
	if phase != "" {
		o.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	}
	switch phase {
	case "waiting":
		o.Finalizers = []string{metav1.FinalizerDeleteDependents}
	case "releasing":
		o.Finalizers = []string{metav1.FinalizerOrphanDependents}
	}
	return o
}

func TestGarbageGraphSaysWhoIsWorthALook(t *testing.T) {
	type step struct {
		old, now string
		want     string // looks, sorted
	}
	for name, steps := range map[string][]step{
		"an object without owners is worth none": {{"", "a()", ""}, {"a()", "a()going", ""}, {"a()going", "", ""}},
		"a new dependent may be garbage already": {{"", "b(a)", "b"}},
		"a change that is not about owners is worth none": {
			{"", "b(a)", "b"}, {"b(a)", "b(a)", ""}},
		"dependents of an owner that has gone": {
			{"", "b(a)", "b"}, {"", "c(a)", "c"}, {"a()", "", "b c"}},
		"also of one that nobody saw in the graph": {
			{"", "b(a)", "b"}, {"a()going", "", "b"}},
		"an owner that begins to wait, and its dependents": {
			{"", "b(!a)", "b"}, {"a()", "a()waiting", "a b"}, {"a()waiting", "a()waiting", ""}},
		"an owner that waits when it loses a dependent": {
			{"", "b(!a)", "b"}, {"a()", "a()waiting", "a b"}, {"b(!a)", "", "a"}},
		"an owner that waits when it is unblocked": {
			{"", "b(!a)", "b"}, {"a()", "a()waiting", "a b"}, {"b(!a)", "b(a)", "a"}},
		"an owner that waits when a dependent lets go of it": {
			{"", "b(!a)", "b"}, {"a()", "a()waiting", "a b"}, {"b(!a)", "b()", "a"}, {"a()waiting", "", ""}},
		"an owner that does not wait is not woken": {
			{"", "b(!a)", "b"}, {"b(!a)", "", ""}},
		"an owner that is to release its dependents": {
			{"", "b(a)", "b"}, {"a()", "a()releasing", "a"}},
		"one that was replaced unseen": {
			{"", "b(a)", "b"}, {"a()", "x()", "b"}},
		"a dependent with a further owner": {
			{"", "b(a)", "b"}, {"b(a)", "b(a,c)", "b"}, {"c()", "", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGarbageGraph()
			for i, s := range steps {
				var got []string
				for _, uid := range g.observe(nil, graphObject(s.old), graphObject(s.now)) {
					got = append(got, string(uid))
				}
				slices.Sort(got)
				if diff := cmp.Diff(s.want, strings.Join(got, " ")); diff != "" {
					t.Errorf("step %d, %q -> %q: %s", i, s.old, s.now, diff)
				}
			}
		})
	}
}

func TestGarbageGraphForgets(t *testing.T) {
	g := newGarbageGraph()
	for _, o := range []string{"a()waiting", "b(a,x)", "c(b)"} {
		g.observe(nil, nil, graphObject(o))
	}
	for _, o := range []string{"c(b)", "b(a,x)", "a()waiting"} {
		g.observe(nil, graphObject(o), nil)
	}
	if len(g.nodes)+len(g.dependents) != 0 {
		t.Errorf("left: %v %v", g.nodes, g.dependents)
	}
}

// In a circle, a dependent may be told more than once to unblock its owner: it must not lose it.
func TestUnblockingKeepsOwners(t *testing.T) {
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	pods := &Resource{Source: &Source{resource: corev1.SchemeGroupVersion.WithResource("pods")}}
	owner := metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: "o", UID: "o", BlockOwnerDeletion: ptr.To(true)}
	stored := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "d", UID: "d", OwnerReferences: []metav1.OwnerReference{owner}}}
	client := metadatafake.NewSimpleMetadataClient(scheme, stored)
	for range 2 {
		live, err := client.Resource(pods.resource).Namespace("a").Get(t.Context(), "d", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		n := &garbageNode{Key: KeyOf(live), uid: live.UID, resource: pods, owners: live.OwnerReferences}
		if err := n.unblockOwners(t.Context(), &Turn{Metadata: client}); err != nil {
			t.Fatal(err)
		}
	}
	live, err := client.Resource(pods.resource).Namespace("a").Get(t.Context(), "d", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owner.BlockOwnerDeletion = ptr.To(false)
	if diff := cmp.Diff([]metav1.OwnerReference{owner}, live.OwnerReferences); diff != "" {
		t.Error(diff)
	}
}
