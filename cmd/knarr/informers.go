package main

import (
	"context"
	"sync"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
)

// gathering gives each term of each part of this process its informers.
//
// Two rules pull in two directions. What a term reads must not be older than its lease: the leader before it may have
// written until then, and informers that were there already may not have seen it. And parts of one process shall share
// their informers, which hold the whole cluster. So informers start only when everybody who is going to read them has won:
// a part that has won waits for those that stand for their leases and know of no other leader. They win within
// milliseconds at a start, and within a retry after an outage. In a process of its own a part waits for nobody. One that
// comes later, because another process held its lease or because it ended alone, has informers of its own from then on. Who
// holds no lease takes what there is.
type gathering struct {
	client kubernetes.Interface // of somebody who may read everything
	limit  time.Duration        // of the wait for others

	mu       sync.Mutex // guards the fields below
	standing map[string]bool
	next     *gathered // is being joined; nil if nobody waits
	running  *gathered // has begun last; nil when nobody reads it any more
}

// newGathering is for parts that renew their leases, or ask for them, this often.
func newGathering(client kubernetes.Interface, retry time.Duration) *gathering {
	return &gathering{client: client, limit: 2 * retry, standing: map[string]bool{}}
}

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

// stands has others wait for a part that may win its lease at any moment.
func (g *gathering) stands(part string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.standing[part] = true
}

// passes has nobody wait for a part: another replica leads, or it does not stand any more.
func (g *gathering) passes(part string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.standing, part)
	if g.next != nil && len(g.standing) == 0 {
		g.begin(g.next)
	}
}

// join returns informers for a part that has won; they have not started before. leave is called by who needs them no longer.
func (g *gathering) join(ctx context.Context, part string) (_ informers.SharedInformerFactory, leave func()) {
	g.mu.Lock()
	if g.next == nil {
		g.next = g.open(ctx)
	}
	mine := g.next
	mine.readers++
	g.mu.Unlock()
	g.passes(part)
	return g.await(ctx, mine)
}

// attend returns informers for a reader without a lease: those that others have or are about to have, if there are any.
func (g *gathering) attend(ctx context.Context) (_ informers.SharedInformerFactory, leave func()) {
	g.mu.Lock()
	mine := g.running
	if mine == nil {
		if g.next == nil {
			g.next = g.open(ctx)
		}
		mine = g.next
	}
	mine.readers++
	if len(g.standing) == 0 {
		g.begin(mine)
	}
	g.mu.Unlock()
	return g.await(ctx, mine)
}

// await waits until informers may start.
func (g *gathering) await(ctx context.Context, one *gathered) (_ informers.SharedInformerFactory, leave func()) {
	select {
	case <-one.begun:
	case <-ctx.Done():
	}
	return one, func() { g.leave(one) }
}

// open makes informers that others may join for a while. g.mu is held.
func (g *gathering) open(ctx context.Context) *gathered {
	one := &gathered{SharedInformerFactory: informers.NewSharedInformerFactoryWithOptions(g.client, 0, informers.WithTransform((&trimmer{}).trim)),
		begun: make(chan struct{})}
	one.life, one.end = context.WithCancel(context.WithoutCancel(ctx))
	late := time.AfterFunc(g.limit, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.begin(one)
	})
	context.AfterFunc(one.life, func() { late.Stop() })
	return one
}

// begin lets those who have joined go on. g.mu is held.
func (g *gathering) begin(one *gathered) {
	if g.next == one {
		g.next, g.running = nil, one
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
	if last && g.running == one {
		g.running = nil
	}
	g.mu.Unlock()
	if last {
		one.end()
		one.Shutdown()
	}
}
