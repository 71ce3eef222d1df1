package store

import (
	"context"
	"math"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// leases gives objects a limited life. A lease costs etcd more than an object, so objects that are written within a while
// share one that lives a little longer than they asked for, as upstream's do.
type leases struct {
	client *clientv3.Client

	mu      sync.Mutex
	byTTL   map[time.Duration]*lease
	granted int
}

type lease struct {
	id      clientv3.LeaseID
	expires time.Time
	objects int
}

const (
	leaseSlackLimit = time.Minute // the most that an object lives longer than asked
	leaseSlackShare = 20          // of its time to live, a twentieth
	leaseObjects    = 1000        // that share a lease
)

// grant returns a lease for an object that is to live for ttl. Etcd counts in seconds.
func (l *leases) grant(ctx context.Context, ttl time.Duration) (clientv3.LeaseID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if c := l.byTTL[ttl]; c != nil && c.objects < leaseObjects && !c.expires.Before(now.Add(ttl)) {
		c.objects++
		return c.id, nil
	}
	life := ttl + min(leaseSlackLimit, ttl/leaseSlackShare)
	response, err := l.client.Grant(ctx, int64(math.Ceil(life.Seconds())))
	if err != nil {
		return 0, err
	}
	if l.byTTL == nil || len(l.byTTL) > 100 {
		l.byTTL = map[time.Duration]*lease{}
	}
	l.byTTL[ttl] = &lease{response.ID, now.Add(life), 1}
	l.granted++
	return response.ID, nil
}
