package server

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
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
	encoding
	form    Form
	include metav1.IncludeObjectPolicy
	columns []metav1.TableColumnDefinition
	cells   func(registry.Object) []any
	now     time.Time
	begun   bool // a watch sends the column definitions with its first event only
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
	t.columns, t.cells = c.row.Columns, c.row.Cells
	if c.version.Cells != nil {
		t.columns, t.cells = c.version.Columns, c.version.Cells
	}
	if t.cells == nil {
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
func (t *tableWriter) fillGaps(buf *bytes.Buffer, row []byte) {
	for {
		i := bytes.IndexByte(row, 0)
		if i < 0 {
			buf.Write(row)
			return
		}
		buf.Write(row[:i])
		at := time.Unix(int64(binary.BigEndian.Uint64(row[i+1:])), 0)
		buf.WriteString(duration.HumanDuration(t.now.Sub(at)))
		row = row[i+gapLen:]
	}
}

// tableRow is a row with its object, both encoded.
type tableRow struct{ cells, object []byte }

// rowOfEntry is the row of a stored object.
func (t *tableWriter) rowOfEntry(entry *store.Entry) (tableRow, error) {
	cells, err := t.row(entry)
	if err != nil {
		return tableRow{}, err
	}
	r := tableRow{cells: cells}
	switch t.include {
	case metav1.IncludeMetadata:
		r.object, err = t.partial(t.form, entry)
	case metav1.IncludeObject:
		r.object, err = t.json(entry)
	}
	return r, err
}

// rowOf is the row of an object in the version of the URL.
func (t *tableWriter) rowOf(o registry.Object) (tableRow, error) {
	hub := o
	if t.version.ToHub != nil {
		hub = t.version.ToHub(o)
	}
	cells, err := t.render(hub)
	if err != nil {
		return tableRow{}, err
	}
	r := tableRow{cells: cells}
	switch t.include {
	case metav1.IncludeMetadata:
		r.object, err = json.Marshal(partialOf(t.form, o))
	case metav1.IncludeObject:
		r.object, err = json.Marshal(o)
	}
	return r, err
}

// fill writes a complete row.
func (t *tableWriter) fill(buf *bytes.Buffer, r tableRow) {
	t.fillGaps(buf, r.cells)
	buf.WriteString(`,"object":`)
	if r.object == nil {
		buf.WriteString("null")
	} else {
		buf.Write(r.object)
	}
	buf.WriteByte('}')
}

// table writes a table around rows.
func (t *tableWriter) table(meta metav1.ListMeta, rows func(*bytes.Buffer)) []byte {
	var buf bytes.Buffer
	t.head(&buf, meta)
	buf.WriteByte('[')
	rows(&buf)
	buf.WriteString("]}")
	return buf.Bytes()
}

func (t *tableWriter) head(buf *bytes.Buffer, meta metav1.ListMeta) {
	m, _ := json.Marshal(meta)
	columns := []byte("null")
	if !t.begun {
		columns, _ = json.Marshal(t.columns)
	}
	fmt.Fprintf(buf, `{"kind":"Table","apiVersion":%q,"metadata":%s,"columnDefinitions":%s,"rows":`, metaGroup(t.form), m, columns)
}

// writeTableList answers with a list as a table.
func (c *call) writeTableList(meta metav1.ListMeta, l *store.List) error {
	t, err := c.newTableWriter()
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	t.head(&buf, meta)
	if c.row.Cells == nil && len(l.Blocks) == 0 {
		// Kinds without columns of their own have no rows where others have an empty list of them.
		buf.WriteString("null}")
		writeBody(c.w, c.r, http.StatusOK, c.form, buf.Bytes())
		return nil
	}
	buf.WriteByte('[')
	first := true
	for _, b := range l.Blocks {
		for _, entry := range b.Entries {
			r, err := t.rowOfEntry(entry)
			if err != nil {
				return err
			}
			if !first {
				buf.WriteByte(',')
			}
			first = false
			t.fill(&buf, r)
		}
	}
	buf.WriteString("]}")
	writeBody(c.w, c.r, http.StatusOK, c.form, buf.Bytes())
	return nil
}

// event is the object of a watch event as a table of one row; a bookmark's has an empty row with its object.
func (t *tableWriter) event(e store.Event) ([]byte, error) {
	t.now = time.Now()
	meta := metav1.ListMeta{ResourceVersion: e.Revision.String()}
	var r tableRow
	var err error
	if e.Entry == nil {
		f := &frameWriter{encoding: t.encoding, form: t.form}
		o := f.bookmark(e).(registry.Object)
		r, err = t.rowOf(o)
	} else {
		r, err = t.rowOfEntry(e.Entry)
		meta.ResourceVersion = e.Entry.Revision.String()
	}
	if err != nil {
		return nil, err
	}
	body := t.table(meta, func(buf *bytes.Buffer) { t.fill(buf, r) })
	t.begun = true
	return body, nil
}
