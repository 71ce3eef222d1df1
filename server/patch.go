package server

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes/scheme"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/registry/store"
)

// maxPatchOperations bounds the work that one JSON patch can ask for.
const maxPatchOperations = 10000

// patch changes an object by a JSON, merge or strategic merge patch, or applies a configuration to it.
func (c *call) patch() error {
	// 1. What kind of patch, how is the answer wanted, how is the request meant?
	kind, err := patchKind(c.r)
	if err != nil {
		return err
	}
	c.patching = kind
	if err := c.negotiateForm(); err != nil {
		return err
	}
	body, err := readBody(c.r)
	if err != nil {
		return err
	}
	o, err := readOptions(c.r.URL.Query(), metav1.Convert_url_Values_To_v1_PatchOptions)
	if err != nil {
		return err
	}
	if err := invalidOptions("PatchOptions", metavalidation.ValidatePatchOptions(o, kind)); err != nil {
		return err
	}
	c.begin(o.DryRun, o.FieldManager, o.FieldValidation)
	c.notePatch(body)
	// 2. Patch the stored object, in the version of the URL.
	if c.sub != nil && c.sub.Scale != nil {
		return c.patchScale(body, o)
	}
	apply := kind == types.ApplyPatchType
	entry, obj, created, err := c.change(change{options: o, create: apply && c.sub == nil, managed: apply,
		next: func(_ context.Context, current *store.Entry) (registry.Object, error) {
			if apply {
				return c.applied(current, body, o)
			}
			return c.patched(current, body)
		}})
	if err != nil {
		return err
	}
	// 3. Answer with what is stored now.
	return c.writeChanged(entry, obj, created)
}

// patchKind is the kind of patch that the Content-Type names.
func patchKind(r *http.Request) (types.PatchType, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch kind := types.PatchType(media); kind {
	case types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType, types.ApplyYAMLPatchType:
		if err == nil {
			return kind, nil
		}
	}
	return "", generic(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType, "415: Unsupported Media Type")
}

// patched is the stored object with the patch, complete, in the hub version.
func (c *call) patched(current *store.Entry, body []byte) (registry.Object, error) {
	if p, ok := readLabelPatch(c.patching, body); ok && c.version.FromHub == nil && !c.row.LossyJSON {
		live, err := current.Object()
		if err != nil {
			return nil, err
		}
		obj := p.of(live)
		if c.row.Accept == nil || c.row.Accept(obj) == nil {
			c.complete(obj)
			return obj, nil
		}
	}
	var obj registry.Object
	var err error
	if c.patching == types.StrategicMergePatchType {
		var live registry.Object
		if live, err = c.encoding().object(current); err == nil {
			obj, err = c.mergedStrategically(live, c.version.New(), body)
		}
	} else {
		var whole []byte
		if whole, err = c.encoding().json(current); err == nil {
			obj, err = c.patchedJSON(whole, body, c.decoder())
		}
	}
	if err != nil {
		return nil, err
	}
	if err := c.checkName(obj); err != nil {
		return nil, err
	}
	obj = c.toHub(obj)
	c.complete(obj)
	return obj, nil
}

// invalidPatch is the 422 of a patch whose result is not an object of its kind.
func invalidPatch(value, detail string) error {
	return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), value, detail)})
}

// patchedJSON applies a JSON or merge patch to an object's JSON and decodes the result.
func (c *call) patchedJSON(whole, body []byte, d decoder) (registry.Object, error) {
	var out []byte
	var strict []error
	var err error
	if c.patching == types.JSONPatchType {
		out, strict, err = c.applyOperations(whole, body)
	} else {
		out, strict, err = c.mergeJSON(whole, body)
	}
	if err != nil {
		return nil, err
	}
	if head := headOf(out); head != nil && head.APIVersion == "" {
		if complaint := d.internal(head.Kind); complaint != "" {
			return nil, invalidPatch(string(out), complaint)
		}
		return d.new().(registry.Object), c.heedStrict(unknownMembers(out, c.strict()), string(out))
	}
	obj, kind, unknown, err := d.decode(out, JSON, c.strict())
	if err != nil {
		return nil, invalidPatch(string(out), err.Error())
	}
	switch {
	case kind.Kind != d.kind.Kind:
		return nil, invalidPatch(string(out), noConversion(strings.TrimPrefix(reflect.TypeOf(obj).String(), "*"), d.kind))
	case *kind != d.kind:
		return nil, invalidPatch(string(out), fmt.Sprintf("unable to decode %s as %s", kind, d.kind))
	}
	if err := c.heedStrict(append(strict, unknown...), string(out)); err != nil {
		return nil, err
	}
	o := obj.(registry.Object)
	o.GetObjectKind().SetGroupVersionKind(d.kind)
	return o, nil
}

// headOf is what an object says it is; nil if that cannot be read.
func headOf(object []byte) *metav1.TypeMeta {
	var head metav1.TypeMeta
	if json.Unmarshal(object, &head) != nil {
		return nil
	}
	return &head
}

// internal is the complaint about an object that a patch took the version from: it is read as upstream's internal type of
// its kind in the group. One of the decoder's own kind is none: of that type no member is known, and what is left is an
// empty object, without a name.
func (d decoder) internal(kind string) string {
	own := d.kind.GroupKind()
	switch {
	case kind == "" || kind == own.Kind:
		return ""
	case len(scheme.Scheme.VersionsForGroupKind(schema.GroupKind{Group: own.Group, Kind: kind})) == 0:
		return fmt.Sprintf("no kind %q is registered for the internal version of group %q in scheme %q", kind, own.Group, schemeName)
	}
	return noConversion(internalGroup(own.Group)+"."+kind, d.kind)
}

// unknownMembers are the complaints about such an object's members, none unless they matter.
func unknownMembers(object []byte, matter bool) []error {
	var members map[string]json.RawMessage
	if !matter || json.Unmarshal(object, &members) != nil {
		return nil
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if name != "apiVersion" && name != "kind" {
			errs = append(errs, fmt.Errorf("unknown field %q", name))
		}
	}
	return errs
}

// strict reports whether unknown and duplicate fields matter to the client.
func (c *call) strict() bool { return c.fieldValidation != metav1.FieldValidationIgnore }

// heedStrict refuses or warns of unknown and duplicate fields; value is what the error quotes.
func (c *call) heedStrict(errs []error, value string) error {
	if len(errs) == 0 {
		return nil
	}
	if c.fieldValidation == metav1.FieldValidationStrict {
		return invalidPatch(value, runtime.NewStrictDecodingError(errs).Error())
	}
	for _, e := range errs {
		c.warn(e.Error())
	}
	return nil
}

func (c *call) mergeJSON(whole, body []byte) ([]byte, []error, error) {
	var strict []error
	if c.strict() {
		var err error
		if strict, err = kjson.UnmarshalStrict(body, &map[string]any{}); err != nil {
			return nil, nil, badRequest("error decoding patch: %v", err)
		}
	}
	out, err := jsonpatch.MergePatch(whole, body)
	if err == jsonpatch.ErrBadJSONPatch {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	return out, strict, err
}

// patchOperation is a JSON patch's operation, for finding members that do not belong there.
type patchOperation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	From  string `json:"from"`
	Value any    `json:"value"`
}

func (c *call) applyOperations(whole, body []byte) ([]byte, []error, error) {
	var strict []error
	if c.strict() {
		found, err := kjson.UnmarshalStrict(body, &[]patchOperation{})
		if err != nil {
			return nil, nil, badRequest("error decoding patch: %s", strings.ReplaceAll(err.Error(), "server.patchOperation", "handlers.jsonPatchOp"))
		}
		for _, e := range found {
			strict = append(strict, fmt.Errorf("json patch %w", e))
		}
	}
	operations, err := jsonpatch.DecodePatch(body)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	if len(operations) > maxPatchOperations {
		return nil, nil, apierrors.NewRequestEntityTooLargeError(
			fmt.Sprintf("The allowed maximum operations in a JSON patch is %d, got %d", maxPatchOperations, len(operations)))
	}
	out, err := operations.Apply(whole)
	if err != nil {
		return nil, nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
	}
	return out, strict, nil
}

// mergedStrategically merges a patch by the kind's own rules (lists by key) into a new object of the same version.
func (c *call) mergedStrategically(live, into registry.Object, body []byte) (registry.Object, error) {
	patch := map[string]any{}
	var strict []error
	var err error
	if c.strict() {
		strict, err = kjson.UnmarshalStrict(body, &patch)
	} else {
		err = kjson.UnmarshalCaseSensitivePreserveInts(body, &patch)
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	// Only what the patch touches is merged, unless it is about the whole.
	part := live
	fields, some := c.s.outlines.names.touched(reflect.TypeOf(live).Elem(), patch)
	if some = some && !c.row.LossyJSON; some {
		part = reflect.New(reflect.TypeOf(live).Elem()).Interface().(registry.Object)
		copyFields(part, live, fields)
	}
	original, err := runtime.DefaultUnstructuredConverter.ToUnstructured(part)
	if err != nil {
		return nil, err
	}
	merged, err := strategicpatch.StrategicMergeMapPatch(original, patch, into)
	if err != nil {
		return nil, strategicError(err)
	}
	err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(merged, into, c.strict())
	if found, ok := runtime.AsStrictDecodingError(err); ok {
		strict, err = append(strict, found.Errors()...), nil
	}
	if err != nil {
		return nil, invalidPatch(fmt.Sprintf("%+v", patch), err.Error())
	}
	if err := c.heedStrict(strict, fmt.Sprintf("%+v", patch)); err != nil {
		return nil, err
	}
	if some {
		part, into = into, live.DeepCopyObject().(registry.Object)
		copyFields(into, part, fields)
	}
	into.GetObjectKind().SetGroupVersionKind(live.GetObjectKind().GroupVersionKind())
	return into, nil
}

// strategicError tells a patch that is malformed from one that does not fit.
func strategicError(err error) error {
	switch err {
	case mergepatch.ErrBadJSONDoc, mergepatch.ErrBadPatchFormatForPrimitiveList, mergepatch.ErrBadPatchFormatForRetainKeys,
		mergepatch.ErrBadPatchFormatForSetElementOrderList, mergepatch.ErrUnsupportedStrategicMergePatchFormat:
		return apierrors.NewBadRequest(err.Error())
	case mergepatch.ErrNoListOfLists, mergepatch.ErrPatchContentNotMatchRetainKeys:
		return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
	}
	return err
}

// applied is the stored object (nil: a new one) with a configuration applied to it, its fields attributed.
func (c *call) applied(current *store.Entry, body []byte, o *metav1.PatchOptions) (registry.Object, error) {
	live := c.row.New()
	if current != nil {
		stored, err := current.Object()
		if err != nil {
			return nil, err
		}
		live = stored.DeepCopyObject().(registry.Object)
	}
	obj, err := c.applyTo(live, body, o)
	if err != nil {
		return nil, err
	}
	if current == nil && obj.GetUID() != "" {
		return nil, apierrors.NewConflict(c.row.GroupResource(), c.Name,
			fmt.Errorf("uid mismatch: the provided object specified uid %s, and no existing object was found", obj.GetUID()))
	}
	if err := c.checkName(obj); err != nil {
		return nil, err
	}
	c.complete(obj)
	return obj, nil
}

// applyTo merges a configuration (YAML, of which JSON is a part) into live, which it may change.
func (c *call) applyTo(live registry.Object, body []byte, o *metav1.PatchOptions) (registry.Object, error) {
	manager, err := c.s.managers.of(c)
	if err != nil {
		return nil, err
	}
	config := &unstructured.Unstructured{Object: map[string]any{}}
	if err := yaml.Unmarshal(body, &config.Object); err != nil {
		return nil, badRequest("error decoding YAML: %v", err)
	}
	out, err := manager.Apply(live, config, managerName(c.fieldManager, c.r), o.Force != nil && *o.Force)
	if err != nil {
		return nil, err
	}
	if c.strict() {
		if err := yaml.UnmarshalStrict(body, &map[string]any{}); err != nil {
			if c.fieldValidation == metav1.FieldValidationStrict {
				return nil, badRequest("error strict decoding YAML: %v", err)
			}
			for _, text := range yamlComplaints(err) {
				c.warn(text)
			}
		}
	}
	return out.(registry.Object), nil
}

// yamlComplaints splits the one error of the YAML reader into what it found, line by line.
func yamlComplaints(err error) []string {
	text := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	text = strings.TrimPrefix(text, "yaml: unmarshal errors:\n")
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines
}
