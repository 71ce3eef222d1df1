package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

const mediaWatch = mediaProtobuf + ";stream=watch"

// informerStarts starts informers: the whole collection as a stream of ADDED events, up to the bookmark that ends it.
func (l *load) informerStarts(ctx context.Context) error {
	const path = podsPath + "?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
	clients, err := l.server.dialMany(ctx, l.informers*l.rounds)
	if err != nil {
		return err
	}
	defer clients.close()
	before := l.server.settled(l.sizes)
	_, l.peak = l.server.memory()
	l.server.resetPeak()
	l.got.set("informer start", each(ctx, len(clients), l.informers, func(_, i int) {
		if err := clients[i].start(request{method: "GET", path: path, accept: mediaWatch}); err != nil {
			l.fail(err)
			return
		}
		l.fail(frames(&body{wire: clients[i]}, func(frame []byte) bool {
			return !bytes.Contains(frame[:min(len(frame), 32)], []byte("BOOKMARK"))
		}))
	}))
	_, peak := l.server.memory()
	l.got.set("informer start, peak above idle", max(0, peak-before))
	l.peak = max(l.peak, peak)
	return nil
}

// watch sends events to many watchers and measures how many a second arrive, and how late.
func (l *load) watch(ctx context.Context) error {
	list, err := l.pods.api.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, 5*time.Minute)
	defer stop()
	clients, err := l.server.dialMany(ctx, l.watchers)
	if err != nil {
		return err
	}
	defer clients.close()
	var arrived atomic.Int64
	var opened, ended sync.WaitGroup
	late := &latencies{}
	for i, client := range clients {
		opened.Add(1)
		ended.Go(func() {
			err := client.start(request{method: "GET", path: podsPath + "?watch=true&resourceVersion=" + list.ResourceVersion, accept: mediaWatch})
			opened.Done()
			if err != nil {
				l.fail(err)
				return
			}
			seen := 0
			l.fail(frames(&body{wire: client}, func(frame []byte) bool {
				if i%10 == 0 {
					late.note(frame)
				}
				arrived.Add(1)
				seen++
				return seen < l.updates
			}))
		})
	}
	opened.Wait()
	writers, err := l.server.dialMany(ctx, 8)
	if err != nil {
		return err
	}
	defer writers.close()
	start := time.Now()
	each(ctx, l.updates, len(writers), func(worker, i int) {
		l.fail(writers[worker].ask(annotate(i%l.sizes.pods, "sent", time.Now().Format(time.RFC3339Nano))))
	})
	ended.Wait()
	l.got.set("watch events", float64(arrived.Load())/time.Since(start).Seconds())
	l.got.set("watch events, p99", late.percentile(99))
	return nil
}

// latencies are the times that events took from their write.
type latencies struct {
	mu sync.Mutex
	ms []float64
}

// note reads the annotation "sent" of the pod in a frame: in protobuf a map's value follows its key, with a tag and
// the length before it.
func (l *latencies) note(frame []byte) {
	at := bytes.Index(frame, []byte("sent\x12"))
	if at < 0 {
		return
	}
	text := frame[at+6:]
	text = text[:min(len(text), int(frame[at+5]))]
	sent, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ms = append(l.ms, float64(time.Since(sent).Microseconds())/1000)
}

func (l *latencies) percentile(p int) float64 {
	if len(l.ms) == 0 {
		return 0
	}
	slices.Sort(l.ms)
	return l.ms[(len(l.ms)-1)*p/100]
}

// idleWatches measures what a watch costs in which nothing happens.
func (l *load) idleWatches(ctx context.Context) error {
	for _, one := range []struct {
		figure  string
		perConn int
	}{{"idle watch, own connection", 1}, {"idle watch, shared connection", 100}} {
		each, err := l.costOfWatches(ctx, one.perConn)
		if err != nil {
			return err
		}
		l.got.set(one.figure, each)
	}
	return nil
}

// costOfWatches is the kB of memory that an idle watch takes, with perConn watches on a connection.
func (l *load) costOfWatches(ctx context.Context, perConn int) (float64, error) {
	clients, err := l.connections((l.sizes.idleWatches + perConn - 1) / perConn)
	if err != nil {
		return 0, err
	}
	before := l.server.settled(l.sizes)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var answers []*http.Response
	defer func() {
		for _, a := range answers {
			a.Body.Close()
		}
		for _, client := range clients { // else the connections would stay for the rest of the load
			utilnet.CloseIdleConnectionsFor(client)
		}
	}()
	for i := range l.sizes.idleWatches {
		// A name that no pod has.
		answer, err := l.open(ctx, clients[i/perConn], podsPath+"?watch=true&fieldSelector=metadata.name%3Dnone", mediaWatch, "identity")
		if err != nil {
			return 0, err
		}
		answers = append(answers, answer)
	}
	return max(0, l.server.settled(l.sizes)-before) * 1000 / float64(len(answers)), nil
}

// frames calls f with each length-prefixed frame of a protobuf watch until f returns false.
func frames(r io.Reader, f func([]byte) bool) error {
	buffered := bufio.NewReaderSize(r, 64<<10)
	var head [4]byte
	var frame []byte
	for {
		if _, err := io.ReadFull(buffered, head[:]); err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint32(head[:]))
		frame = slices.Grow(frame[:0], n)[:n]
		if _, err := io.ReadFull(buffered, frame); err != nil {
			return errors.Join(io.ErrUnexpectedEOF, err)
		}
		if !f(frame) {
			return nil
		}
	}
}
