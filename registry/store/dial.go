package store

import (
	"crypto/tls"
	"fmt"
	"math"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

const (
	dialTimeout      = 20 * time.Second
	keepAliveEvery   = 30 * time.Second // a connection that died without a word is noticed after this and the next
	keepAliveTimeout = 10 * time.Second
	// reconnectEvery bounds the pause between attempts to reach an etcd that is away. gRPC's own grows to two minutes,
	// in which the API would stay down though etcd is back.
	reconnectEvery = 2 * time.Second
)

// Dial returns a client of an external etcd cluster at some endpoints ("https://10.0.0.1:2379"). It does not wait for a
// connection: New does. security is nil for a cluster without TLS.
func Dial(endpoints []string, security *tls.Config) (*clientv3.Client, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, TLS: security, DialTimeout: dialTimeout,
		DialKeepAliveTime: keepAliveEvery, DialKeepAliveTimeout: keepAliveTimeout,
		MaxCallSendMsgSize: math.MaxInt32, // how large an object may be is for etcd to say
		Logger:             zap.NewNop(),  // what goes wrong is returned
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectEvery},
			MinConnectTimeout: 5 * time.Second,
		})},
	})
	if err != nil {
		return nil, fmt.Errorf("dial etcd: %w", err)
	}
	return client, nil
}
