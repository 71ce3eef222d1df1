package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// sink is where events are kept.
type sink interface {
	// send hands over events, each encoded. It is called by several goroutines.
	send(ctx context.Context, events [][]byte) error
	close() error
}

// backend brings events to a sink, in its mode and within its limits.
type backend struct {
	name               string
	sink               sink
	legacy             bool
	strict             bool
	maxEvent, maxBatch int     // bytes; 0 sets no limit
	buffer             *buffer // nil: events are handed over at once
	counts             *counts
	log                *slog.Logger
	said               atomic.Int64 // when a loss was last spoken of, in Unix seconds
}

// take takes an event: into the buffer, or to the sink.
func (b *backend) take(text *rendering) error {
	line, err := b.encode(text)
	if err != nil {
		b.lost("truncate", 1, err)
		return nil // no request can help it
	}
	if b.buffer != nil {
		b.buffer.put(line)
		return nil
	}
	return b.deliver(context.Background(), [][]byte{line})
}

// errTooLarge is of an event that exceeds the limit even without its objects.
var errTooLarge = errors.New("event is too large even after truncating")

func (b *backend) encode(text *rendering) ([]byte, error) {
	if b.legacy {
		return text.line(), nil
	}
	whole, err := text.json()
	if err != nil || b.maxEvent == 0 || len(whole) <= b.maxEvent {
		return whole, err
	}
	cut, err := text.truncated()
	if err == nil && len(cut) > b.maxEvent {
		err = errTooLarge
	}
	return cut, err
}

// deliver hands events over, in several batches if they are too large for one.
func (b *backend) deliver(ctx context.Context, events [][]byte) error {
	var errs []error
	for len(events) > 0 {
		n := b.batchOf(events)
		if err := b.sink.send(ctx, events[:n]); err != nil {
			b.lost(b.name, n, err)
			errs = append(errs, err)
		}
		events = events[n:]
	}
	return errors.Join(errs...)
}

// batchOf is how many of the events make up the next batch.
func (b *backend) batchOf(events [][]byte) int {
	size := 0
	for i, e := range events {
		size += len(e)
		if b.maxBatch > 0 && size > b.maxBatch && i > 0 {
			return i
		}
	}
	return len(events)
}

// sayEvery is how many seconds pass between two words on the same matter.
const sayEvery = 60

// lost counts events that nobody will read. The log hears of it now and then.
func (b *backend) lost(plugin string, n int, why error) {
	b.counts.errors.WithLabelValues(plugin).Add(float64(n))
	now, last := time.Now().Unix(), b.said.Load()
	if now-last >= sayEvery && b.said.CompareAndSwap(last, now) {
		b.log.Error("audit events are lost; apiserver_audit_error_total counts them", "backend", b.name, "err", why)
	}
}

// rendering is one event in the forms that backends want, each made at most once.
type rendering struct {
	event      *auditv1.Event
	whole, cut []byte
	failed     error
}

// json is the event as an item of an EventList: without kind and version.
func (r *rendering) json() ([]byte, error) {
	if r.whole == nil && r.failed == nil {
		r.whole, r.failed = json.Marshal(r.event)
	}
	return r.whole, r.failed
}

// truncated is the event without its objects, where it has any.
func (r *rendering) truncated() (_ []byte, err error) {
	if r.event.Level == auditv1.LevelMetadata {
		return nil, errTooLarge
	}
	if r.cut == nil {
		small := *r.event
		small.RequestObject, small.ResponseObject = nil, nil
		small.Annotations = maps.Clone(small.Annotations)
		if small.Annotations == nil {
			small.Annotations = map[string]string{}
		}
		small.Annotations["audit.k8s.io/truncated"] = "true"
		r.cut, err = json.Marshal(&small)
	}
	return r.cut, err
}

// line is the event's main facts as a text, as upstream has written them since before events had a form.
func (r *rendering) line() []byte {
	ev := r.event
	user, groups := "<none>", "<none>"
	if ev.User.Username != "" {
		user = ev.User.Username
		if len(ev.User.Groups) > 0 {
			groups = quoted(ev.User.Groups)
		}
	}
	asUser, asGroups := "<self>", "<lookup>"
	if as := ev.ImpersonatedUser; as != nil {
		asUser = as.Username
		if as.Groups != nil {
			asGroups = quoted(as.Groups)
		}
	}
	namespace, response, ip := "<none>", "<deferred>", "<unknown>"
	if ev.ObjectRef != nil && ev.ObjectRef.Namespace != "" {
		namespace = ev.ObjectRef.Namespace
	}
	if ev.ResponseStatus != nil {
		response = fmt.Sprint(ev.ResponseStatus.Code)
	}
	if len(ev.SourceIPs) > 0 {
		ip = ev.SourceIPs[0]
	}
	return fmt.Appendf(nil, "%s AUDIT: id=%q stage=%q ip=%q method=%q user=%q groups=%q as=%q asgroups=%q user-agent=%q namespace=%q uri=%q response=\"%s\"",
		ev.RequestReceivedTimestamp.Format(time.RFC3339Nano), ev.AuditID, ev.Stage, ip, ev.Verb, user, groups, asUser, asGroups,
		ev.UserAgent, namespace, ev.RequestURI, response)
}

func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strconv.Quote(s)
	}
	return strings.Join(out, ",")
}
