package auth

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// File is what a file says today, as a T. It is read at start, and again while the server runs if a PKI watches it (see
// PKI.Watch). What cannot be read or understood leaves what was there before.
type File[T any] struct {
	path    string
	parse   func(path string, data []byte) (T, error)
	retire  func(T)
	current atomic.Pointer[content[T]]
}

type content[T any] struct {
	sum    [sha256.Size]byte // of the file
	parsed T
}

// OpenFile reads the file for the first time. parse makes a T of its content; ConfigKind.Parse is such a function, and
// whoever needs something ready to use makes it there, so that what cannot be used is never taken into use.
func OpenFile[T any](path string, parse func(path string, data []byte) (T, error)) (*File[T], error) {
	f := &File[T]{path: path, parse: parse}
	_, err := f.reload()
	return f, err
}

// OnReplace sets what is done with a T once a newer one is in use. Call it before the file is watched.
func (f *File[T]) OnReplace(retire func(old T)) { f.retire = retire }

// Get is the present T. Callers do not change it.
func (f *File[T]) Get() T { return f.current.Load().parsed }

func (f *File[T]) reload() (changed bool, err error) {
	data, err := os.ReadFile(f.path)
	if err != nil {
		return false, err
	}
	old := f.current.Load()
	if old != nil && old.sum == sha256.Sum256(data) {
		return false, nil
	}
	parsed, err := f.parse(f.path, data)
	if err != nil {
		return false, err
	}
	f.current.Store(&content[T]{sha256.Sum256(data), parsed})
	if old != nil && f.retire != nil {
		f.retire(old.parsed)
	}
	return true, nil
}

// name is how the log calls the file.
func (f *File[T]) name() string { return f.path }

// watchedFiles are read again when they have changed.
type watchedFiles struct {
	log   *slog.Logger
	files []reloader
	wrong map[reloader]string // what was last said of a file that is not taken into use
}

// reloader is a file, or several that belong together, that may change.
type reloader interface {
	name() string
	// reload takes what has changed into use; an error leaves what was in use before.
	reload() (changed bool, err error)
}

// refresh reads all files again. A broken one does not keep others from being read, and is complained of once.
func (w *watchedFiles) refresh() (changed bool) {
	for _, file := range w.files {
		one, err := file.reload()
		changed = changed || one
		switch {
		case err != nil && w.wrong[file] != err.Error():
			w.wrong[file] = err.Error()
			w.log.Error("a changed file is not taken into use; what it said before holds", "file", file.name(), "err", err)
		case err == nil && (one || w.wrong[file] != ""):
			delete(w.wrong, file)
			w.log.Info("a changed file is taken into use", "file", file.name())
		}
	}
	return changed
}

// Reread takes changed files into use until ctx ends: a Certificate, a Bundle, a File. It is for processes without a PKI
// of their own.
func Reread(ctx context.Context, log *slog.Logger, files ...reloader) {
	w := watchedFiles{log: log, files: files, wrong: map[reloader]string{}}
	tick := time.NewTicker(filePeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.refresh()
		}
	}
}
