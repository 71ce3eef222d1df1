package parts

import (
	"io"
	"time"
)

// Late hands on what a body brings, piece by piece and in order, each when hold, which is told when the piece came, returns. What
// it returns ends when the body does, or when hold says no, and calls ended then.
func Late(body io.Reader, hold func(at time.Time) bool, ended func()) *io.PipeReader {
	type piece struct {
		at   time.Time
		data []byte
	}
	out, in := io.Pipe()
	pieces := make(chan piece, 100_000) // more than comes meanwhile
	go func() {
		defer close(pieces)
		for {
			buf := make([]byte, 32<<10)
			n, err := body.Read(buf)
			if n > 0 {
				pieces <- piece{time.Now(), buf[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	go func() {
		defer in.Close()
		defer ended()
		for p := range pieces {
			if !hold(p.at) {
				return
			}
			if _, err := in.Write(p.data); err != nil {
				return
			}
		}
	}()
	return out
}
