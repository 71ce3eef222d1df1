package store_test

import (
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/knarr-dev/knarr/registry/store"
)

func data(t testing.TB, e *store.Entry) string {
	t.Helper()
	o, err := e.Object()
	if err != nil {
		t.Fatal(err)
	}
	return o.(*corev1.ConfigMap).Data["data"]
}

func TestAnObjectIsReadAsItWasWritten(t *testing.T) {
	s := openConfigMaps(t)
	written := configMap(key(1), "x", "a", "b")
	e, err := s.Create(t.Context(), key(1), written.DeepCopy(), 0)
	if err != nil {
		t.Fatal(err)
	}
	read, err := s.Get(t.Context(), key(1), "")
	if err != nil {
		t.Fatal(err)
	}
	o, err := read.Object()
	if err != nil {
		t.Fatal(err)
	}
	written.ResourceVersion = e.Revision.String()
	if d := cmp.Diff(written, o); d != "" {
		t.Error(d)
	}
	message, err := written.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(message, read.Proto()); d != "" {
		t.Error("the served message is not what the object marshals to:", d)
	}
}

func TestCreateOfWhatExistsIsRefused(t *testing.T) {
	s := openConfigMaps(t)
	put(t, s, key(1), configMap(key(1), "x"))
	if _, err := s.Create(t.Context(), key(1), configMap(key(1), "y"), 0); !apierrors.IsAlreadyExists(err) {
		t.Error(err)
	}
}

func TestAnUpdateThatChangesNothingWritesNothing(t *testing.T) {
	s := openConfigMaps(t)
	first := put(t, s, key(1), configMap(key(1), "x"))
	if again := put(t, s, key(1), configMap(key(1), "x")); again.Revision != first.Revision {
		t.Errorf("revision %d became %d", first.Revision, again.Revision)
	}
}

func TestADeletedObjectIsReturnedUnderTheRevisionOfItsDeletion(t *testing.T) {
	s := openConfigMaps(t)
	first := put(t, s, key(1), configMap(key(1), "x"))
	gone := remove(t, s, key(1))
	o, err := gone.Object()
	if err != nil {
		t.Fatal(err)
	}
	if gone.Revision <= first.Revision || o.GetResourceVersion() != gone.Revision.String() || data(t, gone) != "x" {
		t.Errorf("%d, then %d: %v", first.Revision, gone.Revision, o)
	}
	if _, err := s.Get(t.Context(), key(1), ""); !apierrors.IsNotFound(err) {
		t.Error(err)
	}
}

func TestNoIncrementIsLostAmongManyWriters(t *testing.T) {
	s := openConfigMaps(t)
	put(t, s, key(0), configMap(key(0), "0"))
	const writers, turns = 16, 25
	increment := func(current *store.Entry) (store.Outcome, error) {
		o, err := current.Object()
		if err != nil {
			return store.Outcome{}, err
		}
		c := o.(*corev1.ConfigMap).DeepCopy()
		n, err := strconv.Atoi(c.Data["data"])
		c.Data["data"] = strconv.Itoa(n + 1)
		return store.Outcome{Put: c}, err
	}
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range turns {
				if _, err := s.Update(t.Context(), key(0), increment); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	e, err := s.Get(t.Context(), key(0), "")
	if err != nil {
		t.Fatal(err)
	}
	if got := data(t, e); got != strconv.Itoa(writers*turns) {
		t.Errorf("%s increments arrived of %d", got, writers*turns)
	}
}
