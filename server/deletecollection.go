package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/registry/store"
)

// deletecollection removes every object that a list would show, and answers with them as a list.
func (c *call) deletecollection() error {
	// 1. How is the answer wanted, what is to go, and how?
	if err := c.negotiateForm(); err != nil {
		return err
	}
	lo, selection, err := c.collection(c.r.URL.Query())
	if err != nil {
		return err
	}
	o, err := c.deleteOptions()
	if err != nil {
		return err
	}
	// 2. List, then remove; what has gone in between does not matter.
	l, err := c.store().List(c.ctx(), store.ListOptions{Selection: selection, ResourceVersion: lo.ResourceVersion,
		Match: lo.ResourceVersionMatch, Limit: lo.Limit, Continue: lo.Continue})
	if err != nil {
		return err
	}
	if err := c.removeAll(l.Blocks, o); err != nil {
		return err
	}
	// 3. Answer with the list as it was.
	return c.writeList(l)
}

// removers is how many objects of a collection are removed at a time. Each removal waits for the disk for most of its time,
// and all that wait together are written together.
const removers = 16

// removeAll removes the objects of a list. After an error no more are begun, and what was begun is seen through: as objects are
// begun in the list's order, the first of it that failed is known, and its error is the one that is told.
func (c *call) removeAll(blocks []store.Block, o *metav1.DeleteOptions) error {
	var keys []store.Key
	for _, b := range blocks {
		for _, entry := range b.Entries {
			keys = append(keys, entry.Key)
		}
	}
	n := min(removers, len(keys))
	forks, failures, panics := make([]*call, n), make([]failedRemoval, n), make([]error, n)
	var next atomic.Int64
	var failed atomic.Bool
	var running sync.WaitGroup
	for w := range n {
		forks[w] = c.fork()
		running.Go(func() {
			defer func() {
				if what := recover(); what != nil {
					panics[w] = fmt.Errorf("%v\n%s", what, debug.Stack())
					failed.Store(true)
				}
			}()
			for !failed.Load() {
				i := int(next.Add(1)) - 1
				if i >= len(keys) {
					return
				}
				if _, err := forks[w].remove(forks[w].ctx(), keys[i], o); err != nil && !apierrors.IsNotFound(err) {
					failures[w] = failedRemoval{i, err}
					failed.Store(true)
				}
			}
		})
	}
	running.Wait()
	for w, fork := range forks {
		c.join(fork)
		if panics[w] != nil {
			panic(panics[w]) // on the request's own goroutine, where it is answered
		}
	}
	return firstOf(failures)
}

// failedRemoval is where in the list an object stands that could not be removed, and why.
type failedRemoval struct {
	at  int
	err error
}

// firstOf is the error of the first in the list; nil if nothing failed.
func firstOf(failures []failedRemoval) error {
	var first failedRemoval
	for _, f := range failures {
		if f.err != nil && (first.err == nil || f.at < first.at) {
			first = f
		}
	}
	return first.err
}

// fork is the call for one of several goroutines that serve it together: what it says on the way is its own until it joins.
func (c *call) fork() *call {
	one, a := *c, askedOf(c.r)
	own := &asked{request: a.request, about: a.about, received: a.received, record: a.record}
	if a.annotations != nil {
		own.annotations, own.took = map[string]string{}, map[string]time.Duration{}
	}
	one.w, one.warnings = aside{http.Header{}}, warnings{}
	one.r = c.r.WithContext(context.WithValue(c.ctx(), requestKey{}, own))
	return &one
}

// join adds to the answer and to the audit log what a fork has to say.
func (c *call) join(one *call) {
	for _, text := range one.warnings.texts {
		c.warn(text)
	}
	a, own := askedOf(c.r), askedOf(one.r)
	for key, value := range own.annotations {
		a.annotate(key, value)
	}
	for part, took := range own.took {
		a.took[part] = max(a.took[part], took) // they ran at the same time
	}
}

// aside takes the headers of an answer that is never sent.
type aside struct{ header http.Header }

func (a aside) Header() http.Header         { return a.header }
func (a aside) Write(b []byte) (int, error) { return 0, io.ErrClosedPipe }
func (a aside) WriteHeader(int)             {}
