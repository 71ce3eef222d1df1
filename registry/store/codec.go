package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
)

// encoded is an object as etcd gets it.
type encoded struct {
	value []byte // the whole value
	body  []byte // the protobuf message in it, or all of it
	bare  bool   // the value leaves out what is in the body
}

// encode clears what is not stored from o and encodes it.
func (s *Store) encode(o Object) (encoded, error) {
	o.SetResourceVersion("")
	o.SetSelfLink("")
	if s.Stored != nil {
		o = s.Stored(o)
	}
	if s.JSON {
		return s.encodeJSON(o)
	}
	m, ok := o.(protoMarshaler)
	if !ok {
		return encoded{}, fmt.Errorf("encode %s: %T has no protobuf form", s.Resource, o)
	}
	value, body, err := envelope(s.head, m.Size(), func(message []byte) error {
		_, err := m.MarshalToSizedBuffer(message)
		return err
	})
	if err != nil {
		return encoded{}, fmt.Errorf("encode %s: %w", s.Resource, err)
	}
	return encoded{value: value, body: body}, nil
}

// encodeNew is encode of an object that takes the place of none.
func (s *Store) encodeNew(o Object) (encoded, error) {
	whole, err := s.encode(o)
	if err != nil || s.Bare == nil {
		return whole, err
	}
	bare, err := s.encode(s.Bare(o))
	return encoded{value: bare.value, body: whole.body, bare: true}, err
}

// protoMarshaler is implemented by the types of k8s.io/api.
type protoMarshaler interface {
	runtime.ProtobufReverseMarshaller
	Unmarshal([]byte) error
}

// encodeJSON writes what upstream writes: compact JSON with its kind, and a line feed.
func (s *Store) encodeJSON(o Object) (encoded, error) {
	o.GetObjectKind().SetGroupVersionKind(s.Kind)
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(o); err != nil {
		return encoded{}, fmt.Errorf("encode %s: %w", s.Resource, err)
	}
	value := bytes.Clone(b.Bytes())
	return encoded{value: value, body: value}, nil
}

// decode makes an object of a stored value. The kind in it decides who decodes.
func (s *Store) decode(value []byte) (Object, error) {
	kind, body, err := s.open(value)
	if err != nil {
		return nil, err
	}
	if s.Stored != nil || s.Older != nil && kind != s.Kind && kind.Kind != "" {
		return s.Older(kind, body)
	}
	o := s.New()
	return o, s.unmarshal(body, o)
}

func (s *Store) open(value []byte) (schema.GroupVersionKind, []byte, error) {
	if !s.JSON {
		return openEnvelope(value)
	}
	var meta runtime.TypeMeta
	if s.Older != nil {
		if err := json.Unmarshal(value, &meta); err != nil {
			return schema.GroupVersionKind{}, nil, err
		}
	}
	return schema.FromAPIVersionAndKind(meta.APIVersion, meta.Kind), value, nil
}

func (s *Store) unmarshal(body []byte, o Object) error {
	if s.JSON {
		return kjson.UnmarshalCaseSensitivePreserveInts(body, o)
	}
	m, ok := o.(protoMarshaler)
	if !ok {
		return fmt.Errorf("%T has no protobuf form", o)
	}
	err := m.Unmarshal(body)
	if err == nil && s.Restore != nil {
		s.Restore(o)
	}
	return err
}

// decodeEntry makes the object of an entry, whose data is complete and in the form of this process already.
func (s *Store) decodeEntry(e *Entry) (Object, error) {
	if e.broken {
		plain, _, err := s.unseal(s.db.ctx, e.Key, e.data)
		if err != nil {
			return nil, err
		}
		if _, err = s.decode(plain); err == nil {
			err = fmt.Errorf("the stored value could not be read, or encoded again, when it was last seen")
		}
		return nil, fmt.Errorf("decode %s %q: %w", s.Resource, e.path(), err)
	}
	var o Object
	var err error
	if s.Stored != nil {
		o, err = s.decode(e.data)
	} else {
		o = s.New()
		err = s.unmarshal(e.data, o)
	}
	if err != nil {
		return nil, fmt.Errorf("decode %s %q: %w", s.Resource, e.path(), err)
	}
	o.SetResourceVersion(e.Revision.String())
	return o, nil
}

// Rehearse turns o into what reading it back would give, for a write that is not to take place. It keeps o's
// resourceVersion.
func (s *Store) Rehearse(o Object) error {
	revision := o.GetResourceVersion()
	enc, err := s.encode(o)
	if err != nil {
		return err
	}
	read, err := s.decode(enc.value)
	if err != nil {
		return fmt.Errorf("decode %s: %w", s.Resource, err)
	}
	reflect.ValueOf(o).Elem().Set(reflect.ValueOf(read).Elem())
	o.SetResourceVersion(revision)
	return nil
}

// intake makes an entry of a value read from etcd: decoded, completed, and encoded again. Where that gives other bytes
// the entry is served with them. A value that cannot be decoded becomes a broken entry, for the others must go on.
func (s *Store) intake(k Key, value []byte, r Revision) *Entry {
	plain, stale, err := s.unseal(s.db.ctx, k, value)
	if err != nil {
		return s.broken(k, value, r, err)
	}
	o, err := s.decode(plain)
	if err != nil {
		return s.broken(k, value, r, err)
	}
	if s.Complete != nil {
		s.Complete(o)
	}
	e, err := s.encode(o)
	if err != nil {
		return s.broken(k, value, r, err)
	}
	entry := s.newEntry(k, e, attributesOf(o, s.Fields), r)
	entry.foreign = stale || !bytes.Equal(e.value, plain)
	return entry
}

// newEntry makes an entry of an encoded object.
func (s *Store) newEntry(k Key, e encoded, attrs attributes, r Revision) *Entry {
	entry := &Entry{Key: k, Revision: r, store: s, data: e.body, attrs: attrs, foreign: e.bare}
	if !s.JSON {
		entry.data = withRevision(e.body, r)
	}
	return entry
}

func (s *Store) broken(k Key, value []byte, r Revision, err error) *Entry {
	// Where a key is missing, all objects are broken: one word a second will do.
	if now, last := time.Now().Unix(), s.complained.Load(); now > last && s.complained.CompareAndSwap(last, now) {
		s.db.log.Error("an object cannot be decoded", "resource", s.Resource.String(), "key", k.path(), "revision", r, "err", err)
	}
	return &Entry{Key: k, Revision: r, store: s, data: value, broken: true, attrs: packAttributes(make([]string, len(s.Fields)))}
}
