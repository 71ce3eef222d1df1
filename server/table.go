package server

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/registry/store"
)

// A tableWriter writes objects as rows of a meta.k8s.io Table.
//
// A row's JSON is made once for a revision of an object and kept with it. What changes with the clock, an age, is a
// gap in those bytes: a zero byte, which JSON never contains, and the moment in seconds since 1970; fill puts the age
// of now in its place.
type tableWriter struct {
	*encoding
	form    Form
	include metav1.IncludeObjectPolicy
	columns []metav1.TableColumnDefinition
	cells   func(registry.Object) []any
	now     time.Time
	begun   bool // a watch sends the column definitions with its first event only

	partialHead []byte // a PartialObjectMetadata up to its metadata
}

// newTableWriter reads the request's table options.
func (c *call) newTableWriter() (*tableWriter, error) {
	o, err := readOptions(c.r.URL.Query(), metav1.Convert_url_Values_To_v1_TableOptions)
	if err != nil {
		return nil, err
	}
	switch o.IncludeObject {
	case "":
		o.IncludeObject = metav1.IncludeMetadata
	case metav1.IncludeNone, metav1.IncludeMetadata, metav1.IncludeObject:
	default:
		return nil, badRequest("Unable to convert to Table as requested: %v", field.Invalid(field.NewPath("includeObject"),
			string(o.IncludeObject), "must be 'Metadata', 'Object', 'None', or empty"))
	}
	t := &tableWriter{encoding: c.encoding(), form: c.form, include: o.IncludeObject, now: c.now}
	t.partialHead = c.form.partialHead()
	t.columns, t.cells = c.row.Columns, c.row.Cells
	if c.version.Cells != nil {
		t.columns, t.cells = c.version.Columns, c.version.Cells
	}
	switch {
	case c.sub != nil && c.sub.Scale != nil:
		t.columns, t.cells = registry.ScaleTable()
	case t.cells == nil:
		t.columns, t.cells = registry.PlainTable()
	}
	return t, nil
}

// gapLen is the length of a gap in bytes: the zero byte and the moment.
const gapLen = 9

// row is the entry's row up to its object, with gaps.
func (t *tableWriter) row(entry *store.Entry) ([]byte, error) {
	return entry.Memo(t.slot(slotRow), func(entry *store.Entry) ([]byte, error) {
		hub, err := entry.Object()
		if err != nil {
			return nil, err
		}
		return t.render(hub)
	})
}

// objectOf is what of the entry's object a row shows: the whole, its metadata in the form of a PartialObjectMetadata,
// or nothing. It comes in up to three runs of bytes.
func (t *tableWriter) objectOf(entry *store.Entry) (head, body, tail []byte, err error) {
	switch t.include {
	case metav1.IncludeMetadata:
		metadata, err := t.metadata(entry)
		return t.partialHead, metadata, []byte("}"), err
	case metav1.IncludeObject:
		body, err := t.json(entry)
		return nil, body, nil, err
	}
	return nil, []byte("null"), nil, nil
}

// render makes a row's cells and conditions, with gaps.
func (t *tableWriter) render(hub registry.Object) ([]byte, error) {
	var buf bytes.Buffer
	buf.WriteString(`{"cells":[`)
	for i, cell := range t.cells(hub) {
		if i > 0 {
			buf.WriteByte(',')
		}
		if age, ok := cell.(registry.Age); ok {
			writeAge(&buf, age)
			continue
		}
		j, err := json.Marshal(cell)
		if err != nil {
			return nil, err
		}
		buf.Write(j)
	}
	buf.WriteByte(']')
	if t.encoding.row.RowConditions != nil {
		if cs := t.encoding.row.RowConditions(hub); len(cs) > 0 {
			j, err := json.Marshal(cs)
			if err != nil {
				return nil, err
			}
			buf.WriteString(`,"conditions":`)
			buf.Write(j)
		}
	}
	return buf.Bytes(), nil
}

// writeAge writes a cell that shows how long ago something was.
func writeAge(buf *bytes.Buffer, a registry.Age) {
	if a.At.IsZero() {
		text := a.Unset
		if text == "" {
			text = "<unknown>"
		}
		j, _ := json.Marshal(text)
		buf.Write(j)
		return
	}
	before, _ := json.Marshal(a.Before)
	after, _ := json.Marshal(a.After)
	buf.Write(before[:len(before)-1])
	buf.Write(binary.BigEndian.AppendUint64([]byte{0}, uint64(a.At.Unix())))
	buf.Write(after[1:])
}

// fillGaps writes a row with the ages of now.
func (t *tableWriter) fillGaps(out io.Writer, row []byte) {
	for {
		i := bytes.IndexByte(row, 0)
		if i < 0 {
			out.Write(row)
			return
		}
		out.Write(row[:i])
		at := time.Unix(int64(binary.BigEndian.Uint64(row[i+1:])), 0)
		io.WriteString(out, duration.HumanDuration(t.now.Sub(at)))
		row = row[i+gapLen:]
	}
}

// writeRow writes the complete row of a stored object.
func (t *tableWriter) writeRow(out io.Writer, entry *store.Entry) error {
	cells, err := t.row(entry)
	if err != nil {
		return err
	}
	head, body, tail, err := t.objectOf(entry)
	if err != nil {
		return err
	}
	t.fillGaps(out, cells)
	io.WriteString(out, `,"object":`)
	out.Write(head)
	out.Write(body)
	out.Write(tail)
	io.WriteString(out, "}")
	return nil
}

// writeRowOf writes the complete row of an object in the version of the URL.
func (t *tableWriter) writeRowOf(out io.Writer, o registry.Object) error {
	hub := convertToHub(t.version, o)
	cells, err := t.render(hub)
	if err != nil {
		return err
	}
	var shown any
	switch t.include {
	case metav1.IncludeMetadata:
		shown = t.partialOf(t.form, hub)
	case metav1.IncludeObject:
		shown = o
	}
	object, err := json.Marshal(shown)
	if err != nil {
		return err
	}
	t.fillGaps(out, cells)
	fmt.Fprintf(out, `,"object":%s}`, object)
	return nil
}

// table is a whole table around what rows writes.
func (t *tableWriter) table(meta metav1.ListMeta, rows func(io.Writer) error) ([]byte, error) {
	var buf bytes.Buffer
	t.head(&buf, meta)
	buf.WriteByte('[')
	err := rows(&buf)
	buf.WriteString("]}")
	return buf.Bytes(), err
}

// head writes a table up to its rows.
func (t *tableWriter) head(out io.Writer, meta metav1.ListMeta) {
	m, _ := json.Marshal(meta)
	columns := []byte("null")
	if !t.begun {
		columns, _ = json.Marshal(t.columns)
	}
	fmt.Fprintf(out, `{"kind":"Table","apiVersion":%q,"metadata":%s,"columnDefinitions":%s,"rows":`, metaGroup(t.form), m, columns)
}

// writeTableList answers with a list as a table.
func (c *call) writeTableList(meta metav1.ListMeta, l *store.List) error {
	t, err := c.newTableWriter()
	if err != nil {
		return err
	}
	return c.stream(func(out io.Writer) error {
		t.head(out, meta)
		if c.row.Cells == nil && len(l.Blocks) == 0 {
			// Kinds without columns of their own have no rows where others have an empty list of them.
			io.WriteString(out, "null}")
			return nil
		}
		io.WriteString(out, "[")
		first := true
		for _, b := range l.Blocks {
			for _, entry := range b.Entries {
				if !first {
					io.WriteString(out, ",")
				}
				first = false
				if err := t.writeRow(out, entry); err != nil {
					return err
				}
			}
		}
		io.WriteString(out, "]}")
		return nil
	})
}

// event is the object of a watch event as a table of one row; a bookmark's has an empty object.
func (t *tableWriter) event(e store.Event) ([]byte, error) {
	t.now = time.Now()
	meta := metav1.ListMeta{ResourceVersion: e.Revision.String()}
	rows := func(out io.Writer) error { return t.writeRow(out, e.Entry) }
	if e.Entry == nil {
		f := &frameWriter{encoding: t.encoding, form: t.form}
		rows = func(out io.Writer) error { return t.writeRowOf(out, f.bookmark(e).(registry.Object)) }
	} else {
		meta.ResourceVersion = e.Entry.Revision.String()
	}
	body, err := t.table(meta, rows)
	t.begun = true
	return body, err
}
