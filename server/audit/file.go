package audit

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"

	"gopkg.in/natefinch/lumberjack.v2"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// file writes a line an event.
type file struct {
	mu   sync.Mutex // guards the fields below
	out  io.WriteCloser
	line []byte

	head []byte // of every line
}

// openFile opens the file, or standard output. Nobody but its owner may read a new one: it holds what users have sent.
func openFile(c *LogConfig) (*file, error) {
	f := &file{}
	if c.Format == "json" {
		f.head = []byte(`{"kind":"Event","apiVersion":"` + auditv1.SchemeGroupVersion.String() + `",`)
	}
	if c.Path == "-" {
		f.out = standardOutput{os.Stdout}
		return f, nil
	}
	if err := os.MkdirAll(filepath.Dir(c.Path), 0o700); err != nil {
		return nil, err
	}
	plain, err := os.OpenFile(c.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil || c.MaxSize == 0 {
		f.out = plain
		return f, err
	}
	f.out = &lumberjack.Logger{Filename: c.Path, MaxAge: c.MaxAge, MaxBackups: c.MaxBackups, MaxSize: c.MaxSize, Compress: c.Compress}
	return f, plain.Close()
}

// standardOutput outlives the log.
type standardOutput struct{ io.Writer }

func (standardOutput) Close() error { return nil }

// send writes each line at once: a line of one event never ends up within another's.
func (f *file) send(_ context.Context, events [][]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range events {
		if f.head != nil {
			e = e[1:] // the head has the brace
		}
		f.line = append(append(append(f.line[:0], f.head...), e...), '\n')
		if _, err := f.out.Write(f.line); err != nil {
			return err
		}
	}
	if cap(f.line) > largeLine {
		f.line = nil
	}
	return nil
}

// largeLine is the size of a line, in bytes, that is not kept for the next one.
const largeLine = 64 << 10

func (f *file) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.out.Close()
}
