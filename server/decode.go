package server

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	protoserializer "k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/knarr-dev/knarr/registry"
)

// maxBody is the size in bytes that a request's body may have, as upstream limits it.
const maxBody = 3 * 1024 * 1024

// firstBody is how much room is made for a body before any of it has come: who says that it will be large has to send it.
const firstBody = 64 * 1024

// readBody reads a request's body, or refuses it with 413 when it is larger than maxBody.
func readBody(r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	var buf bytes.Buffer
	if n := r.ContentLength; n > 0 {
		buf.Grow(int(min(n, firstBody)) + bytes.MinRead)
	}
	n, err := buf.ReadFrom(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	if n > maxBody {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
	}
	return buf.Bytes(), nil
}

// A decoder reads bodies of one kind into its Go type. It serves apimachinery's serializers as their creater and
// typer: a body that names another known kind is decoded as that, so that the error can say what came in.
type decoder struct {
	kind   schema.GroupVersionKind
	new    func() runtime.Object
	accept func(registry.Object) error // what is read well and still is none of the kind; nil accepts all
}

// New makes the object that a body of the given kind is decoded into.
func (d decoder) New(kind schema.GroupVersionKind) (runtime.Object, error) {
	if kind == d.kind {
		return d.new(), nil
	}
	obj, err := scheme.Scheme.New(kind)
	if runtime.IsNotRegisteredError(err) {
		return nil, runtime.NewNotRegisteredErrForKind(schemeName, kind)
	}
	return obj, err
}

// ObjectKinds is the kind of a Go value, as far as this decoder has to know it.
func (d decoder) ObjectKinds(o runtime.Object) ([]schema.GroupVersionKind, bool, error) {
	if reflect.TypeOf(o) == reflect.TypeOf(d.new()) {
		return []schema.GroupVersionKind{d.kind}, false, nil
	}
	return scheme.Scheme.ObjectKinds(o)
}

// Recognizes reports whether the kind is known.
func (d decoder) Recognizes(kind schema.GroupVersionKind) bool {
	return kind == d.kind || scheme.Scheme.Recognizes(kind)
}

// schemeName stands in errors about unknown kinds; clients have seen it there for years.
const schemeName = "pkg/runtime/scheme.go:111"

// serializer is the apimachinery serializer of a format.
func (d decoder) serializer(f Format, strict bool) runtime.Serializer {
	if f == Protobuf {
		return protoserializer.NewSerializer(d, d)
	}
	return jsonserializer.NewSerializerWithOptions(jsonserializer.DefaultMetaFactory, d, d,
		jsonserializer.SerializerOptions{Yaml: f == YAML, Strict: strict})
}

// decode reads a body. The kind that the body names is returned as well, nil if it could not be read. With strict,
// unknown and duplicate fields are returned as a list beside the object.
func (d decoder) decode(body []byte, f Format, strict bool) (obj runtime.Object, kind *schema.GroupVersionKind, unknown []error, err error) {
	obj, kind, err = d.serializer(f, strict).Decode(body, &d.kind, d.new())
	if strictErr, ok := runtime.AsStrictDecodingError(err); ok && obj != nil {
		unknown, err = strictErr.Errors(), nil
	}
	if err == nil && d.accept != nil && *kind == d.kind {
		err = d.accept(obj.(registry.Object))
	}
	return obj, kind, unknown, err
}

// decodeBody reads the object that a client sends to a resource (or, through a sub-resource, of the kind that it
// takes), in the version of the URL. Unknown fields are refused, warned of or ignored as fieldValidation says.
func (c *call) decodeBody(body []byte, d decoder, also []schema.GroupVersionKind) (registry.Object, error) {
	f, err := bodyFormat(c.r)
	if err != nil {
		return nil, err
	}
	mode := c.fieldValidation
	obj, kind, unknown, err := d.decode(body, f, mode != metav1.FieldValidationIgnore && f != Protobuf)
	if err != nil {
		return nil, undecodable(err, d.kind, kind, body)
	}
	// What is of another kind is refused as that; what is of another version only, after its fields have been looked at.
	if err := acceptKind(*kind, d.kind, obj, also); err != nil {
		return nil, err
	}
	if len(unknown) > 0 && mode == metav1.FieldValidationStrict {
		return nil, undecodable(runtime.NewStrictDecodingError(unknown), d.kind, kind, body)
	}
	for _, u := range unknown {
		c.warn(u.Error())
	}
	if err := acceptVersion(*kind, d.kind, also); err != nil {
		return nil, err
	}
	o := obj.(registry.Object)
	o.GetObjectKind().SetGroupVersionKind(d.kind)
	return o, nil
}

// acceptKind checks that what a body says it is may be sent where want is expected.
func acceptKind(got, want schema.GroupVersionKind, obj runtime.Object, also []schema.GroupVersionKind) error {
	if got.Kind == want.Kind || slices.Contains(also, got) {
		return nil
	}
	return badRequest("%s in version %q cannot be handled as a %s: %s", got.Kind, got.Version, want.Kind,
		noConversion(strings.TrimPrefix(reflect.TypeOf(obj).String(), "*"), want))
}

// noConversion is the complaint about a Go type that is no version of want.
func noConversion(from string, want schema.GroupVersionKind) string {
	return fmt.Sprintf("converting (%s) to (%s.%s): unknown conversion", from, internalGroup(want.Group), want.Kind)
}

// acceptVersion checks that a body of the right kind is of the version in the URL.
func acceptVersion(got, want schema.GroupVersionKind, also []schema.GroupVersionKind) error {
	if got == want || slices.Contains(also, got) {
		return nil
	}
	return badRequest("the API version in the data (%s) does not match the expected API version (%s)", got.GroupVersion(), want.GroupVersion())
}

// internalGroup is the name by which errors call a group's internal types.
func internalGroup(group string) string {
	switch group {
	case "", "events.k8s.io":
		return "core"
	}
	name, _, _ := strings.Cut(group, ".")
	return name
}

// undecodable is the error of a body that is not what it should be.
func undecodable(err error, want schema.GroupVersionKind, got *schema.GroupVersionKind, body []byte) error {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return err
	}
	if got != nil && got.Kind != "" {
		return badRequest("%s in version %q cannot be handled as a %s: %v", got.Kind, got.Version, want.Kind, err)
	}
	return badRequest("the object provided is unrecognized (must be of type %s): %v (%s)", want.Kind, err, glimpse(body, 30))
}

// glimpse shows the beginning of a body: as text if it looks like JSON, else in hexadecimal.
func glimpse(body []byte, most int) string {
	cut := ""
	if len(body) == 0 {
		return "<empty>"
	}
	isJSON := body[0] == '{'
	if len(body) > most {
		body, cut = body[:most], " ..."
	}
	if isJSON {
		return string(body) + cut
	}
	return hex.EncodeToString(body) + cut
}
