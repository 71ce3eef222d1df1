package shell

import (
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// Files are a tree of files in memory: a container's own, or those of a volume that several containers have.
type Files struct {
	mu    sync.Mutex // guards the fields below and what the files hold
	nodes map[string]*node
}

type node struct {
	dir  bool
	data []byte
}

// mostBytes is how large a file may get: what is simulated must not take the machine's memory.
const mostBytes = 1 << 20

// NewFiles makes a tree with some folders.
func NewFiles(folders ...string) *Files {
	f := &Files{nodes: map[string]*node{"/": {dir: true}}}
	for _, folder := range folders {
		f.MakeFolder(folder)
	}
	return f
}

// MakeFolder makes a folder, with those above it.
func (f *Files) MakeFolder(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name = path.Join("/", name); f.nodes[name] == nil; name = path.Dir(name) {
		f.nodes[name] = &node{dir: true}
	}
}

// Read is what a file holds; nil if there is none.
func (f *Files) Read(name string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.nodes[path.Join("/", name)]; n != nil {
		return slices.Clone(n.data)
	}
	return nil
}

// View is the files of one container: a tree of its own, and others bound into it.
type View struct {
	Root  *Files
	Binds []Bind
}

// Bind is a folder of a tree that is seen at another place.
type Bind struct {
	At       string
	Files    *Files
	From     string
	ReadOnly bool
}

// resolve is the tree that a path is in, and where it is there.
func (v *View) resolve(name string) (f *Files, p string, readOnly bool) {
	f, p = v.Root, name
	longest := -1
	for _, b := range v.Binds {
		if at := path.Clean(b.At); (name == at || strings.HasPrefix(name, strings.TrimSuffix(at, "/")+"/")) && len(at) > longest {
			f, p, readOnly, longest = b.Files, path.Join("/", b.From, name[len(at):]), b.ReadOnly, len(at)
		}
	}
	return f, p, readOnly
}

// Open opens a file as os.OpenFile does.
func (v *View) Open(name string, flag int) (io.ReadWriteCloser, error) {
	if name == "/dev/null" {
		return &stream{io.Discard}, nil
	}
	f, p, readOnly := v.resolve(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[p]
	writes := flag&(os.O_WRONLY|os.O_RDWR) != 0
	switch parent := f.nodes[path.Dir(p)]; {
	case n == nil && flag&os.O_CREATE == 0, n == nil && (parent == nil || !parent.dir):
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case writes && readOnly:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	case n != nil && n.dir:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	case n == nil:
		n = &node{}
		f.nodes[p] = n
	case flag&os.O_TRUNC != 0:
		n.data = nil
	}
	return &handle{f: f, n: n, end: flag&os.O_APPEND != 0}, nil
}

// Stat is what is at a path.
func (v *View) Stat(name string) (fs.FileInfo, error) {
	f, p, _ := v.resolve(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.nodes[p]; n != nil {
		return info{path.Base(name), n.dir, int64(len(n.data))}, nil
	}
	return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
}

// ReadDir is what is in a folder, by name.
func (v *View) ReadDir(name string) ([]fs.DirEntry, error) {
	if _, err := v.Stat(name); err != nil {
		return nil, err
	}
	f, p, _ := v.resolve(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []fs.DirEntry
	for _, q := range slices.Sorted(maps.Keys(f.nodes)) {
		if q != "/" && path.Dir(q) == p {
			list = append(list, fs.FileInfoToDirEntry(info{path.Base(q), f.nodes[q].dir, int64(len(f.nodes[q].data))}))
		}
	}
	return list, nil
}

// remove takes a file, or a folder with all that is in it.
func (v *View) remove(name string) error {
	f, p, readOnly := v.resolve(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.nodes[p] == nil:
		return fs.ErrNotExist
	case readOnly || p == "/":
		return fs.ErrPermission
	}
	maps.DeleteFunc(f.nodes, func(q string, _ *node) bool { return q == p || strings.HasPrefix(q, p+"/") })
	return nil
}

// handle is an open file.
type handle struct {
	f   *Files
	n   *node
	at  int
	end bool // writes go to its end
}

func (h *handle) Read(b []byte) (int, error) {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	if h.at >= len(h.n.data) {
		return 0, io.EOF
	}
	n := copy(b, h.n.data[h.at:])
	h.at += n
	return n, nil
}

func (h *handle) Write(b []byte) (int, error) {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	if h.end {
		h.at = len(h.n.data)
	}
	if h.at+len(b) > mostBytes {
		return 0, &fs.PathError{Op: "write", Err: fs.ErrInvalid}
	}
	h.n.data = append(h.n.data[:min(h.at, len(h.n.data))], b...)
	h.at += len(b)
	return len(b), nil
}

func (h *handle) Close() error { return nil }

// stream is a file that is no file: what is written goes elsewhere, and there is nothing to read.
type stream struct{ io.Writer }

func (*stream) Read([]byte) (int, error) { return 0, io.EOF }
func (*stream) Close() error             { return nil }

type info struct {
	name string
	dir  bool
	size int64
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) IsDir() bool        { return i.dir }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o777
	}
	return 0o666
}
