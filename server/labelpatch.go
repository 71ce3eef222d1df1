package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	kjson "sigs.k8s.io/json"

	"github.com/knarr-dev/knarr/registry"
)

// Most patches set or remove a few labels or annotations. For those, merge patch and strategic merge patch mean the
// same, and what they mean can be done to a copy of the object, without turning it into JSON and back.

// labelPatch is a patch of labels and annotations alone; a nil value removes the key.
type labelPatch struct {
	Metadata struct {
		Labels      keys `json:"labels"`
		Annotations keys `json:"annotations"`
	} `json:"metadata"`
}

// keys are those that a patch sets or, being nil, removes.
type keys map[string]*string

// UnmarshalJSON reads an object of strings and nulls.
func (k *keys) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		return errors.New("not a patch of single keys")
	}
	var m map[string]*string
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	for key := range m {
		if strings.HasPrefix(key, "$") {
			return errors.New("not a patch of single keys")
		}
	}
	*k = m
	return nil
}

// apply returns the map with the keys set and removed.
func (k keys) apply(to map[string]string) map[string]string {
	for key, value := range k {
		switch {
		case value == nil:
			delete(to, key)
		case to == nil:
			to = map[string]string{key: *value}
		default:
			to[key] = *value
		}
	}
	return to
}

// readLabelPatch reads a patch if it is one of labels and annotations alone, without anything that the client would be
// warned of.
func readLabelPatch(kind types.PatchType, body []byte) (*labelPatch, bool) {
	if kind != types.MergePatchType && kind != types.StrategicMergePatchType || len(body) > 4096 {
		return nil, false
	}
	p := &labelPatch{}
	strict, err := kjson.UnmarshalStrict(body, p)
	return p, err == nil && len(strict) == 0 && len(p.Metadata.Labels)+len(p.Metadata.Annotations) > 0
}

// of is a copy of the object with the patch.
func (p *labelPatch) of(live registry.Object) registry.Object {
	obj := live.DeepCopyObject().(registry.Object)
	if p.Metadata.Labels != nil {
		obj.SetLabels(p.Metadata.Labels.apply(obj.GetLabels()))
	}
	if p.Metadata.Annotations != nil {
		obj.SetAnnotations(p.Metadata.Annotations.apply(obj.GetAnnotations()))
	}
	return obj
}
