package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A protobuf value in etcd is four bytes of magic and a runtime.Unknown message: field 1 is the TypeMeta (apiVersion,
// kind), field 2 the object's own message, fields 3 and 4 (content encoding and type) are present and empty.

const magic = "k8s\x00"

// envelope encloses the message that write appends, size bytes long. It returns the value and, inside it, the message.
func envelope(head []byte, size int, write func(message []byte) error) (value, message []byte, err error) {
	value = make([]byte, 0, len(head)+1+protowire.SizeBytes(size)+4)
	value = append(value, head...)
	value = protowire.AppendTag(value, 2, protowire.BytesType)
	value = protowire.AppendVarint(value, uint64(size))
	start := len(value)
	value = value[:start+size]
	message = value[start : start+size : start+size]
	if err := write(message); err != nil {
		return nil, nil, err
	}
	return append(value, 0x1a, 0, 0x22, 0), message, nil
}

// envelopeHead is what every value of a kind begins with.
func envelopeHead(kind schema.GroupVersionKind) []byte {
	meta := runtime.TypeMeta{APIVersion: kind.GroupVersion().String(), Kind: kind.Kind}
	typeMeta, err := meta.Marshal()
	if err != nil {
		panic(err) // two strings always marshal
	}
	head := protowire.AppendTag([]byte(magic), 1, protowire.BytesType)
	return protowire.AppendBytes(head, typeMeta)
}

// openEnvelope returns the kind and the message, which is part of value.
func openEnvelope(value []byte) (kind schema.GroupVersionKind, message []byte, err error) {
	body, ok := bytes.CutPrefix(value, []byte(magic))
	if !ok {
		return kind, nil, errors.New("the stored value is not in the protobuf envelope")
	}
	for len(body) > 0 {
		number, content, n := consumeField(body)
		if n < 0 {
			return kind, nil, fmt.Errorf("open the envelope: %w", protowire.ParseError(n))
		}
		switch number {
		case 1:
			var meta runtime.TypeMeta
			if err := meta.Unmarshal(content); err != nil {
				return kind, nil, fmt.Errorf("open the envelope: %w", err)
			}
			kind = schema.FromAPIVersionAndKind(meta.APIVersion, meta.Kind)
		case 2:
			message = content
		}
		body = body[n:]
	}
	return kind, message, nil
}

// consumeField reads one field: its number, its content if it is of the bytes type, and its whole length (negative if
// it is malformed).
func consumeField(b []byte) (protowire.Number, []byte, int) {
	number, kind, tag := protowire.ConsumeTag(b)
	if tag < 0 {
		return 0, nil, tag
	}
	n := protowire.ConsumeFieldValue(number, kind, b[tag:])
	if n < 0 {
		return 0, nil, n
	}
	var content []byte
	if kind == protowire.BytesType {
		content, _ = protowire.ConsumeBytes(b[tag:])
	}
	return number, content, tag + n
}

const (
	objectMetaField      = 1 // of every API object
	resourceVersionField = 6 // of ObjectMeta
)

// withRevision copies an object's message with its resourceVersion set to r. Fields stay in ascending order, so that
// the result is what the object would marshal to. The message has been decoded before: it is well-formed.
func withRevision(message []byte, r Revision) []byte {
	metaStart, meta, metaEnd := findMeta(message)
	before, after := cutRevision(meta)

	text := strconv.AppendInt(make([]byte, 0, 20), int64(r), 10)
	metaSize := len(before) + 2 + len(text) + len(after)
	out := make([]byte, 0, metaStart+1+protowire.SizeBytes(metaSize)+len(message)-metaEnd)
	out = append(out, message[:metaStart]...)
	out = protowire.AppendTag(out, objectMetaField, protowire.BytesType)
	out = protowire.AppendVarint(out, uint64(metaSize))
	out = append(out, before...)
	out = protowire.AppendTag(out, resourceVersionField, protowire.BytesType)
	out = protowire.AppendBytes(out, text)
	out = append(out, after...)
	return append(out, message[metaEnd:]...)
}

// findMeta returns where the field of the ObjectMeta begins and ends in a message, and its content. A message without
// one gets it at the beginning.
func findMeta(message []byte) (start int, meta []byte, end int) {
	for at := 0; at < len(message); {
		number, content, n := consumeField(message[at:])
		if n < 0 {
			break
		}
		if number == objectMetaField {
			return at, content, at + n
		}
		at += n
	}
	return 0, nil, 0
}

// cutRevision returns the fields of an ObjectMeta before and after the place of its resourceVersion.
func cutRevision(meta []byte) (before, after []byte) {
	at := 0
	for at < len(meta) {
		number, _, n := consumeField(meta[at:])
		if n < 0 || number > resourceVersionField {
			break
		}
		if number == resourceVersionField {
			return slices.Clip(meta[:at]), meta[at+n:]
		}
		at += n
	}
	return slices.Clip(meta[:at]), meta[at:]
}

// equalButRevision compares two messages of an object without regard to its resourceVersion.
func equalButRevision(a, b []byte) bool {
	aStart, aMeta, aEnd := findMeta(a)
	bStart, bMeta, bEnd := findMeta(b)
	aBefore, aAfter := cutRevision(aMeta)
	bBefore, bAfter := cutRevision(bMeta)
	return bytes.Equal(a[aEnd:], b[bEnd:]) && bytes.Equal(aAfter, bAfter) &&
		bytes.Equal(aBefore, bBefore) && bytes.Equal(a[:aStart], b[:bStart])
}
