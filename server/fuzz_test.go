package server

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/knarr-dev/knarr/registry"
)

// What clients send may be anything. These tests look for input that makes the server panic, or that it answers with
// something that is no error of the API's.

// row is the built-in row of a kind.
func row(t testing.TB, kind string) *registry.Resource {
	for _, r := range registry.Builtin() {
		if r.Kind == kind {
			return r
		}
	}
	t.Fatalf("no row of %s", kind)
	return nil
}

// fuzzCall is a request with a body for a kind.
func fuzzCall(t testing.TB, kind, method, contentType string) *call {
	r := httptest.NewRequest(method, "/", nil)
	r.Header.Set("Content-Type", contentType)
	row := row(t, kind)
	return &call{Request: &Request{row: row, version: row.Hub(), Name: "x", Namespace: "n", Group: row.Group, Plural: row.Plural},
		s: &Server{}, w: httptest.NewRecorder(), r: r, fieldValidation: metav1.FieldValidationWarn}
}

// mustBeStatus fails for an error that a client could make nothing of.
func mustBeStatus(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if s := statusOf(err); s.Code < 400 || s.Message == "" && s.Reason == "" {
		t.Errorf("%#v", s)
	}
}

func FuzzDecode(f *testing.F) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x", Labels: map[string]string{"a": "b"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	p, err := pod.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	envelope := append(append(envelopeHead(metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}, len(p)), p...), envelopeTail...)
	f.Add(envelope, 2)
	f.Add(envelope[:len(envelope)/2], 2)
	f.Add([]byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x"},"spec":{"containers":[{"name":"c"}]}}`), 0)
	f.Add([]byte(`{"kind":"Pod","kind":"Secret","spec":{"containers":{}}}`), 0)
	f.Add([]byte(strings.Repeat(`{"a":`, 2000)), 0)
	f.Add([]byte("kind: Pod\nmetadata: &a {labels: {x: *a}}"), 1)
	f.Add([]byte("a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]"), 1)
	f.Add([]byte("\xff\xfe\x00"), 1)
	f.Fuzz(func(t *testing.T, body []byte, format int) {
		media := []string{mediaJSON, mediaYAML, mediaProtobuf}[(format%3+3)%3]
		c := fuzzCall(t, "Pod", http.MethodPost, media)
		obj, err := c.decodeBody(body, c.decoder(), nil)
		mustBeStatus(t, err)
		if err == nil {
			c.row.Complete(obj)
			if _, err := marshalJSON(obj); err != nil {
				t.Errorf("an accepted object cannot be encoded: %v", err)
			}
		}
	})
}

func FuzzPatch(f *testing.F) {
	f.Add([]byte(`{"metadata":{"labels":{"a":null,"b":"c"}}}`), 0)
	f.Add([]byte(`{"metadata":{"labels":{"$patch":"replace"}}}`), 1)
	f.Add([]byte(`{"spec":{"containers":[{"name":"c","image":"j"},{"$patch":"delete","name":"d"}]}}`), 1)
	f.Add([]byte(`{"spec":{"$setElementOrder/containers":[{"name":"c"}],"$retainKeys":["containers"]}}`), 1)
	f.Add([]byte(`[{"op":"replace","path":"/spec/containers/0/image","value":"k"},{"op":"move","from":"/spec","path":"/x"}]`), 2)
	f.Add([]byte(`[{"op":"add","path":"/metadata/labels/~0~1","value":{}}]`), 2)
	f.Fuzz(func(t *testing.T, body []byte, kind int) {
		patch := []types.PatchType{types.MergePatchType, types.StrategicMergePatchType, types.JSONPatchType}[(kind%3+3)%3]
		c := fuzzCall(t, "Pod", http.MethodPatch, string(patch))
		c.patching = patch
		live := c.row.New().(*corev1.Pod)
		live.Name, live.Namespace, live.Labels = "x", "n", map[string]string{"a": "1"}
		live.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}, {Name: "d", Image: "i"}}
		c.row.Complete(live)
		if p, ok := readLabelPatch(patch, body); ok {
			p.of(live)
		}
		var err error
		if patch == types.StrategicMergePatchType {
			_, err = c.mergedStrategically(live, c.version.New(), body)
		} else {
			whole, merr := marshalJSON(live)
			if merr != nil {
				t.Fatal(merr)
			}
			_, err = c.patchedJSON(whole, body, c.decoder())
		}
		mustBeStatus(t, err)
	})
}

// What a strategic merge patch touches is merged alone, which must lead where merging the whole leads.
func FuzzStrategicMergeOfWhatIsTouched(f *testing.F) {
	for _, seed := range []string{
		`{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"},{"$patch":"delete","type":"PodScheduled"}]},"metadata":{"uid":"u"}}`,
		`{"spec":{"$retainKeys":["nodeName"],"nodeName":"n"}}`,
		`{"spec":{"$setElementOrder/containers":[{"name":"d"},{"name":"c"}],"containers":[{"name":"c","image":"j"}]}}`,
		`{"metadata":{"labels":null,"annotations":{"x":"y"},"$deleteFromPrimitiveList/finalizers":["f"]},"spec":{"nodeName":null}}`,
		`{"$patch":"replace","metadata":{"name":"x"}}`, `{"spec":null}`, `{"spec":7}`, `{"unknown":{"a":1},"spec":{"unknown":2}}`,
		`{"kind":"Pod","apiVersion":"v1","spec":{"tolerations":[{"key":"k"}],"securityContext":{"runAsUser":1}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		live := row(t, "Pod").New().(*corev1.Pod)
		live.Name, live.Namespace, live.Labels, live.Finalizers = "x", "n", map[string]string{"a": "1"}, []string{"f", "g"}
		live.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}, {Name: "d", Image: "i"}}
		live.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
		before := live.DeepCopy()
		merged := func(whole bool) (string, string) {
			c := fuzzCall(t, "Pod", http.MethodPatch, string(types.StrategicMergePatchType))
			of := *c.row
			of.LossyJSON = whole
			c.row, c.fieldValidation = &of, metav1.FieldValidationStrict
			obj, err := c.mergedStrategically(live, c.version.New(), body)
			if err != nil {
				return "", err.Error()
			}
			j, err := marshalJSON(obj)
			if err != nil {
				t.Fatal(err)
			}
			return string(j), ""
		}
		part, complaint := merged(false)
		whole, expected := merged(true)
		if part != whole || complaint != expected {
			t.Errorf("%s\nof what is touched: %s %s\nof the whole:       %s %s", body, part, complaint, whole, expected)
		}
		if !reflect.DeepEqual(live, before) {
			t.Error("the object that is patched has changed")
		}
	})
}

// A patch of labels alone takes a short way, which must lead where the long one does.
func FuzzLabelPatchIsAMergePatch(f *testing.F) {
	f.Add([]byte(`{"metadata":{"labels":{"a":null,"b":"c"}}}`))
	f.Add([]byte(`{"metadata":{"annotations":{"a":"x"},"labels":{"a":""}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, ok := readLabelPatch(types.MergePatchType, body)
		if !ok {
			return
		}
		c := fuzzCall(t, "ConfigMap", http.MethodPatch, string(types.MergePatchType))
		c.patching = types.MergePatchType
		live := c.row.New()
		live.SetName("x")
		live.SetLabels(map[string]string{"a": "1", "z": "2"})
		whole, err := marshalJSON(live)
		if err != nil {
			t.Fatal(err)
		}
		long, err := c.patchedJSON(whole, body, c.decoder())
		if err != nil {
			t.Fatalf("the long way refuses what the short one takes: %v", err)
		}
		a, _ := marshalJSON(p.of(live))
		b, _ := marshalJSON(long)
		if string(a) != string(b) {
			t.Errorf("short %s, long %s", a, b)
		}
	})
}

func FuzzSelectors(f *testing.F) {
	f.Add("labelSelector=a%3Db,c+in+(d)&fieldSelector=spec.nodeName%3Dn")
	f.Add("labelSelector=!a&limit=-1&continue=x&resourceVersion=0&resourceVersionMatch=Exact")
	f.Add("fieldSelector=a%3D%5C%2C&watch=1&timeoutSeconds=9999999999999999999")
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		c := fuzzCall(t, "Pod", http.MethodGet, "")
		_, sel, err := listOptions(values)
		if err == nil {
			_, err = c.selection(sel)
		}
		mustBeStatus(t, err)
	})
}

func FuzzPath(f *testing.F) {
	for _, p := range []string{"/api/v1/namespaces/a/pods/b/log", "/apis/apps/v1/watch/namespaces/x/deployments", "/api/v1/namespaces/a/finalize",
		"//api/v1", "/api/v1/pods/..%2f..", "/apis/a/b/c/d/e/f/g/h", "/"} {
		f.Add(p, "GET")
	}
	f.Fuzz(func(t *testing.T, path, method string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		q := parseRequest(&http.Request{Method: method, URL: u, Header: http.Header{}})
		if q.IsResource && q.Plural == "" && strings.Trim(u.Path, "/") != "" && !strings.Contains(u.Path, "//") {
			t.Errorf("%s names no resource", path)
		}
	})
}
