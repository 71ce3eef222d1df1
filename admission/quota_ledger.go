package admission

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// A QuotaWriter changes a quota's status. change gets a copy of the quota as it is now, and is called again on a newer one if
// another writer comes in between; a change that changes nothing is no write. A quota that is gone is a NotFound error.
type QuotaWriter func(ctx context.Context, namespace, name string, change func(*corev1.ResourceQuota) error) error

// settlePatience bounds how long the quotas of a namespace are being written, as upstream has it.
const settlePatience = 10 * time.Second

// ledger charges the quotas of a namespace for many writes at once. The first writer to come settles its charge itself;
// those who come meanwhile queue, and the first of them settles for all of them when the one before is through. So
// under load a quota costs one write to the store a batch, not one an object, and no two writers of a server ever
// collide.
type ledger struct {
	quotas *quotas
	change QuotaWriter

	mu   sync.Mutex
	desk map[string]*queue // by namespace, while somebody settles there
}

// queue are those who wait while another settles.
type queue struct{ waiting []*debtor }

// debtor is a write that waits to be charged.
type debtor struct {
	*measured
	err error // why it is refused; read once told is closed
	// told is closed when err says what has become of it. Before that, one of those who wait may be sent the batch that
	// it has to settle, itself among them.
	told   chan struct{}
	settle chan []*debtor
}

// charge returns once the write is charged to all quotas that have a say, or an error if there is no room.
func (l *ledger) charge(ctx context.Context, w *measured) error {
	d := &debtor{measured: w, told: make(chan struct{}), settle: make(chan []*debtor, 1)}
	batch := []*debtor{d}
	if l.waits(d) {
		select {
		case <-d.told:
			return d.err
		case batch = <-d.settle:
		}
	}
	// Those who wait do not fare worse because the one who settles for them is in a hurry.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settlePatience)
	defer cancel()
	defer l.handOver(w.Namespace)
	settled := false
	defer func() {
		for _, one := range batch {
			if !settled { // a panic admits nobody
				one.err = apierrors.NewInternalError(errors.New("the quota could not be evaluated"))
			}
			close(one.told)
		}
	}()
	l.settle(ctx, batch)
	settled = true
	return d.err
}

// waits queues a debtor if somebody settles in its namespace; else it is its own turn.
func (l *ledger) waits(d *debtor) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q := l.desk[d.Namespace]; q != nil {
		q.waiting = append(q.waiting, d)
		return true
	}
	if l.desk == nil {
		l.desk = map[string]*queue{}
	}
	l.desk[d.Namespace] = &queue{}
	return false
}

// handOver sends all who wait to the first of them.
func (l *ledger) handOver(namespace string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.desk[namespace]
	if len(q.waiting) == 0 {
		delete(l.desk, namespace)
		return
	}
	q.waiting[0].settle <- q.waiting
	q.waiting = nil
}

// settle decides on each write of a batch, in the order in which they came, and writes the sum of what is admitted to
// the quotas.
func (l *ledger) settle(ctx context.Context, batch []*debtor) {
	all, err := l.quotas.of(ctx, batch[0].Namespace)
	if err != nil {
		refuse(batch, err)
		return
	}
	// 1. On copies: who fits in all quotas beside those before?
	running := make([]*corev1.ResourceQuota, len(all))
	for i, q := range all {
		running[i] = &corev1.ResourceQuota{ObjectMeta: q.ObjectMeta, Spec: q.Spec, Status: q.Status}
	}
	touched := make([]bool, len(all))
	for _, d := range batch {
		charges, err := l.quotas.assess(ctx, d.measured, running)
		if d.err = err; err != nil {
			continue
		}
		for i, charge := range charges {
			if len(charge) > 0 {
				running[i].Status.Used, touched[i] = sum(running[i].Status.Used, charge), true
			}
		}
	}
	// 2. Written down, quota by quota. A quota that has changed meanwhile may have room for fewer.
	for i, q := range all {
		if touched[i] {
			l.write(ctx, q, batch)
		}
	}
}

func refuse(batch []*debtor, err error) {
	for _, d := range batch {
		if d.err == nil {
			d.err = err
		}
	}
}

// write charges one quota for all of a batch that are not refused yet.
func (l *ledger) write(ctx context.Context, quota *corev1.ResourceQuota, batch []*debtor) {
	var refused map[*debtor]error
	err := l.change(ctx, quota.Namespace, quota.Name, func(now *corev1.ResourceQuota) error {
		refused = map[*debtor]error{}
		for _, d := range batch {
			if d.err != nil {
				continue
			}
			charge, err := d.assessOne(ctx, now)
			if err != nil {
				refused[d] = err
				continue
			}
			now.Status.Used = sum(now.Status.Used, charge)
		}
		return nil
	})
	switch {
	case apierrors.IsNotFound(err): // a quota that is gone bounds nothing
		return
	case errors.Is(err, context.DeadlineExceeded):
		err = apierrors.NewInternalError(fmt.Errorf("resource quota evaluation timed out"))
	}
	for d, why := range refused {
		d.err = why
	}
	if err != nil {
		refuse(batch, err)
	}
}
