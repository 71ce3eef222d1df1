package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/yaml"
)

// object is the answer's object as JSON, in whatever form the client got it.
func (w *Writer) object() ([]byte, error) {
	body := w.body.Bytes()
	if w.Header().Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		if body, err = io.ReadAll(z); err != nil {
			return nil, err
		}
	}
	media, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
	switch media {
	case runtime.ContentTypeJSON:
		return body, nil
	case runtime.ContentTypeYAML:
		return yaml.YAMLToJSON(body)
	case runtime.ContentTypeProtobuf:
		return protoToJSON(body)
	}
	return nil, nil // a text for people
}

// protoToJSON decodes an object in its envelope: four bytes of magic, and a runtime.Unknown.
func protoToJSON(body []byte) ([]byte, error) {
	var envelope runtime.Unknown
	if len(body) < 4 {
		return nil, io.ErrUnexpectedEOF
	}
	if err := envelope.Unmarshal(body[4:]); err != nil {
		return nil, err
	}
	kind := schema.FromAPIVersionAndKind(envelope.APIVersion, envelope.Kind)
	o, err := newObject(kind)
	if err != nil {
		return nil, err
	}
	message, ok := o.(interface{ Unmarshal([]byte) error })
	if !ok {
		return nil, fmt.Errorf("%s has no protobuf form", kind)
	}
	if err := message.Unmarshal(envelope.Raw); err != nil {
		return nil, err
	}
	o.GetObjectKind().SetGroupVersionKind(kind)
	return json.Marshal(o)
}

// newObject makes an object of a kind: of client-go's scheme, or one that it lacks.
func newObject(kind schema.GroupVersionKind) (runtime.Object, error) {
	switch kind.Kind {
	case "PartialObjectMetadata":
		return &metav1.PartialObjectMetadata{}, nil
	case "PartialObjectMetadataList":
		return &metav1.PartialObjectMetadataList{}, nil
	case "CustomResourceDefinition":
		return &apiextensionsv1.CustomResourceDefinition{}, nil
	case "CustomResourceDefinitionList":
		return &apiextensionsv1.CustomResourceDefinitionList{}, nil
	case "APIService":
		return &apiregistrationv1.APIService{}, nil
	case "APIServiceList":
		return &apiregistrationv1.APIServiceList{}, nil
	}
	return scheme.Scheme.New(kind)
}

// withoutManagedFields takes them out of an object, and out of the objects in a list or table.
func withoutManagedFields(body []byte) ([]byte, error) {
	if !bytes.Contains(body, []byte(`"managedFields"`)) {
		return body, nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var o map[string]any
	if err := d.Decode(&o); err != nil {
		return nil, err
	}
	dropManagedFields(o)
	for _, item := range objectsOf(o, "items") {
		dropManagedFields(item)
	}
	for _, row := range objectsOf(o, "rows") {
		if object, ok := row["object"].(map[string]any); ok {
			dropManagedFields(object)
		}
	}
	return json.Marshal(o)
}

func dropManagedFields(o map[string]any) {
	if meta, ok := o["metadata"].(map[string]any); ok {
		delete(meta, "managedFields")
	}
}

func objectsOf(o map[string]any, list string) (objects []map[string]any) {
	items, _ := o[list].([]any)
	for _, item := range items {
		if object, ok := item.(map[string]any); ok {
			objects = append(objects, object)
		}
	}
	return objects
}
