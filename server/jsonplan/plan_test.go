package jsonplan

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/randfill"
)

// compare writes *v both ways.
func compare(t *testing.T, plans *Plans, v any) {
	t.Helper()
	want, wantErr := json.Marshal(v)
	got, err := plans.Of(reflect.TypeOf(v)).Append(nil, v)
	if (err != nil) != (wantErr != nil) {
		t.Fatalf("%T: error %v, encoding/json's is %v", v, err, wantErr)
	}
	if err == nil && !bytes.Equal(got, want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		t.Fatalf("%T differs from encoding/json at byte %d:\n got %.200s\nwant %.200s", v, at, got[max(0, at-50):], want[max(0, at-50):])
	}
}

// filler makes random values; those of types that check themselves are valid.
func filler(seed int64, nils float64) *randfill.Filler {
	texts := []string{"", "plain", `quo"te`, `back\slash`, "<html>&", "line\nbreak\ttab\x01", "ümlaut", "\u2028\u2029", "bad\xffutf8", "\x7f"}
	return randfill.NewWithSeed(seed).NilChance(nils).NumElements(0, 3).MaxDepth(12).Funcs(
		func(s *string, c randfill.Continue) { *s = texts[c.Intn(len(texts))] },
		func(q *resource.Quantity, c randfill.Continue) {
			*q = resource.MustParse([]string{"0", "1", "100m", "1.5Gi", "12e6", "3k"}[c.Intn(6)])
		},
		func(v *intstr.IntOrString, c randfill.Continue) {
			if *v = intstr.FromInt32(int32(c.Intn(100))); c.Bool() {
				*v = intstr.FromString(texts[c.Intn(len(texts))])
			}
		},
		func(f *metav1.FieldsV1, c randfill.Continue) {
			f.Raw = []byte([]string{`{}`, `{"f:a":{},"k:{\"name\":\"x\"}":{".":{}}}`, `{"f:<":{}}`, `{ "a" : {} }`, `null`, `{"a":1}`}[c.Intn(6)])
		},
		func(r *runtime.RawExtension, c randfill.Continue) { r.Raw = []byte(`{"a": [1, "<"]}`) },
		func(o *runtime.Object, c randfill.Continue) { *o = nil },
		func(m *metav1.Time, c randfill.Continue) {
			if c.Bool() {
				m.Time = time.Unix(c.Int63n(1<<33), c.Int63n(1e9)).In(time.FixedZone("x", 3600))
			}
		},
		func(m *metav1.MicroTime, c randfill.Continue) {
			if c.Bool() {
				m.Time = time.Unix(c.Int63n(1<<33), c.Int63n(1e9))
			}
		},
	)
}

// TestEveryKindIsWrittenAsByEncodingJSON walks all types of client-go's scheme.
func TestEveryKindIsWrittenAsByEncodingJSON(t *testing.T) {
	var plans Plans
	kinds := 0
	for gvk, typ := range scheme.Scheme.AllKnownTypes() {
		if gvk.Version == runtime.APIVersionInternal {
			continue
		}
		kinds++
		compare(t, &plans, reflect.New(typ).Interface())
		for seed := range int64(6) {
			v := reflect.New(typ).Interface()
			filler(seed, float64(seed)/8).Fill(v)
			compare(t, &plans, v)
		}
	}
	if kinds < 300 {
		t.Errorf("only %d kinds", kinds)
	}
}

// TestRulesOfTags covers what the API's types do not have, or hardly.
func TestRulesOfTags(t *testing.T) {
	type Inner struct {
		A string `json:"a"`
		B int    `json:"b,omitempty"`
	}
	type Hidden struct {
		Inner
		A string `json:"a"`
	}
	type All struct {
		Inner    `json:",inline"`
		private  int
		Untagged string
		Dash     string           `json:"-"`
		Quoted   int              `json:"quoted,string"`
		Any      any              `json:"any"`
		Float    float64          `json:"float"`
		Array    [2]int           `json:"array"`
		Bytes    []byte           `json:"bytes"`
		NilMap   map[string]Inner `json:"nilMap"`
		Map      map[string]Inner `json:"map,omitempty"`
		Numbers  map[int]string   `json:"numbers"`
		Zero     metav1.Time      `json:"zero,omitempty,omitzero"`
		Plain    metav1.Time      `json:"plain,omitempty"`
		Named    *Inner           `json:"named"`
		Hides    Hidden           `json:"hides"`
		Uint     uint16           `json:"uint,omitempty"`
	}
	type Planned struct {
		Inner    `json:",inline"`
		private  int
		Untagged string
		Dash     string            `json:"-"`
		Bytes    []byte            `json:"bytes"`
		Map      map[string]Inner  `json:"map,omitempty"`
		NilMap   map[string]Inner  `json:"nilMap"`
		Text     map[string]string `json:"text"`
		Zero     metav1.Time       `json:"zero,omitempty,omitzero"`
		Plain    metav1.Time       `json:"plain,omitempty"`
		Named    *Planned          `json:"named"`
		Any      any               `json:"any,omitempty"`
	}
	var plans Plans
	compare(t, &plans, &All{private: 1, Any: map[string]any{"x": []int{1}}, Bytes: []byte("abc"), Map: map[string]Inner{"z": {}, "<": {B: 1}}, Numbers: map[int]string{2: "b", 1: "a"}})
	compare(t, &plans, &All{})
	compare(t, &plans, &Planned{private: 1, Untagged: "<", Map: map[string]Inner{"z": {}, "<": {B: 1}}, Text: map[string]string{"b": "", "a": "\n"}, Named: &Planned{Any: 1.5}})
	compare(t, &plans, (*Planned)(nil))
}

func TestAnErrorOfAValueIsReturned(t *testing.T) {
	var plans Plans
	compare(t, &plans, &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{LivenessProbe: &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.IntOrString{Type: 7}}}}}}}})
	compare(t, &plans, &metav1.WatchEvent{Object: runtime.RawExtension{Raw: []byte(`{broken`)}})
}

func FuzzPlainTree(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":{}}`, `{"k:{\"a\":\"b\"}":{".":{},"f:x":{}}}`, `{"a":{},}`, `{"a"}`, `{,}`, `{"a":{}}{}`, `""`, `{"a":{}`, `}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !isPlainTree(raw) {
			return
		}
		if out, err := json.Marshal(json.RawMessage(raw)); err != nil || !bytes.Equal(out, raw) {
			t.Errorf("%q is taken as it is; encoding/json makes %q, %v of it", raw, out, err)
		}
	})
}

func FuzzString(f *testing.F) {
	f.Add("plain")
	f.Add("<\u2028\xff\"\\\x7f")
	f.Fuzz(func(t *testing.T, s string) {
		if want, _ := json.Marshal(s); string(appendString(nil, s)) != string(want) {
			t.Errorf("%q becomes %s, not %s", s, appendString(nil, s), want)
		}
	})
}

func benchmarkPod() *corev1.Pod {
	p := &corev1.Pod{}
	p.Name, p.Namespace, p.Labels = "p", "n", map[string]string{"app": "x", "tier": "y"}
	p.Annotations = map[string]string{"note": strings.Repeat("x", 200)}
	p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m", Time: &metav1.Time{Time: time.Unix(1e9, 0)}, FieldsType: "FieldsV1",
		FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{}}}}}`)}}}
	for range 10 {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "c", Image: "registry.k8s.io/pause:3.10",
			Env:       []corev1.EnvVar{{Name: "A", Value: "b"}, {Name: "C", Value: "d"}},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("64Mi")}}})
	}
	return p
}

func BenchmarkPod(b *testing.B) {
	p := benchmarkPod()
	b.Run("plan", func(b *testing.B) {
		var plans Plans
		var buf []byte
		b.ReportAllocs()
		for b.Loop() {
			buf, _ = plans.Of(reflect.TypeOf(p)).Append(buf[:0], p)
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			json.Marshal(p)
		}
	})
}
