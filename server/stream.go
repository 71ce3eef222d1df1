package server

import (
	"bytes"
	"io"
	"net/http"

	"github.com/klauspost/compress/gzip"
)

// stream answers with JSON that produce writes piece by piece. A small answer gets a length, a large one goes out while
// it is made, compressed if the client takes it; YAML and indented JSON are made of the whole.
func (c *call) stream(produce func(io.Writer) error) error {
	if c.form.Format == YAML || c.form.Pretty {
		var whole bytes.Buffer
		if err := produce(&whole); err != nil {
			return err
		}
		writeBody(c.w, c.r, http.StatusOK, c.form, whole.Bytes())
		return nil
	}
	s := &streamed{c: c}
	out := c.s.chunks.to(s)
	defer out.free()
	if err := produce(out); err != nil {
		if s.begun {
			panic(http.ErrAbortHandler) // the answer cannot be taken back: end the connection
		}
		return err
	}
	if !s.begun { // it fits into one chunk
		writeBody(c.w, c.r, http.StatusOK, c.form, out.buf)
		return nil
	}
	io.WriteString(out, "\n")
	if err := out.flush(); err != nil {
		return nil // the client has gone
	}
	return s.close()
}

// streamed is the way of a large answer to the client. The first write begins the answer.
type streamed struct {
	c     *call
	begun bool
	zip   *gzip.Writer // nil if the client does not take it
}

func (s *streamed) Write(p []byte) (int, error) {
	w := s.c.w
	if !s.begun {
		s.begun = true
		w.Header().Set("Content-Type", s.c.form.Format.mediaType())
		if acceptsGzip(s.c.r) {
			compressed(w)
			s.zip, _ = gzip.NewWriterLevel(w, deflateLevel)
		}
		w.WriteHeader(http.StatusOK)
	}
	if s.zip != nil {
		return s.zip.Write(p)
	}
	return w.Write(p)
}

func (s *streamed) close() error {
	if s.zip != nil {
		s.zip.Close()
	}
	return nil
}
