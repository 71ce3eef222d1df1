package server

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/registry"
)

// Most changes set or remove a few labels or annotations of many objects that are alike. Which fields change hands by
// them follows from who owns what, who changes, and which keys come, go or get another value; the values do not matter.
// So what the field manager worked out for the first object holds for all that are owned alike, with their own times.

// handovers remembers what became of managedFields by changes of labels and annotations.
type handovers struct {
	mu    sync.Mutex
	known map[changeDigest][]handed
}

// changeDigest is the digest of all that such a handover follows from.
type changeDigest [sha256.Size]byte

// handed is an entry of managedFields after a change.
type handed struct {
	metav1.ManagedFieldsEntry
	from int // index of the entry before whose time it keeps; -1 if its time is that of the change
}

const (
	// maxHandovers bounds what is remembered; beyond, it begins anew.
	maxHandovers = 512
	// cappedManagers is from how many entries on a new one may make the field manager unite old ones, by their times.
	cappedManagers = 10
)

// managersAfter are the managedFields of an object after its labels and annotations have changed, or ok is false if
// more has changed, or if the times that entries have may decide. before and after are trimmed to what differs; ask has
// the field manager attribute the change where the entries are those given.
func (h *handovers) managersAfter(d door, manager string, before, after registry.Object, entries []metav1.ManagedFieldsEntry,
	ask func([]metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry) (_ []metav1.ManagedFieldsEntry, ok bool) {
	if len(entries) >= cappedManagers || hasTwins(entries) || !onlyKeys(before) || !onlyKeys(after) {
		return nil, false
	}
	digest := digestOf(d, manager, before, after, entries)
	h.mu.Lock()
	next, known := h.known[digest]
	h.mu.Unlock()
	if !known {
		if next = handOver(entries, ask); size(next) <= maxOutline {
			h.remember(digest, next)
		}
	}
	return dated(next, entries), true
}

func (h *handovers) remember(digest changeDigest, next []handed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known == nil || len(h.known) >= maxHandovers {
		h.known = map[changeDigest][]handed{}
	}
	h.known[digest] = next
}

func size(entries []handed) (n int) {
	for _, e := range entries {
		n += len(e.FieldsV1.GetRawBytes())
	}
	return n
}

// onlyKeys reports whether nothing but labels and annotations is left of a trimmed object, beside its identity.
func onlyKeys(trimmed registry.Object) bool {
	o := shallowCopy(trimmed)
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	o.SetLabels(nil)
	o.SetAnnotations(nil)
	o.SetUID("")
	o.SetResourceVersion("")
	o.SetManagedFields(nil)
	return reflect.ValueOf(o).Elem().IsZero()
}

// holderOf is an entry as the field manager tells managers apart. Appliers are the same in all versions.
func holderOf(e *metav1.ManagedFieldsEntry) metav1.ManagedFieldsEntry {
	id := metav1.ManagedFieldsEntry{Manager: e.Manager, Operation: e.Operation, APIVersion: e.APIVersion, Subresource: e.Subresource}
	if e.Operation == metav1.ManagedFieldsOperationApply {
		id.APIVersion = ""
	}
	return id
}

// hasTwins reports whether two entries are of one manager.
func hasTwins(entries []metav1.ManagedFieldsEntry) bool {
	for i := range entries {
		for j := range i {
			if holderOf(&entries[i]) == holderOf(&entries[j]) {
				return true
			}
		}
	}
	return false
}

// digestOf is over all that the handover follows from.
func digestOf(d door, manager string, before, after registry.Object, entries []metav1.ManagedFieldsEntry) changeDigest {
	out := make([]byte, 0, 2048)
	text := func(s string) {
		out = binary.AppendUvarint(out, uint64(len(s)))
		out = append(out, s...)
	}
	for _, s := range []string{d.row.Group, d.row.Plural, d.version, d.sub, manager} {
		text(s)
	}
	for _, pair := range [][2]map[string]string{{before.GetLabels(), after.GetLabels()}, {before.GetAnnotations(), after.GetAnnotations()}} {
		out = appendChange(out, pair[0], pair[1])
	}
	for i := range entries {
		e := &entries[i]
		for _, s := range []string{e.Manager, string(e.Operation), e.APIVersion, e.FieldsType, e.Subresource, string(e.FieldsV1.GetRawBytes())} {
			text(s)
		}
	}
	return sha256.Sum256(out)
}

// appendChange adds which keys a map gets, loses and changes, and whether it is empty before and after.
func appendChange(out []byte, before, after map[string]string) []byte {
	state := func(m map[string]string) byte {
		switch {
		case m == nil:
			return 0
		case len(m) == 0:
			return 1
		}
		return 2
	}
	out = append(out, state(before), state(after))
	mark := func(how byte, key string) {
		out = binary.AppendUvarint(append(out, how), uint64(len(key)))
		out = append(out, key...)
	}
	for _, key := range slices.Sorted(maps.Keys(before)) {
		switch value, stays := after[key]; {
		case !stays:
			mark('-', key)
		case value != before[key]:
			mark('~', key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(after)) {
		if _, had := before[key]; !had {
			mark('+', key)
		}
	}
	return append(out, 0)
}

// handOver has the field manager say what becomes of the entries. It is given times that none of its own can be, so that
// these stand out.
func handOver(entries []metav1.ManagedFieldsEntry, ask func([]metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry) []handed {
	ago := metav1.Unix(0, 0)
	marked := slices.Clone(entries)
	for i := range marked {
		marked[i].Time = &ago
	}
	var next []handed
	for _, e := range ask(marked) {
		now := handed{e, -1}
		if e.Time != nil && e.Time.Equal(&ago) {
			now.from = slices.IndexFunc(entries, func(old metav1.ManagedFieldsEntry) bool { return holderOf(&old) == holderOf(&e) })
		}
		now.Time = nil
		next = append(next, now)
	}
	return next
}

// dated are the entries with their times, in the order that follows from these: appliers first, then the oldest.
func dated(next []handed, entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	var out []metav1.ManagedFieldsEntry
	now := metav1.NewTime(time.Now().UTC().Truncate(time.Second))
	for _, e := range next {
		e.Time = &now
		if e.from >= 0 {
			e.Time = entries[e.from].Time
		}
		owned := &metav1.FieldsV1{}
		owned.SetRawBytes(e.FieldsV1.GetRawBytes()) // the bytes are shared, and never changed
		e.FieldsV1 = owned
		out = append(out, e.ManagedFieldsEntry)
	}
	seconds := func(t *metav1.Time) int64 {
		if t == nil {
			return 0
		}
		return t.Unix()
	}
	slices.SortStableFunc(out, func(a, b metav1.ManagedFieldsEntry) int {
		return cmp.Or(cmp.Compare(a.Operation, b.Operation), cmp.Compare(seconds(a.Time), seconds(b.Time)), cmp.Compare(a.Manager, b.Manager),
			cmp.Compare(a.APIVersion, b.APIVersion), cmp.Compare(a.Subresource, b.Subresource))
	})
	return out
}
