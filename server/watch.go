package server

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/knarr-dev/knarr/registry/store"
)

// watch streams the events of a collection, or of one object, until the client leaves or its time is over.
//
// JSON events are objects one after the other, a line each; protobuf events are frames: four bytes of length, big
// endian, and a WatchEvent that holds the object in its envelope. Events that are due together are written together.
func (c *call) watch() error {
	// 1. How is the stream wanted, and what of the collection?
	form, err := negotiate(c.r, anyShape)
	if err != nil {
		return err
	}
	if c.form = form; form.Format == YAML {
		return notAcceptable("only the following media types are accepted: %s",
			mediaJSON+";stream=watch, "+mediaProtobuf+";stream=watch")
	}
	query := c.r.URL.Query()
	query.Set("watch", "true")
	o, selection, err := c.collection(query)
	if err != nil {
		return err
	}
	// 2. Place a cursor. From here on the answer is 200, and errors are events.
	timeout := c.s.watchTime()
	if o.TimeoutSeconds != nil {
		timeout = time.Duration(*o.TimeoutSeconds) * time.Second
	}
	ctx, cancel := context.WithTimeout(c.ctx(), timeout)
	defer cancel()
	cursor, err := c.store().Watch(ctx, store.WatchOptions{Selection: selection, ResourceVersion: o.ResourceVersion,
		Match: o.ResourceVersionMatch, SendInitialEvents: o.SendInitialEvents, AllowBookmarks: o.AllowWatchBookmarks,
		Deadline: c.now.Add(timeout), Settled: askedOf(c.r).seat.leave})
	if err != nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		return err
	}
	if cursor != nil {
		defer cursor.Close()
	}
	frames, ferr := c.frames()
	if ferr != nil {
		return ferr
	}
	stop := c.s.streams.enter(cancel)
	defer stop()
	if websocket.IsWebSocketUpgrade(c.r) {
		return c.watchSocket(ctx, cancel, cursor, frames, err)
	}
	header := c.w.Header()
	header.Set("Content-Type", form.Format.mediaType())
	if form.Format == Protobuf {
		header.Set("Content-Type", mediaProtobuf+";stream=watch")
	}
	c.w.WriteHeader(http.StatusOK)
	flusher := http.NewResponseController(c.w)
	flusher.Flush()
	if err != nil {
		return c.endWatch(frames, err)
	}
	// 3. Follow.
	var due []store.Event
	pace := pace{beat: &c.s.beat}
	stuck := time.AfterFunc(stuckAfter, func() { _ = flusher.SetWriteDeadline(time.Now()) })
	defer stuck.Stop()
	for {
		if pace.hold(ctx) != nil {
			return nil
		}
		stuck.Stop()
		due, err = cursor.Next(ctx, due[:0])
		stuck.Reset(stuckAfter)
		if err != nil {
			return c.endWatch(frames, err)
		}
		pace.write(len(due))
		if err := frames.write(c.w, due); err != nil {
			return nil // the client has gone
		}
		if err := flusher.Flush(); err != nil {
			return nil
		}
		clear(due)
	}
}

// watchTime is how long a watch lasts that names no time: from the configured minimum to twice that at random, so that
// clients spread over several servers and a restart does not bring them all back at once.
func (s *Server) watchTime() time.Duration {
	least := max(time.Duration(s.config.MinRequestTimeout)*time.Second, time.Second)
	return least + rand.N(least)
}

// endWatch ends a stream that has begun: silently when its time is over, else with an ERROR event.
func (c *call) endWatch(frames *frameWriter, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	out := c.s.chunks.to(c.w)
	defer out.free()
	frames.fail(out, statusOf(err))
	return out.flush()
}

// A frameWriter writes events in the form of one watch.
type frameWriter struct {
	*encoding
	form   Form
	chunks *chunkPool
	render func(store.Event) ([]byte, error) // the shaped object of an event; nil for whole objects
	// head and object are what precedes an event and its object, made anew for each without a new piece of memory.
	head, object []byte
}

// frames is the writer for the form that the call negotiated.
func (c *call) frames() (*frameWriter, error) {
	f := &frameWriter{encoding: c.encoding(), form: c.form, chunks: &c.s.chunks}
	switch c.form.Shape {
	case Table:
		t, err := c.newTableWriter()
		if err != nil {
			return nil, err
		}
		f.render = t.event
	case Metadata:
		f.render = func(e store.Event) ([]byte, error) { return f.metadataEvent(e, c.form) }
	}
	return f, nil
}

// write writes events to the client, gathered into large writes.
func (f *frameWriter) write(w http.ResponseWriter, events []store.Event) error {
	out := f.chunks.to(w)
	defer out.free()
	for _, e := range events {
		if err := f.event(out, e); err != nil {
			f.fail(out, statusOf(err))
			out.flush()
			return err
		}
		if out.err != nil {
			break
		}
	}
	return out.flush()
}

// event writes one event.
func (f *frameWriter) event(out *chunks, e store.Event) error {
	switch {
	case f.render != nil:
		body, err := f.render(e)
		if err != nil {
			return err
		}
		f.frame(out, e.Type, nil, body, "")
	case f.form.Format == Protobuf:
		body, err := f.protoOf(e)
		if err != nil {
			return err
		}
		f.frameObject(out, e.Type, f.typ, body)
	default:
		body, err := f.jsonOf(e)
		if err != nil {
			return err
		}
		f.frame(out, e.Type, nil, body, "")
	}
	return nil
}

// frameObject writes a protobuf frame around an object's message.
func (f *frameWriter) frameObject(out *chunks, typ watch.EventType, of metav1.TypeMeta, body []byte) {
	f.object = appendEnvelopeHead(f.object[:0], of, len(body))
	f.frame(out, typ, f.object, body, envelopeTail)
}

// frame writes an event's frame around its object, which is given in three parts.
func (f *frameWriter) frame(out *chunks, typ watch.EventType, head, body []byte, tail string) {
	if f.form.Format != Protobuf {
		out.WriteString(`{"type":"`)
		out.WriteString(string(typ))
		out.WriteString(`","object":`)
		out.Write(body)
		out.WriteString("}\n")
		return
	}
	object := len(head) + len(body) + len(tail)
	raw := 1 + uvarintSize(object) + object // a RawExtension with one field
	b := append(f.head[:0], 0, 0, 0, 0)
	b = appendString(b, tagField1, string(typ))
	b = binary.AppendUvarint(append(b, tagField2), uint64(raw))
	b = binary.AppendUvarint(append(b, tagField1), uint64(object))
	binary.BigEndian.PutUint32(b, uint32(len(b)-4+object))
	f.head = b
	out.Write(b)
	out.Write(head)
	out.Write(body)
	out.WriteString(tail)
}

// jsonOf is the object of an event: the entry's bytes, or a bookmark's empty object.
func (f *frameWriter) jsonOf(e store.Event) ([]byte, error) {
	if e.Entry != nil {
		return f.json(e.Entry)
	}
	return marshalJSON(f.bookmark(e))
}

func (f *frameWriter) protoOf(e store.Event) ([]byte, error) {
	if e.Entry != nil {
		return f.proto(e.Entry)
	}
	return marshalProto(f.bookmark(e))
}

// bookmark is the object of a bookmark: empty but for the revision that the watch has reached.
func (f *frameWriter) bookmark(e store.Event) metav1.Object {
	o := f.version.New()
	if f.version.ToHub == nil && f.row.Normalize != nil {
		f.row.Normalize(o)
	}
	o.GetObjectKind().SetGroupVersionKind(f.kindOf())
	o.SetResourceVersion(e.Revision.String())
	if e.InitialEventsEnd {
		all := map[string]string{metav1.InitialEventsAnnotationKey: "true"}
		maps.Copy(all, o.GetAnnotations())
		o.SetAnnotations(all)
	}
	return o
}

// fail writes an ERROR event.
func (f *frameWriter) fail(out *chunks, s *metav1.Status) {
	if f.form.Format != Protobuf {
		body, _ := json.Marshal(s)
		f.frame(out, watch.Error, nil, body, "")
		return
	}
	body, _ := s.Marshal()
	f.frameObject(out, watch.Error, s.TypeMeta, body)
}
