package server

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/registry/store"
)

// list answers with the objects of a collection: the encoded bytes of each, one after the other, streamed.
func (c *call) list() error {
	// 1. How is the answer wanted, and what of the collection?
	if err := c.negotiateForm(); err != nil {
		return err
	}
	o, selection, err := c.collection(c.r.URL.Query())
	if err != nil {
		return err
	}
	// 2. Read a snapshot.
	l, err := c.store().List(c.ctx(), store.ListOptions{Selection: selection, ResourceVersion: o.ResourceVersion,
		Match: o.ResourceVersionMatch, Limit: o.Limit, Continue: o.Continue})
	if err != nil {
		return err
	}
	// 3. Write it.
	return c.writeList(l)
}

// collection reads from a query which objects are wanted, and as of when.
func (c *call) collection(query url.Values) (*metav1.ListOptions, store.Selection, error) {
	o, sel, err := listOptions(query)
	if err != nil {
		return nil, store.Selection{}, err
	}
	selection, err := c.selection(sel)
	return o, selection, err
}

// selection checks a request's selectors against the resource, and brings them to the row's terms.
func (c *call) selection(sel *selection) (store.Selection, error) {
	out := store.Selection{Namespace: c.Namespace, Labels: sel.labels, Fields: sel.fields}
	if !c.row.Namespaced {
		out.Namespace = ""
	}
	if sel.fields != nil && !sel.fields.Empty() {
		known, err := sel.fields.Transform(func(path, value string) (string, string, error) {
			return fieldPath(c.row, c.version, path, value)
		})
		if err != nil {
			return out, apierrors.NewBadRequest(err.Error())
		}
		out.Fields = known
		if name, ok := known.RequiresExactMatch("metadata.name"); ok {
			out.Name = name
		}
	}
	if c.Name != "" {
		if out.Name != "" && out.Name != c.Name {
			return out, badRequest("fieldSelector metadata.name doesn't match requested name")
		}
		out.Name = c.Name
		if out.Fields == nil {
			out.Fields = fields.Everything()
		}
	}
	return out, nil
}

// fieldPath is the row's name for a selectable field as a version calls it.
func fieldPath(row *registry.Resource, v *registry.Version, path, value string) (string, string, error) {
	if path == "metadata.name" || (path == "metadata.namespace" && (row.Namespaced || len(row.Fields) == 0)) {
		return path, value, nil
	}
	if own, ok := v.Fields[path]; ok {
		return own, value, nil
	}
	if v.Fields == nil {
		for _, f := range row.Fields {
			if f.Path == path {
				return path, value, nil
			}
		}
	}
	switch {
	case len(row.Fields) == 0:
		return "", "", fmt.Errorf("%q is not a known field selector: only \"metadata.name\", \"metadata.namespace\"", path)
	case row.UnknownField != "":
		return "", "", fmt.Errorf(row.UnknownField, path)
	}
	return "", "", fmt.Errorf("field label not supported: %s", path)
}

// writeList answers with a list in the form that the call negotiated.
func (c *call) writeList(l *store.List) error {
	meta := metav1.ListMeta{ResourceVersion: l.Revision.String(), Continue: l.Continue, RemainingItemCount: l.Remaining}
	switch {
	case c.form.Shape == Table:
		return c.writeTableList(meta, l)
	case c.form.Shape == Metadata:
		return c.writeMetadataList(meta, l)
	case c.form.Format == Protobuf:
		return c.writeProtoList(meta, l)
	case c.form.Format == YAML || c.form.Pretty:
		return c.writeReadableList(meta, l)
	}
	return c.writeJSONList(meta, l)
}

// listHead is a JSON list up to its first item.
func listHead(kind, apiVersion string, meta metav1.ListMeta) []byte {
	m, _ := json.Marshal(meta)
	return fmt.Appendf(nil, `{"kind":%q,"apiVersion":%q,"metadata":%s,"items":[`, kind, apiVersion, m)
}

func (c *call) writeJSONList(meta metav1.ListMeta, l *store.List) error {
	e := c.encoding()
	items := c.items()
	size := 0
	for _, b := range l.Blocks { // encode what is not encoded yet, before the answer begins
		n, err := items.prepare(b)
		if err != nil {
			return err
		}
		size += n
	}
	head := listHead(e.typ.Kind+"List", e.typ.APIVersion, meta)
	return items.write(size, head, []byte("]}\n"), []byte(","), l)
}

func (c *call) writeReadableList(meta metav1.ListMeta, l *store.List) error {
	e := c.encoding()
	var buf bytes.Buffer
	buf.Write(listHead(e.typ.Kind+"List", e.typ.APIVersion, meta))
	first := true
	for _, b := range l.Blocks {
		for _, entry := range b.Entries {
			j, err := e.json(entry)
			if err != nil {
				return err
			}
			if !first {
				buf.WriteByte(',')
			}
			first = false
			head, rest := e.item(j)
			buf.WriteString(head)
			buf.Write(rest)
		}
	}
	buf.WriteString("]}")
	writeBody(c.w, c.r, http.StatusOK, c.form, buf.Bytes())
	return nil
}

func (c *call) writeProtoList(meta metav1.ListMeta, l *store.List) error {
	e := c.encoding()
	items := c.items()
	m, err := meta.Marshal()
	if err != nil {
		return err
	}
	listMeta := appendString(nil, tagField1, string(m))
	size := len(listMeta)
	for _, b := range l.Blocks {
		n, err := items.prepare(b)
		if err != nil {
			return err
		}
		size += n
	}
	head := append(envelopeHead(metav1.TypeMeta{Kind: e.typ.Kind + "List", APIVersion: e.typ.APIVersion}, size), listMeta...)
	return items.write(size, head, []byte(envelopeTail), nil, l)
}

// A listWriter writes a list's items in one format.
type listWriter struct {
	c      *call
	format Format
	memo   int // the blocks' slot of compressed bytes
	// bytes returns an item as up to two runs of bytes.
	bytes func(*store.Entry) ([]byte, []byte, error)
}

// items writes the call's items in its format.
func (c *call) items() *listWriter {
	e := c.encoding()
	lw := &listWriter{c: c, format: c.form.Format}
	if lw.format == Protobuf {
		lw.memo = e.slot(slotProto)
		lw.bytes = func(entry *store.Entry) ([]byte, []byte, error) {
			p, err := e.proto(entry)
			head := binary.AppendUvarint(append(make([]byte, 0, 8), tagField2), uint64(len(p)))
			return head, p, err
		}
		return lw
	}
	lw.memo = e.slot(slotJSON)
	open := []byte("{")
	lw.bytes = func(entry *store.Entry) ([]byte, []byte, error) {
		j, err := e.json(entry)
		if err != nil {
			return nil, nil, err
		}
		if head, rest := e.item(j); head != "" {
			return open, rest, nil
		}
		return nil, j, nil
	}
	return lw
}

// prepare makes the items' bytes and returns their number, separators not counted.
func (lw *listWriter) prepare(b store.Block) (int, error) {
	size := 0
	for _, entry := range b.Entries {
		head, rest, err := lw.bytes(entry)
		if err != nil {
			return 0, err
		}
		size += len(head) + len(rest)
	}
	return size, nil
}

// write answers with head, the items of all blocks with sep between them, and tail; compressed if the client takes it
// and the answer is large.
func (lw *listWriter) write(size int, head, tail, sep []byte, l *store.List) error {
	w, body := lw.c.w, lw.writePlain
	w.Header().Set("Content-Type", lw.format.mediaType())
	if size >= gzipFrom && acceptsGzip(lw.c.r) {
		compressed(w)
		body = lw.writeBlocks
	}
	w.WriteHeader(http.StatusOK)
	out := lw.c.s.chunks.to(w)
	defer out.free()
	if err := body(out, head, tail, sep, l); err != nil {
		panic(http.ErrAbortHandler) // the answer cannot be taken back: end the connection
	}
	out.flush() // if it fails, the client has gone
	return nil
}

func (lw *listWriter) writePlain(out *chunks, head, tail, sep []byte, l *store.List) error {
	out.Write(head)
	first := true
	for _, b := range l.Blocks {
		for _, entry := range b.Entries {
			if !first {
				out.Write(sep)
			}
			first = false
			open, rest, err := lw.bytes(entry)
			if err != nil {
				return err
			}
			out.Write(open)
			out.Write(rest)
		}
	}
	out.Write(tail)
	return nil
}

// writeBlocks writes the answer compressed, block by block, each compressed at most once while none of its objects
// change.
func (lw *listWriter) writeBlocks(out *chunks, head, tail, sep []byte, l *store.List) error {
	z := newGzipStream(out)
	pool := &lw.c.s.deflaters
	z.add(pool.deflate(head))
	comma := pool.deflate(sep)
	for i, b := range l.Blocks {
		if i > 0 && len(sep) > 0 {
			z.add(comma)
		}
		packed, err := b.Memo(lw.memo, func(entries []*store.Entry) ([]byte, error) { return lw.pack(entries, sep) })
		if err != nil {
			return err
		}
		z.add(unpackDeflated(packed))
	}
	z.add(pool.deflate(tail))
	z.close()
	return nil
}

// pack compresses a block's items. What the gzip trailer has to know of the text stands in front.
func (lw *listWriter) pack(entries []*store.Entry, sep []byte) ([]byte, error) {
	parts := make([][]byte, 0, 3*len(entries))
	for i, entry := range entries {
		if i > 0 {
			parts = append(parts, sep)
		}
		open, rest, err := lw.bytes(entry)
		if err != nil {
			return nil, err
		}
		parts = append(parts, open, rest)
	}
	d := lw.c.s.deflaters.deflate(parts...)
	packed := binary.LittleEndian.AppendUint32(make([]byte, 0, 8+len(d.bytes)), d.crc)
	packed = binary.LittleEndian.AppendUint32(packed, uint32(d.size))
	return append(packed, d.bytes...), nil
}

func unpackDeflated(packed []byte) deflated {
	return deflated{crc: binary.LittleEndian.Uint32(packed), size: int(binary.LittleEndian.Uint32(packed[4:])), bytes: packed[8:]}
}
