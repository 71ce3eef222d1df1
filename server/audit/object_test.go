package audit

import (
	"bytes"
	"net/http/httptest"
	"testing"

	"github.com/klauspost/compress/gzip"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// inProto is an object in the envelope in which clients get it.
func inProto(t *testing.T, apiVersion, kind string, o interface{ Marshal() ([]byte, error) }) []byte {
	t.Helper()
	raw, err := o.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	envelope := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: apiVersion, Kind: kind}, Raw: raw}
	body, err := envelope.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte("k8s\x00"), body...)
}

func zipped(t *testing.T, parts ...string) []byte {
	var b bytes.Buffer
	for _, p := range parts { // members one after the other, as lists are made
		z := gzip.NewWriter(&b)
		if _, err := z.Write([]byte(p)); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestAnAnswersObjectIsRecordedAsJSONInWhateverFormItWasSent(t *testing.T) {
	meta := metav1.ObjectMeta{Name: "c"}
	for name, c := range map[string]struct {
		media, encoding string
		body            []byte
		want            string
	}{
		"JSON":            {"application/json", "", []byte(`{"kind":"X"}`), `{"kind":"X"}`},
		"compressed JSON": {"application/json", "gzip", zipped(t, `{"kind"`, `:"X"}`), `{"kind":"X"}`},
		"YAML":            {"application/yaml", "", []byte("kind: X\n"), `{"kind":"X"}`},
		"protobuf": {"application/vnd.kubernetes.protobuf", "", inProto(t, "v1", "ConfigMap", &corev1.ConfigMap{ObjectMeta: meta}),
			`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c"}}`},
		"protobuf of a kind that client-go lacks": {"application/vnd.kubernetes.protobuf", "",
			inProto(t, "apiextensions.k8s.io/v1", "CustomResourceDefinitionList", &apiextensionsv1.CustomResourceDefinitionList{}),
			`{"kind":"CustomResourceDefinitionList","apiVersion":"apiextensions.k8s.io/v1","metadata":{},"items":null}`},
		"partial metadata in protobuf": {"application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "",
			inProto(t, "meta.k8s.io/v1", "PartialObjectMetadata", &metav1.PartialObjectMetadata{ObjectMeta: meta}),
			`{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"c"}}`},
		"a text for people": {"text/plain; charset=utf-8", "", []byte("404 page not found"), ""},
	} {
		answer := httptest.NewRecorder()
		answer.Header().Set("Content-Type", c.media)
		answer.Header().Set("Content-Encoding", c.encoding)
		w := &Writer{ResponseWriter: answer, body: bytes.NewBuffer(c.body)}
		if got, err := w.object(); err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

func TestManagedFieldsAreLeftOutOfObjectsListsAndTables(t *testing.T) {
	for body, want := range map[string]string{
		`{"metadata":{"managedFields":[1],"name":"a"},"n":12345678901234567890}`:   `{"metadata":{"name":"a"},"n":12345678901234567890}`,
		`{"items":[{"metadata":{"managedFields":[1]}}],"metadata":{}}`:             `{"items":[{"metadata":{}}],"metadata":{}}`,
		`{"rows":[{"object":{"metadata":{"managedFields":[1]}}},{"object":null}]}`: `{"rows":[{"object":{"metadata":{}}},{"object":null}]}`,
		`{"spec":{"managedFields":[1]}}`:                                           `{"spec":{"managedFields":[1]}}`,
		` {"as": "it is"}`:                                                         ` {"as": "it is"}`,
	} {
		if got, err := withoutManagedFields([]byte(body)); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", body, got, err)
		}
	}
}
