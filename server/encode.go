package server

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/registry/store"
	"github.com/knarr-dev/knarr/server/jsonplan"
)

// An encoding is how the objects of one version of a resource look on the wire. It makes bytes at most once for an
// entry: they are kept with it, and every GET, list item and watch event of that revision is a slice of them.
//
// JSON bytes are those of a whole object and begin with prefix, which names kind and version; a list item is the same
// without the prefix's fields.
type encoding struct {
	row     *registry.Resource
	version *registry.Version
	prefix  string // {"kind":"Pod","apiVersion":"v1",
	typ     metav1.TypeMeta
	plan    *jsonplan.Plan
	scratch *sync.Pool // of *[]byte
}

// encodings are those of all versions asked for so far.
type encodings struct {
	plans jsonplan.Plans
	made  sync.Map // of *encoding, by the kind in its version
	// scratch is shared by all.
	scratch sync.Pool
}

// of is the encoding of a version of a resource. A row that has been replaced has another.
func (x *encodings) of(row *registry.Resource, v *registry.Version) *encoding {
	key := schema.GroupVersionKind{Group: row.Group, Version: v.Name, Kind: row.Kind}
	if e, ok := x.made.Load(key); ok && e.(*encoding).version == v {
		return e.(*encoding)
	}
	typ := metav1.TypeMeta{Kind: row.Kind, APIVersion: groupVersion(row.Group, v.Name)}
	e := &encoding{row: row, version: v, typ: typ, prefix: fmt.Sprintf(`{"kind":%q,"apiVersion":%q,`, typ.Kind, typ.APIVersion),
		plan: x.plans.Of(reflect.TypeOf(v.New())), scratch: &x.scratch}
	x.made.Store(key, e)
	return e
}

// Slots of an entry's and a block's memos: each version of a store's objects has a run of them.
const (
	slotJSON = iota
	slotProto
	slotRow
	slotMetadata
	slotsPerVersion
)

func groupVersion(group, version string) string {
	if group == "" {
		return version
	}
	return group + "/" + version
}

func (e *encoding) slot(what int) int { return e.version.Slot*slotsPerVersion + what }

// object is the entry's object in this version, with its kind. Shared: it must not be changed.
func (e *encoding) object(entry *store.Entry) (registry.Object, error) {
	hub, err := entry.Object()
	if err != nil {
		return nil, err
	}
	return convertFromHub(e.row, e.version, hub), nil
}

// json is the entry's object as JSON.
func (e *encoding) json(entry *store.Entry) ([]byte, error) {
	return entry.Memo(e.slot(slotJSON), func(entry *store.Entry) ([]byte, error) {
		o, err := e.object(entry)
		if err != nil {
			return nil, err
		}
		return e.whole(o)
	})
}

// whole is an object of this version as JSON.
func (e *encoding) whole(o registry.Object) ([]byte, error) {
	buf, _ := e.scratch.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	defer e.scratch.Put(buf)
	var err error
	if *buf, err = e.plan.Append((*buf)[:0], o); err != nil {
		return nil, err
	}
	return slices.Clone(*buf), nil // it is kept for long: no byte more than needed
}

// item is the object as a member of a list: its JSON without kind and version.
func (e *encoding) item(whole []byte) (head string, rest []byte) {
	if len(whole) > len(e.prefix) && string(whole[:len(e.prefix)]) == e.prefix {
		return "{", whole[len(e.prefix):]
	}
	return "", whole
}

// proto is the entry's object as a protobuf message, without envelope.
func (e *encoding) proto(entry *store.Entry) ([]byte, error) {
	if p := entry.Proto(); p != nil && e.version.FromHub == nil {
		return p, nil
	}
	return entry.Memo(e.slot(slotProto), func(entry *store.Entry) ([]byte, error) {
		o, err := e.object(entry)
		if err != nil {
			return nil, err
		}
		return marshalProto(o)
	})
}

// marshalJSON is the wire's JSON of a value: compact, HTML-escaped as encoding/json does, without the final newline.
func marshalJSON(v any) ([]byte, error) { return json.Marshal(v) }

func marshalProto(v any) ([]byte, error) {
	m, ok := v.(interface{ Marshal() ([]byte, error) })
	if !ok {
		return nil, plain(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable,
			"object *%T does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message", v)
	}
	return m.Marshal()
}

// protoMagic begins every protobuf answer: the envelope runtime.Unknown follows.
const protoMagic = "k8s\x00"

// Tags of the envelope's fields and of the messages that lists and watches are made of.
const (
	tagField1 = 1<<3 | 2
	tagField2 = 2<<3 | 2
)

// envelopeHead is what precedes a message of n bytes: magic, kind, and the message's tag and length.
func envelopeHead(typ metav1.TypeMeta, n int) []byte {
	return appendEnvelopeHead(make([]byte, 0, 64), typ, n)
}

func appendEnvelopeHead(b []byte, typ metav1.TypeMeta, n int) []byte {
	b = append(b, protoMagic...)
	b = append(b, tagField1)
	b = binary.AppendUvarint(b, uint64(stringSize(typ.APIVersion)+stringSize(typ.Kind)))
	b = appendString(b, tagField1, typ.APIVersion)
	b = appendString(b, tagField2, typ.Kind)
	b = append(b, tagField2)
	return binary.AppendUvarint(b, uint64(n))
}

func appendString(b []byte, tag byte, s string) []byte {
	b = binary.AppendUvarint(append(b, tag), uint64(len(s)))
	return append(b, s...)
}

// stringSize is the encoded size in bytes of a string field with a tag of one byte.
func stringSize(s string) int { return 1 + uvarintSize(len(s)) + len(s) }

func uvarintSize(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

// envelopeTail is what follows it: an empty content encoding and content type.
const envelopeTail = "\x1a\x00\x22\x00"

// writeObject answers with a value of the kind typ, which it already carries.
func writeObject(w http.ResponseWriter, r *http.Request, code int, form Form, typ metav1.TypeMeta, v any) {
	noteStatus(r, v)
	var body []byte
	var err error
	if form.Format == Protobuf {
		if body, err = marshalProto(v); err == nil {
			body = bytes.Join([][]byte{envelopeHead(typ, len(body)), body, []byte(envelopeTail)}, nil)
		}
	} else {
		body, err = marshalJSON(v)
	}
	if err != nil {
		writeError(w, r, err)
		return
	}
	writeBody(w, r, code, form, body)
}

// writeBody answers with an encoded object: a protobuf envelope, or JSON that is brought to the form wanted.
func writeBody(w http.ResponseWriter, r *http.Request, code int, form Form, body []byte) {
	switch {
	case form.Format == YAML:
		if y, err := yaml.JSONToYAML(body); err == nil {
			body = y
		}
	case form.Format == JSON && form.Pretty:
		var buf bytes.Buffer
		if json.Indent(&buf, body, "", "  ") == nil {
			body = buf.Bytes()
		}
	}
	h := w.Header()
	h.Set("Content-Type", form.Format.mediaType())
	if len(body) >= gzipFrom && acceptsGzip(r) {
		writeGzip(w, code, body)
		return
	}
	tail := ""
	if form.Format == JSON {
		tail = "\n"
	}
	h.Set("Content-Length", strconv.Itoa(len(body)+len(tail)))
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		w.Write(body)
		if tail != "" {
			w.Write([]byte(tail))
		}
	}
}

// acceptsGzip reports whether the client takes a compressed answer.
func acceptsGzip(r *http.Request) bool {
	for _, v := range strings.Split(r.Header.Get("Accept-Encoding"), ",") {
		name, _, _ := strings.Cut(strings.TrimSpace(v), ";")
		if name == "gzip" {
			return true
		}
	}
	return false
}

// writeEntry answers with a stored object in the form that the call negotiated.
func (c *call) writeEntry(code int, entry *store.Entry) error {
	e := c.encoding()
	switch {
	case c.form.Shape != Whole:
		o, err := e.object(entry)
		if err != nil {
			return err
		}
		return c.writeShaped(code, o)
	case c.form.Format == Protobuf:
		p, err := e.proto(entry)
		if err != nil {
			return err
		}
		writeBody(c.w, c.r, code, c.form, bytes.Join([][]byte{envelopeHead(e.typ, len(p)), p, []byte(envelopeTail)}, nil))
	default:
		j, err := e.json(entry)
		if err != nil {
			return err
		}
		writeBody(c.w, c.r, code, c.form, j)
	}
	return nil
}

// writeHub answers with an object that is not (or not yet) stored, in the hub version.
func (c *call) writeHub(code int, hub registry.Object) error {
	o := c.fromHub(hub)
	if c.form.Shape != Whole {
		return c.writeShaped(code, o)
	}
	writeObject(c.w, c.r, code, c.form, c.encoding().typ, o)
	return nil
}

func (c *call) encoding() *encoding { return c.s.encodings.of(c.row, c.version) }
