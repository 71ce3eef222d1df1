package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/server/fairness"
)

// seated is a seat of a gate that has one seat.
func seated(t *testing.T, g *fairness.Gate) *seat {
	t.Helper()
	s := &seat{gate: g, about: &registry.Attributes{Verb: "create"}, work: fairness.Plain(), until: time.Now()}
	s.schema = g.Classify(s.about)
	if !s.enter(t.Context()) {
		t.Fatal("no seat")
	}
	return s
}

// slow sends its parts when it is told to.
type slow struct{ parts chan []byte }

func (s slow) Read(p []byte) (int, error) {
	part, ok := <-s.parts
	if !ok {
		return 0, io.EOF
	}
	return copy(p, part), nil
}

func (slow) Close() error { return nil }

func TestASlowBodyLendsItsSeatAndQueuesForItAgain(t *testing.T) {
	g := fairness.New(1)
	first := seated(t, g)
	sender := slow{make(chan []byte)}
	var held atomic.Int64
	body := &lentBody{ReadCloser: sender, ctx: t.Context(), seat: first, all: &held}
	read := make(chan error, 1)
	var got []byte
	go func() {
		var err error
		got, err = io.ReadAll(body)
		read <- err
	}()
	sender.parts <- []byte("slow")
	second := &seat{gate: g, about: first.about, work: first.work, schema: first.schema}
	for !second.enter(t.Context()) { // until the seat is lent
		second = &seat{gate: g, about: first.about, work: first.work, schema: first.schema}
	}
	sender.parts <- []byte("ly")
	second.leave()
	close(sender.parts)
	if err := <-read; err != nil || !bytes.Equal(got, []byte("slowly")) {
		t.Errorf("%q, %v", got, err)
	}
	if third := (&seat{gate: g, about: first.about, work: first.work, schema: first.schema}); third.enter(t.Context()) {
		t.Error("a body that is there has no seat")
	}
	first.leave()
	if held.Load() != 0 {
		t.Errorf("%d bytes are held for nobody", held.Load())
	}
}

func TestBodiesWithoutSeatsAreBounded(t *testing.T) {
	s := seated(t, fairness.New(1))
	s.away.Store(true)
	var held atomic.Int64
	held.Store(mostLent - 10)
	whole := &lentBody{ReadCloser: io.NopCloser(bytes.NewReader(slices.Repeat([]byte("x"), 100))), ctx: context.Background(), seat: s, all: &held}
	_, err := whole.Read(make([]byte, 50))
	var status *apierrors.StatusError
	if !errors.As(err, &status) || !apierrors.IsTooManyRequests(err) {
		t.Errorf("beyond the bound: %v, want 429", err)
	}
	whole.settle()
	if held.Load() != mostLent-10 {
		t.Errorf("%d bytes remain held", held.Load()-(mostLent-10))
	}
}
