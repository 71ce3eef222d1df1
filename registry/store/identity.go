package store

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/types"
)

// Identity is what tells an object from others that have borne its name, and whether it still counts.
type Identity struct {
	UID     types.UID
	Deleted time.Time // of its deletionTimestamp; zero if it has none
}

// Identity reads just that, off the encoding: an object is not decoded to see whether it lives.
func (e *Entry) Identity() (Identity, error) {
	message := e.Proto()
	if message == nil {
		o, err := e.Object()
		if err != nil {
			return Identity{}, err
		}
		i := Identity{UID: o.GetUID()}
		if at := o.GetDeletionTimestamp(); at != nil {
			i.Deleted = at.Time
		}
		return i, nil
	}
	i, err := protoIdentity(message)
	if err != nil {
		return Identity{}, fmt.Errorf("read %s: %w", e.Key, err)
	}
	return i, nil
}

// protoIdentity reads a message of any kind: metadata has the same number in all of them.
func protoIdentity(message []byte) (i Identity, err error) {
	const objectMeta, uid, deletionTimestamp, seconds = 1, 5, 9, 1
	at, err := protoValue(message, objectMeta)
	meta, _ := protowire.ConsumeBytes(at)
	if err != nil {
		return i, err
	}
	if at, err = protoValue(meta, uid); err != nil {
		return i, err
	}
	id, _ := protowire.ConsumeBytes(at)
	i.UID = types.UID(id)
	if at, err = protoValue(meta, deletionTimestamp); err != nil || at == nil {
		return i, err
	}
	timestamp, _ := protowire.ConsumeBytes(at)
	at, err = protoValue(timestamp, seconds)
	s, _ := protowire.ConsumeVarint(at)
	i.Deleted = time.Unix(int64(s), 0)
	return i, err
}

// protoValue is the message from where the value of a field begins; nil if the field is not there.
func protoValue(message []byte, number protowire.Number) ([]byte, error) {
	for len(message) > 0 {
		at, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		size := protowire.ConsumeFieldValue(at, kind, message[n:])
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		if at == number {
			return message[n:], nil
		}
		message = message[n+size:]
	}
	return nil, nil
}
