package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	terminal "golang.org/x/term"
)

// screen is what people see of a cluster: when it has started, and whenever they ask.
type screen struct {
	Title string `json:"title"`
	Lines []line `json:"parts"`
}

// line is one part of a cluster.
type line struct {
	Part  string `json:"part"`
	Where string `json:"where,omitempty"` // an address, or names
	State string `json:"state,omitempty"` // for people
	Bad   bool   `json:"bad,omitempty"`   // something is not as it should be
}

// healthy reports that all is as it should be.
func (s *screen) healthy() bool {
	for _, l := range s.Lines {
		if l.Bad {
			return false
		}
	}
	return true
}

func (s *screen) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", s.Title)
	columns := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	for _, l := range s.Lines {
		fmt.Fprintf(columns, "  %s\t%s\t%s\n", l.Part, l.Where, l.State)
	}
	if err := columns.Flush(); err != nil {
		return err
	}
	for text := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(text, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// progress says on a terminal what is waited for, once that takes long enough for somebody to wonder. Elsewhere it is
// silent.
type progress struct {
	to      *os.File // nil says nothing
	waiting chan string
	ended   chan struct{}
}

// wondering is how long nobody asks.
const wondering = 400 * time.Millisecond

func newProgress(to io.Writer) *progress {
	p := &progress{waiting: make(chan string), ended: make(chan struct{})}
	if f, ok := to.(*os.File); ok && terminal.IsTerminal(int(f.Fd())) {
		p.to = f
	}
	go p.run()
	return p
}

// waitsFor is what is waited for from now on.
func (p *progress) waitsFor(what string) { p.waiting <- what }

// end leaves the line as it was.
func (p *progress) end() {
	close(p.waiting)
	<-p.ended
}

func (p *progress) run() {
	defer close(p.ended)
	tick := time.NewTicker(wondering)
	defer tick.Stop()
	tick.Stop() // it ticks while something is waited for that people see
	what, since, shown := "", time.Now(), false
	for {
		select {
		case next, more := <-p.waiting:
			if shown {
				fmt.Fprint(p.to, "\r\x1b[K")
			}
			if !more {
				return
			}
			what, since, shown = next, time.Now(), false
			if tick.Stop(); what != "" && p.to != nil {
				tick.Reset(wondering)
			}
		case now := <-tick.C:
			if took := now.Sub(since); p.to != nil && what != "" && took >= wondering {
				fmt.Fprintf(p.to, "\r\x1b[K  waiting for %s, %.0f s", what, took.Seconds())
				shown = true
			}
		}
	}
}
