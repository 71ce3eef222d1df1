package server

import (
	"math/rand"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"

	"github.com/knarr-dev/knarr/registry"
)

// rowsOf are the rows on which field management is tried: lists by key, sets, maps, atomic parts.
func rowsOf(t *testing.T) map[string]*registry.Resource {
	rows := map[string]*registry.Resource{}
	for _, r := range registry.Builtin() {
		switch r.Kind {
		case "Pod", "Deployment", "Service", "ConfigMap", "NetworkPolicy", "PersistentVolume", "Node":
			rows[r.Kind] = r
		}
	}
	if len(rows) != 7 {
		t.Fatalf("found %d rows", len(rows))
	}
	return rows
}

func callFor(s *Server, row *registry.Resource) *call {
	r, _ := http.NewRequest("POST", "/", nil)
	return &call{Request: &Request{row: row, version: row.Hub()}, s: s, r: r, fieldManager: "tester"}
}

// filler makes objects with few items in every list, so that keys collide now and then.
func filler(seed int64) *randfill.Filler {
	return randfill.NewWithSeed(seed).NilChance(.5).NumElements(0, 2).MaxDepth(12).Funcs(
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewQuantity(int64(c.Intn(5)), resource.DecimalSI)
		},
		func(i *intstr.IntOrString, c randfill.Continue) { *i = intstr.FromInt32(int32(c.Intn(3))) },
		func(t *metav1.Time, c randfill.Continue) { *t = metav1.Unix(int64(c.Intn(1e9)), 0) },
		func(t *metav1.MicroTime, c randfill.Continue) {
			*t = metav1.MicroTime{Time: metav1.Unix(int64(c.Intn(1e9)), 0).Time}
		},
		func(s *string, c randfill.Continue) { *s = string(rune('a' + c.Intn(4))) },
		func(p *int32, c randfill.Continue) { *p = int32(c.Intn(3)) },
		func(m *[]metav1.ManagedFieldsEntry, c randfill.Continue) { *m = nil },
		func(d *corev1.ResourceRequirements, c randfill.Continue) { c.FillNoCustom(d); d.Claims = nil },
	)
}

func random(row *registry.Resource, f *randfill.Filler) registry.Object {
	o := row.New()
	f.Fill(o)
	o.GetObjectKind().SetGroupVersionKind(row.New().GetObjectKind().GroupVersionKind())
	o.SetManagedFields(nil)
	return o
}

// owned strips the time, which is that of the call.
func owned(o registry.Object) []metav1.ManagedFieldsEntry {
	var out []metav1.ManagedFieldsEntry
	for _, e := range o.GetManagedFields() {
		e.Time = nil
		out = append(out, e)
	}
	return out
}

func TestObjectsOfOneOutlineOwnTheSameFields(t *testing.T) {
	for kind, row := range rowsOf(t) {
		s := &Server{}
		c := callFor(s, row)
		m, err := s.managers.of(c)
		if err != nil || m.typed == nil {
			t.Fatalf("%s: %v", kind, err)
		}
		shared := 0
		for seed := range int64(60) {
			o := random(row, filler(seed))
			o.SetUID("")
			o.SetCreationTimestamp(metav1.Time{})
			for range 2 { // the second comes from what was remembered of the first
				want := m.UpdateNoErrors(row.New(), o.DeepCopyObject(), "tester").(registry.Object)
				got, err := c.manageNew(o.DeepCopyObject().(registry.Object))
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(owned(want), owned(got)); d != "" {
					t.Fatalf("%s, seed %d: field manager and outline differ (-want +got):\n%s", kind, seed, d)
				}
			}
			shared += len(s.outlines.known)
		}
		if shared == 0 {
			t.Errorf("%s: no outline was remembered", kind)
		}
	}
}

func TestOutlineIgnoresValues(t *testing.T) {
	row := rowsOf(t)["Pod"]
	s := &Server{}
	m, err := s.managers.of(callFor(s, row))
	if err != nil {
		t.Fatal(err)
	}
	pod := func(name, image, value string) []byte {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": value}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image, Env: []corev1.EnvVar{{Name: "E", Value: value}}}}}}
		return s.outlines.of(m.typed, reflect.ValueOf(p).Elem())
	}
	if a, b := pod("a", "i:1", "x"), pod("b", "i:2", "y"); string(a) != string(b) {
		t.Errorf("pods of one template differ in outline:\n%q\n%q", a, b)
	}
	q := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"app": "x"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "other", Image: "i:1", Env: []corev1.EnvVar{{Name: "E", Value: "x"}}}}}}
	if string(s.outlines.of(m.typed, reflect.ValueOf(q).Elem())) == string(pod("a", "i:1", "x")) {
		t.Error("containers of different names have the same outline")
	}
}

func TestOutlineTellsListsWithoutItemsApart(t *testing.T) {
	s := &Server{}
	m, err := s.managers.of(callFor(s, rowsOf(t)["Pod"]))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for name, args := range map[string][]string{"absent": nil, "empty": {}, "set": {"x"}} {
		p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Args: args}}}}
		outline := string(s.outlines.of(m.typed, reflect.ValueOf(p).Elem()))
		if other, same := seen[outline]; same {
			t.Errorf("arguments that are %s and %s have the same outline", name, other)
		}
		seen[outline] = name
	}
}

// A part that is owned as one is not owned while all in it is empty.
func TestOutlineTellsEmptyPartsApart(t *testing.T) {
	s := &Server{}
	m, err := s.managers.of(callFor(s, rowsOf(t)["NetworkPolicy"]))
	if err != nil {
		t.Fatal(err)
	}
	outline := func(labels map[string]string) string {
		p := &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: labels}}}
		return string(s.outlines.of(m.typed, reflect.ValueOf(p).Elem()))
	}
	if outline(map[string]string{}) == outline(map[string]string{"a": "x"}) {
		t.Error("a selector of no labels and one of some have the same outline")
	}
	if outline(map[string]string{"b": "y"}) != outline(map[string]string{"a": "x"}) {
		t.Error("selectors of different labels differ in outline")
	}
}

// A token request is stored nowhere, but answered with its fields' owner: under the kind that was posted, not the
// account's.
func TestTokenRequestsFieldsAreTheSenders(t *testing.T) {
	var accounts *registry.Resource
	for _, r := range registry.Builtin() {
		if r.Kind == "ServiceAccount" {
			accounts = r
		}
	}
	c := callFor(&Server{}, accounts)
	c.Subresource, c.sub = "token", accounts.Subresource("token")
	body := c.sub.New()
	body.GetObjectKind().SetGroupVersionKind(c.sub.Kind)
	c.sub.Complete(body)
	obj, err := c.manage(nil, body)
	if err != nil {
		t.Fatal(err)
	}
	entries := owned(obj)
	if len(entries) != 1 {
		t.Fatalf("%d owners", len(entries))
	}
	e := entries[0]
	if got, want := e.APIVersion+" "+e.Subresource+" "+string(e.FieldsV1.GetRawBytes()),
		`authentication.k8s.io/v1 token {"f:spec":{"f:expirationSeconds":{}}}`; got != want {
		t.Errorf("owned: %s, want %s", got, want)
	}
}

func TestTrimmedObjectsChangeHandsAlike(t *testing.T) {
	for kind, row := range rowsOf(t) {
		s := &Server{}
		c := callFor(s, row)
		m, err := s.managers.of(c)
		if err != nil {
			t.Fatal(err)
		}
		for seed := range int64(60) {
			rnd := rand.New(rand.NewSource(seed))
			live := random(row, filler(seed))
			live = m.UpdateNoErrors(row.New(), live, "creator").(registry.Object)
			live.SetUID("u")
			next := live.DeepCopyObject().(registry.Object)
			other := random(row, filler(seed+1000))
			if rnd.Intn(2) == 0 {
				next.SetLabels(other.GetLabels())
			}
			if rnd.Intn(2) == 0 { // a part of the spec comes from elsewhere
				mix(rnd, reflect.ValueOf(next).Elem(), reflect.ValueOf(other).Elem())
			}
			want := m.UpdateNoErrors(shallowCopy(live), next.DeepCopyObject(), "tester").(registry.Object)
			got, err := c.manage(live, next.DeepCopyObject().(registry.Object))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(owned(want), owned(got)); d != "" {
				t.Fatalf("%s, seed %d: whole and trimmed objects differ (-whole +trimmed):\n%s", kind, seed, d)
			}
		}
	}
}

// mix takes some fields of a struct's parts from another.
func mix(rnd *rand.Rand, to, from reflect.Value) {
	for i := range to.NumField() {
		name := to.Type().Field(i).Name
		if name == "TypeMeta" || name == "ObjectMeta" {
			continue
		}
		if to.Field(i).Kind() == reflect.Struct && new(trimmer).of(to.Field(i).Type()).transparent {
			mix(rnd, to.Field(i), from.Field(i))
		} else if rnd.Intn(4) == 0 {
			to.Field(i).Set(from.Field(i))
		}
	}
}

// What is remembered of one object's labels and annotations is what the field manager says of the next, whoever had set
// them, by applying or not, and when.
func TestChangedKeysChangeHandsAlike(t *testing.T) {
	row := rowsOf(t)["Pod"]
	s := &Server{}
	rnd := rand.New(rand.NewSource(1))
	some := func() map[string]string {
		switch rnd.Intn(6) {
		case 0:
			return nil
		case 1:
			return map[string]string{}
		}
		m := map[string]string{}
		for range rnd.Intn(4) {
			m[string(rune('a'+rnd.Intn(4)))] = string(rune('x' + rnd.Intn(2)))
		}
		return m
	}
	names := []string{"creator", "tester", "other"}
	at := func(o registry.Object, seconds int64) {
		entries := o.GetManagedFields()
		for i := range entries {
			entries[i].Time = &metav1.Time{Time: time.Unix(seconds+rnd.Int63n(3), 0)}
		}
	}
	for range 4000 {
		c := callFor(s, row)
		c.fieldManager = names[rnd.Intn(len(names))]
		m, err := s.managers.of(c)
		if err != nil {
			t.Fatal(err)
		}
		live := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u", Labels: some(), Annotations: some()}}
		live.SetGroupVersionKind(row.New().GetObjectKind().GroupVersionKind())
		live = m.UpdateNoErrors(row.New(), live, "creator").(*corev1.Pod)
		for _, name := range names[:rnd.Intn(4)] {
			next := live.DeepCopy()
			if rnd.Intn(2) == 0 {
				next.Labels, next.Annotations = some(), some()
				live = m.UpdateNoErrors(live, next, name).(*corev1.Pod)
			} else {
				applied := map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"labels": map[string]any{"a": "x"}}}
				out, err := m.Apply(live, &unstructured.Unstructured{Object: applied}, name, true)
				if err != nil {
					t.Fatal(err)
				}
				live = out.(*corev1.Pod)
			}
			at(live, rnd.Int63n(3))
			live = m.UpdateNoErrors(shallowCopy(live), live.DeepCopy(), name).(*corev1.Pod) // which puts the entries in order
		}
		next := live.DeepCopy()
		next.Labels, next.Annotations = some(), some()
		want := m.UpdateNoErrors(shallowCopy(live), next.DeepCopy(), c.fieldManager).(registry.Object)
		got, err := c.manage(live, next.DeepCopy())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(toMinutes(want), toMinutes(got)); d != "" {
			t.Fatalf("from %v %v to %v %v by %s: field manager and memory differ (-want +got):\n%s",
				live.Labels, live.Annotations, next.Labels, next.Annotations, c.fieldManager, d)
		}
	}
	if n := len(s.handovers.known); n == 0 || n > maxHandovers {
		t.Errorf("%d handovers are remembered", n)
	}
}

// toMinutes are the managedFields, with times that do not depend on how long the test takes.
func toMinutes(o registry.Object) []metav1.ManagedFieldsEntry {
	entries := o.DeepCopyObject().(registry.Object).GetManagedFields()
	for i := range entries {
		if e := &entries[i]; e.Time != nil && time.Since(e.Time.Time) < time.Minute {
			e.Time = &metav1.Time{Time: time.Unix(1e9, 0)}
		}
	}
	return entries
}
