package main

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
)

// gathering gives each term of each part of this process its informers.
//
// Two rules pull in two directions. What a term reads must not be older than its lease: the leader before it may have
// written until then, and informers that were there already may not have seen it. And parts of one process shall share
// their informers, which hold the whole cluster. So informers start only when everybody who is going to read them has won:
// a part that has won waits for the others, but not long. In a process of its own, or where both are elected at once,
// as at nearly every start, nobody waits. A part that comes later, because another process held its lease or because
// it has lost it and won it back, has informers of its own from then on.
type gathering struct {
	client kubernetes.Interface // of somebody who may read everything
	parts  int                  // that share

	mu   sync.Mutex
	next *gathered // is being joined; nil if nobody waits
}

// othersMayTake is how long a part waits for the others: an election that nobody contests takes milliseconds.
const othersMayTake = 100 * time.Millisecond

// gathered is one set of informers, and those who read them.
type gathered struct {
	informers.SharedInformerFactory
	life    context.Context // of the informers
	end     context.CancelFunc
	begun   chan struct{} // closed when nobody can join any more
	readers int
}

// Start lets informers run for as long as anybody reads them, whoever starts them.
func (g *gathered) Start(<-chan struct{}) { g.SharedInformerFactory.StartWithContext(g.life) }

// StartWithContext is Start.
func (g *gathered) StartWithContext(context.Context) { g.Start(nil) }

// join returns informers that have not started before; leave is called by who needs them no longer.
func (g *gathering) join(ctx context.Context) (_ informers.SharedInformerFactory, leave func()) {
	g.mu.Lock()
	mine := g.next
	if mine == nil {
		mine = &gathered{SharedInformerFactory: informers.NewSharedInformerFactoryWithOptions(g.client, 0, informers.WithTransform(trimmed)),
			begun: make(chan struct{})}
		mine.life, mine.end = context.WithCancel(context.WithoutCancel(ctx))
		g.next = mine
		late := time.AfterFunc(othersMayTake, func() { g.begin(mine) })
		context.AfterFunc(mine.life, func() { late.Stop() })
	}
	mine.readers++
	complete := mine.readers == g.parts
	g.mu.Unlock()
	if complete {
		g.begin(mine)
	}
	select {
	case <-mine.begun:
	case <-ctx.Done():
	}
	return mine, func() { g.leave(mine) }
}

func (g *gathering) begin(one *gathered) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.next == one {
		g.next = nil
		close(one.begun)
	}
}

// leave ends informers that nobody reads any more.
func (g *gathering) leave(one *gathered) {
	g.mu.Lock()
	one.readers--
	last := one.readers == 0
	if last && g.next == one {
		g.next = nil
	}
	g.mu.Unlock()
	if last {
		one.end()
		one.Shutdown()
	}
}

// trimmed drops what no part looks at and what is a third of many objects.
func trimmed(o any) (any, error) {
	if m, ok := o.(metav1.Object); ok {
		m.SetManagedFields(nil)
	}
	return o, nil
}
