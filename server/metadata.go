package server

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/registry/store"
)

// metaGroup is the apiVersion of Table and PartialObjectMetadata in the version that the client asked for.
func metaGroup(f Form) string { return "meta.k8s.io/" + f.MetaType }

func (e *encoding) kindOf() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: e.row.Group, Version: e.version.Name, Kind: e.row.Kind}
}

// metadataJSON cuts the metadata out of an object's JSON, where it is the first member after kind and version.
func (e *encoding) metadataJSON(whole []byte) []byte {
	const key = `"metadata":`
	if len(whole) < len(e.prefix)+len(key) || string(whole[len(e.prefix):len(e.prefix)+len(key)]) != key {
		return []byte("{}")
	}
	rest := whole[len(e.prefix)+len(key):]
	return rest[:objectEnd(rest)]
}

// objectEnd is the length of the JSON object at the beginning of b.
func objectEnd(b []byte) int {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch ch := b[i]; {
		case quoted && ch == '\\':
			i++
		case ch == '"':
			quoted = !quoted
		case quoted:
		case ch == '{':
			depth++
		case ch == '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(b)
}

// partial is an object as PartialObjectMetadata, in JSON.
func (e *encoding) partial(f Form, entry *store.Entry) ([]byte, error) {
	metadata, err := e.metadata(entry)
	return slices.Concat(f.partialHead(), metadata, []byte("}")), err
}

// metadata is the JSON of an entry's metadata: a part of the JSON that the entry keeps, found once. Where annotations
// stand for fields it is not, and made once.
func (e *encoding) metadata(entry *store.Entry) ([]byte, error) {
	if !e.metadataIsWhole() {
		return entry.Memo(e.slot(slotMetadata), func(entry *store.Entry) ([]byte, error) {
			hub, err := entry.Object()
			if err != nil {
				return nil, err
			}
			return json.Marshal(e.bareMeta(hub))
		})
	}
	whole, err := e.json(entry)
	if err != nil {
		return nil, err
	}
	return entry.Memo(e.slot(slotMetadata), func(*store.Entry) ([]byte, error) { return e.metadataJSON(whole), nil })
}

// metadataIsWhole says that an object's metadata alone is the same as within the object. It is not where annotations
// stand for fields that the version of the URL does not have.
func (e *encoding) metadataIsWhole() bool {
	return e.version.ToHub == nil && len(e.row.FieldAnnotations) == 0
}

// bareMeta is the metadata of a hub object without the annotations that stand for fields.
func (e *encoding) bareMeta(hub registry.Object) metav1.Object {
	whole, ok := objectMeta(hub).(*metav1.ObjectMeta)
	if !ok {
		return hub
	}
	bare := *whole
	bare.Annotations = maps.Clone(whole.Annotations)
	for _, key := range e.row.FieldAnnotations {
		delete(bare.Annotations, key)
	}
	return &bare
}

// partialHead is a PartialObjectMetadata in JSON up to its metadata.
func (f Form) partialHead() []byte {
	return fmt.Appendf(nil, `{"kind":"PartialObjectMetadata","apiVersion":%q,"metadata":`, metaGroup(f))
}

func partialType(f Form, list string) metav1.TypeMeta {
	return metav1.TypeMeta{Kind: "PartialObjectMetadata" + list, APIVersion: metaGroup(f)}
}

// partialOf is the metadata of a hub object, or of its Scale, alone.
func (e *encoding) partialOf(f Form, hub registry.Object) *metav1.PartialObjectMetadata {
	p := &metav1.PartialObjectMetadata{TypeMeta: partialType(f, "")}
	j, err := json.Marshal(struct {
		Metadata metav1.Object `json:"metadata"`
	}{e.bareMeta(hub)})
	if err == nil {
		json.Unmarshal(j, p)
	}
	return p
}

// objectMeta is the ObjectMeta inside an object of k8s.io/api.
func objectMeta(o registry.Object) metav1.Object {
	if a, ok := o.(metav1.ObjectMetaAccessor); ok {
		return a.GetObjectMeta()
	}
	return o
}

// writeShaped answers with one object as Table or PartialObjectMetadata.
func (c *call) writeShaped(code int, o registry.Object) error {
	if c.form.Shape == Metadata {
		if c.form.OfList {
			return notAcceptable("you requested PartialObjectMetadataList, but the requested object is not a list (*%s.%s)", internalGroup(c.row.Group), c.row.Kind)
		}
		p := c.encoding().partialOf(c.form, convertToHub(c.version, o))
		writeObject(c.w, c.r, code, c.form, p.TypeMeta, p)
		return nil
	}
	t, err := c.newTableWriter()
	if err != nil {
		return err
	}
	body, err := t.table(metav1.ListMeta{ResourceVersion: o.GetResourceVersion()}, func(out io.Writer) error { return t.writeRowOf(out, o) })
	if err != nil {
		return err
	}
	writeBody(c.w, c.r, code, c.form, body)
	return nil
}

// writeMetadataList answers with a PartialObjectMetadataList.
func (c *call) writeMetadataList(meta metav1.ListMeta, l *store.List) error {
	e := c.encoding()
	if !c.form.OfList {
		return notAcceptable("you requested PartialObjectMetadata, but the requested object is a list (*%s.%sList)", internalGroup(c.row.Group), c.row.Kind)
	}
	typ := partialType(c.form, "List")
	if c.form.Format == Protobuf {
		return c.writeProtoMetadataList(typ, meta, l)
	}
	itemHead := c.form.partialHead()
	return c.stream(func(out io.Writer) error {
		head := listHead(typ.Kind, typ.APIVersion, meta)
		if !slices.ContainsFunc(l.Blocks, func(b store.Block) bool { return len(b.Entries) > 0 }) {
			out.Write(append(bytes.TrimSuffix(head, []byte("[")), "null}"...)) // here alone an empty list is none
			return nil
		}
		out.Write(head)
		first := true
		for _, b := range l.Blocks {
			for _, entry := range b.Entries {
				metadata, err := e.metadata(entry)
				if err != nil {
					return err
				}
				if !first {
					io.WriteString(out, ",")
				}
				first = false
				out.Write(itemHead)
				out.Write(metadata)
				io.WriteString(out, "}")
			}
		}
		io.WriteString(out, "]}")
		return nil
	})
}

func (c *call) writeProtoMetadataList(typ metav1.TypeMeta, meta metav1.ListMeta, l *store.List) error {
	m, err := meta.Marshal()
	if err != nil {
		return err
	}
	body := appendString(nil, tagField1, string(m))
	for _, b := range l.Blocks {
		for _, entry := range b.Entries {
			item, err := c.encoding().partialProto(entry)
			if err != nil {
				return err
			}
			body = append(binary.AppendUvarint(append(body, tagField2), uint64(len(item))), item...)
		}
	}
	writeBody(c.w, c.r, http.StatusOK, c.form, bytes.Join([][]byte{envelopeHead(typ, len(body)), body, []byte(envelopeTail)}, nil))
	return nil
}

// partialProto is an object's metadata as a protobuf PartialObjectMetadata: field 1 of both messages is the metadata.
func (e *encoding) partialProto(entry *store.Entry) ([]byte, error) {
	if !e.metadataIsWhole() {
		hub, err := entry.Object()
		if err != nil {
			return nil, err
		}
		return marshalProto(e.partialOf(Form{}, hub))
	}
	p, err := e.proto(entry)
	if err != nil {
		return nil, err
	}
	if len(p) == 0 || p[0] != tagField1 {
		return nil, nil
	}
	n, size := binary.Uvarint(p[1:])
	return p[:1+size+int(n)], nil
}

// metadataEvent is the object of a watch event as PartialObjectMetadata, encoded.
func (f *frameWriter) metadataEvent(e store.Event, form Form) ([]byte, error) {
	typ := partialType(form, "")
	if e.Entry == nil {
		p := f.partialOf(form, convertToHub(f.version, f.bookmark(e).(registry.Object)))
		if form.Format == Protobuf {
			return envelope(typ, p)
		}
		return json.Marshal(p)
	}
	if form.Format == Protobuf {
		body, err := f.partialProto(e.Entry)
		return bytes.Join([][]byte{envelopeHead(typ, len(body)), body, []byte(envelopeTail)}, nil), err
	}
	return f.partial(form, e.Entry)
}

// envelope is a message in its protobuf envelope.
func envelope(typ metav1.TypeMeta, v any) ([]byte, error) {
	body, err := marshalProto(v)
	return bytes.Join([][]byte{envelopeHead(typ, len(body)), body, []byte(envelopeTail)}, nil), err
}
