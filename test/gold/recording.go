package gold

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// File is a recorded file: requests to be sent one after the other, and the answers wanted.
type File struct {
	Header  Header
	Entries []*Entry
}

// Header is the first line of a recorded file.
type Header struct {
	Suite     string                     `json:"suite"`
	File      string                     `json:"file"`
	Exclusive bool                       `json:"exclusive,omitempty"` // runs alone, before the others
	NoNS      bool                       `json:"noNamespace,omitempty"`
	Seeds     map[string]json.RawMessage `json:"seeds,omitempty"`
	Cleanup   []string                   `json:"cleanup,omitempty"` // collection paths; all objects in them (namespaced) or labelled gold={ns} (cluster-scoped) are removed
}

// Entry is a further line: a request, and its answer unless it is a step that is not scored.
type Entry struct {
	Case *Case   `json:"case"`
	Resp *Answer `json:"resp,omitempty"`
}

// Case is one request. {ns} and captured variables are replaced in path, headers and body.
type Case struct {
	ID       string            `json:"id"`
	Method   string            `json:"method"`
	Path     string            `json:"path"`
	User     string            `json:"user,omitempty"` // admin (default), anonymous, or a user of the token file
	Headers  map[string]string `json:"headers,omitempty"`
	Body     json.RawMessage   `json:"body,omitempty"`
	Seed     string            `json:"seed,omitempty"` // body = seed + ops
	Ops      [][]any           `json:"ops,omitempty"`  // ["set","/a/0/b",value] ["del","/a/b"] ["dup","/list"] ["rep","/a","x",300]
	Raw      *string           `json:"raw,omitempty"`  // body as text; {pad} is replaced by Pad bytes
	Pad      int               `json:"pad,omitempty"`
	From     string            `json:"from,omitempty"` // body = bytes that an earlier case saved
	Save     string            `json:"save,omitempty"`
	Capture  map[string]string `json:"capture,omitempty"` // variable -> dotted path in the answer
	Setup    bool              `json:"setup,omitempty"`   // sent, not scored
	SettleMs int               `json:"settleMs,omitempty"`
	Watch    bool              `json:"watch,omitempty"`
	Expand   string            `json:"expand,omitempty"` // score the answer in parts
	Norm     string            `json:"norm,omitempty"`
}

// Answer is a normalized answer.
type Answer struct {
	Status   int            `json:"status"`
	CT       string         `json:"ct,omitempty"`
	Warnings []string       `json:"warnings,omitempty"`
	Headers  map[string]any `json:"headers,omitempty"`
	Body     any            `json:"body,omitempty"`
	Text     string         `json:"text,omitempty"`
	Parts    map[string]any `json:"parts,omitempty"`
	Err      string         `json:"err,omitempty"`
}

// Filter says which files and cases are wanted; the zero value wants all.
type Filter struct {
	Suites []string
	File   string // a part of SUITE/FILE
	Case   string // a part of the case's id
}

func (f Filter) file(h Header) bool {
	return (len(f.Suites) == 0 || slices.Contains(f.Suites, h.Suite)) && strings.Contains(h.Suite+"/"+h.File, f.File)
}

// Load reads the recorded files below the directories. Parts of one file in several directories become one.
func Load(dirs []string, want Filter) ([]*File, error) {
	var files []*File
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".jsonl.gz") {
				return err
			}
			file, err := read(path)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			if want.file(file.Header) {
				files = append(files, file)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no recorded files of that name in %v", dirs)
	}
	return merge(files), nil
}

func read(path string) (*File, error) {
	raw, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	unzipped, err := gzip.NewReader(raw)
	if err != nil {
		return nil, err
	}
	lines, file := bufio.NewReaderSize(unzipped, 1<<20), &File{}
	for n := 0; ; n++ {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			if err := file.add(n, line); err != nil {
				return nil, fmt.Errorf("line %d: %w", n+1, err)
			}
		}
		if errors.Is(err, io.EOF) {
			return file, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (f *File) add(n int, line []byte) error {
	if n == 0 {
		return decode(line, &f.Header)
	}
	e := &Entry{}
	f.Entries = append(f.Entries, e)
	return decode(line, e)
}

// merge joins parts of a file, so that steps which both contain are sent once and in their place.
func merge(files []*File) []*File {
	var merged []*File
	first := map[string]*File{}
	for _, file := range files {
		name := file.Header.Suite + "/" + file.Header.File
		if into := first[name]; into != nil {
			into.interleave(file)
			continue
		}
		first[name] = file
		merged = append(merged, file)
	}
	return merged
}

func (f *File) interleave(other *File) {
	at := map[string]int{}
	for i, e := range other.Entries {
		at[e.Case.ID] = i
	}
	var all []*Entry
	next := 0
	for _, e := range f.Entries {
		if i, both := at[e.Case.ID]; both && i >= next {
			all = append(all, other.Entries[next:i]...)
			if e.Resp == nil {
				e = other.Entries[i]
			}
			next = i + 1
		}
		all = append(all, e)
	}
	f.Entries = append(all, other.Entries[next:]...)
}

// decode reads JSON and keeps numbers as they are written.
func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return d.Decode(v)
}

// encode is compact JSON without HTML's escapes.
func encode(v any) []byte {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Append(nil, err)
	}
	return bytes.TrimRight(buf.Bytes(), "\n")
}
