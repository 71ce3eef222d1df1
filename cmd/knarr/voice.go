package main

import (
	"context"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

// voice tells people what a part does, by events. Nobody waits for it: client-go gathers events that are alike, bounds how
// many an object may have (a burst of 25, then one in five minutes), keeps a thousand in line, and drops what does not fit.
type voice struct {
	client   kubernetes.Interface
	recorded record.EventBroadcaster
	ctx      context.Context
	stop     context.CancelFunc
}

func newVoice(client kubernetes.Interface) *voice {
	v := &voice{client: client}
	v.ctx, v.stop = context.WithCancel(klog.NewContext(context.Background(), klog.Background()))
	v.recorded = record.NewBroadcaster(record.WithContext(v.ctx))
	v.recorded.StartRecordingToSink(&typedcore.EventSinkImpl{Interface: client.CoreV1().Events("")})
	return v
}

func (v *voice) end() {
	v.recorded.Shutdown()
	v.stop()
}

// recorder tells in the name of a component.
func (v *voice) recorder(component string) record.EventRecorder { return v.on(component, "") }

// on tells in the name of a component on a host.
func (v *voice) on(component, host string) record.EventRecorder {
	return v.recorded.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component, Host: host})
}

// series is the same for events of events.k8s.io, in which repetitions are a series, until ctx ends.
func (v *voice) series(ctx context.Context) (func(component string) events.EventRecorder, func(), error) {
	told := events.NewBroadcaster(&lane{EventSink: &events.EventSinkImpl{Interface: v.client.EventsV1()}, slots: make(chan struct{}, laneWidth)})
	if err := told.StartRecordingToSinkWithContext(klog.NewContext(ctx, klog.Background())); err != nil {
		return nil, nil, err
	}
	return func(component string) events.EventRecorder { return told.NewRecorder(scheme.Scheme, component) }, told.Shutdown, nil
}

// lane bounds what client-go does not bound for events.k8s.io, where each event is written by a goroutine of its own: a
// thousand pods that are bound at once shall not have a thousand writes stand beside the bindings.
type lane struct {
	events.EventSink
	slots   chan struct{}
	waiting atomic.Int64
}

const (
	laneWidth  = 4    // writes at a time
	laneLength = 5000 // that wait
)

// Create writes an event, or drops it.
func (l *lane) Create(ctx context.Context, e *eventsv1.Event) (*eventsv1.Event, error) {
	if l.waiting.Add(1) > laneLength {
		l.waiting.Add(-1)
		return nil, apierrors.NewTooManyRequestsError("too many events wait: this one is dropped") // an answer that is not tried again
	}
	defer l.waiting.Add(-1)
	l.slots <- struct{}{}
	defer func() { <-l.slots }()
	return l.EventSink.Create(ctx, e)
}
