package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// plainReach reaches one server under any name.
type plainReach struct{ host string }

func (p plainReach) own() *rest.Config           { return &rest.Config{Host: p.host, QPS: -1} }
func (p plainReach) account(string) *rest.Config { return p.own() }

func TestNothingIsWrittenWithoutALease(t *testing.T) {
	asked := map[string]int{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.Method]++
		http.Error(w, "{}", http.StatusNotFound)
	}))
	defer s.Close()
	ago := func(d time.Duration) *hold {
		h, at := &hold{life: 10 * time.Second}, time.Now().Add(-d)
		h.renewed.Store(&at)
		return h
	}
	for rule, c := range map[string]struct {
		hold  *hold
		wrote bool
	}{
		"never held":        {&hold{life: 10 * time.Second}, false},
		"renewed just now":  {ago(0), true},
		"still covered":     {ago(9 * time.Second), true},
		"run out":           {ago(11 * time.Second), false},
		"stopped for hours": {ago(3 * time.Hour), false},
	} {
		for _, config := range []*rest.Config{covered{plainReach{s.URL}, c.hold}.own(), covered{plainReach{s.URL}, c.hold}.account("one")} {
			clear(asked)
			pods := kubernetes.NewForConfigOrDie(config).CoreV1().Pods("ns")
			_, err := pods.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}, metav1.CreateOptions{})
			if errors.Is(err, errNotHeld) == c.wrote {
				t.Errorf("%s: create: %v", rule, err)
			}
			pods.Delete(t.Context(), "p", metav1.DeleteOptions{})
			pods.Patch(t.Context(), "p", "application/merge-patch+json", []byte("{}"), metav1.PatchOptions{})
			pods.UpdateStatus(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}, metav1.UpdateOptions{})
			pods.Get(t.Context(), "p", metav1.GetOptions{})
			for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodPatch, http.MethodPut} {
				if asked[method] > 0 != c.wrote {
					t.Errorf("%s: %d times %s", rule, asked[method], method)
				}
			}
			if asked[http.MethodGet] != 1 {
				t.Errorf("%s: it is not read", rule)
			}
		}
	}
}

// fakeLock is a lease that answers after a while, or not at all.
type fakeLock struct {
	resourcelock.Interface
	err error
}

func (f fakeLock) Identity() string { return "me" }
func (f fakeLock) Create(context.Context, resourcelock.LeaderElectionRecord) error {
	return f.err
}
func (f fakeLock) Update(context.Context, resourcelock.LeaderElectionRecord) error {
	return f.err
}

func TestWhatRenewsAHold(t *testing.T) {
	mine, others := resourcelock.LeaderElectionRecord{HolderIdentity: "me"}, resourcelock.LeaderElectionRecord{HolderIdentity: "another"}
	for rule, c := range map[string]struct {
		write func(heldLock) error
		err   error
		holds bool
	}{
		"it is taken":             {func(l heldLock) error { return l.Create(t.Context(), mine) }, nil, true},
		"it is renewed":           {func(l heldLock) error { return l.Update(t.Context(), mine) }, nil, true},
		"a renewal that fails":    {func(l heldLock) error { return l.Update(t.Context(), mine) }, errors.New("conflict"), false},
		"it is given up":          {func(l heldLock) error { return l.Update(t.Context(), resourcelock.LeaderElectionRecord{}) }, nil, false},
		"it is given to somebody": {func(l heldLock) error { return l.Update(t.Context(), others) }, nil, false},
	} {
		h := &hold{life: 10 * time.Second}
		if err := c.write(heldLock{fakeLock{err: c.err}, h}); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", rule, err)
		}
		if got := h.covers(time.Now()); got != c.holds {
			t.Errorf("%s: it is held: %t", rule, got)
		}
	}
}
