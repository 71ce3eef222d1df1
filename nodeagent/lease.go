package nodeagent

import (
	"context"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// beat has each node say that it is alive, once every LeasePeriod: it renews its Lease, and every five minutes its status.
//
// One ticker walks round the nodes, as the hand of a clock round its face: a fleet of thousands has one timer, and its
// writes are spread evenly over the period.
func (a *Agent) beat(ctx context.Context) error {
	leases := make([]*coordinationv1.Lease, len(a.Nodes))
	var renewing sync.WaitGroup
	defer renewing.Wait()
	// A lane of their own: thousands of pods with something to say must not make their nodes look dead.
	lane := make(chan struct{}, renewals)
	renew := func(i int, round int) {
		lane <- struct{}{}
		renewing.Go(func() {
			defer func() { <-lane }()
			a.renew(ctx, i, leases)
			if _, changed := a.pulled.LoadAndDelete(a.Nodes[i]); changed || round > 0 && round%a.statusRounds() == 0 {
				a.refresh(ctx, a.Nodes[i])
			}
		})
	}
	for i := range a.Nodes {
		renew(i, 0)
	}
	beats := min(mostBeats, max(1, len(a.Nodes)))
	step := a.LeasePeriod / time.Duration(beats)
	begun, tick := a.Clock.Now(), a.Clock.NewTicker(step)
	defer tick.Stop()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
		}
		renewing.Wait() // nobody renews a lease twice at a time
		// Where the hand was held up it makes the steps that it is behind, up to once round.
		for due := int(a.Clock.Since(begun) / step); n < due; n++ {
			for i := n % beats; i < len(a.Nodes) && n >= due-beats; i += beats {
				renew(i, n/beats+1)
			}
		}
	}
}

const (
	// mostBeats are how many steps the hand makes on its way round, if there are nodes for as many.
	mostBeats = 100
	// renewals is how many nodes say at a time that they are alive.
	renewals = 8
	// statusPeriod is how often a node's status is written although it is the same.
	statusPeriod = 5 * time.Minute
)

func (a *Agent) statusRounds() int { return max(1, int(statusPeriod/a.LeasePeriod)) }

// renew writes a node's lease, on top of the last that was written; if that is not the newest, it looks.
func (a *Agent) renew(ctx context.Context, i int, leases []*coordinationv1.Lease) {
	client, name := a.Client.CoordinationV1().Leases(corev1.NamespaceNodeLease), a.Nodes[i]
	var err error
	if leases[i] == nil {
		if leases[i], err = client.Get(ctx, name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			leases[i], err = client.Create(ctx, a.lease(ctx, name), metav1.CreateOptions{})
		} else if err == nil {
			leases[i], err = client.Update(ctx, a.renewed(leases[i]), metav1.UpdateOptions{})
		}
	} else {
		leases[i], err = client.Update(ctx, a.renewed(leases[i]), metav1.UpdateOptions{})
	}
	if apierrors.IsNotFound(err) { // it went with its node
		leases[i], err = client.Create(ctx, a.lease(ctx, name), metav1.CreateOptions{})
	}
	if err != nil {
		leases[i] = nil
		if ctx.Err() == nil {
			a.Log.Warn("renew the lease of a node", "node", name, "err", err)
		}
	}
}

// leaseSeconds is for how long a lease counts.
func (a *Agent) leaseSeconds() int32 { return int32(max(40, 2*a.LeasePeriod/time.Second)) }

func (a *Agent) renewed(l *coordinationv1.Lease) *coordinationv1.Lease {
	l = l.DeepCopy()
	l.Spec.RenewTime = &metav1.MicroTime{Time: a.Clock.Now()}
	l.ManagedFields = nil
	return l
}

// lease is a node's, and goes when the node goes.
func (a *Agent) lease(ctx context.Context, name string) *coordinationv1.Lease {
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: corev1.NamespaceNodeLease}, Spec: coordinationv1.LeaseSpec{
		HolderIdentity: &name, LeaseDurationSeconds: ptr.To(a.leaseSeconds())}}
	if node, err := a.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{}); err == nil {
		l.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: name, UID: node.UID}}
	}
	return a.renewed(l)
}
