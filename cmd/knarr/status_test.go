package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestAScreenIsReadInColumns(t *testing.T) {
	s := &screen{Title: "a cluster", Lines: []line{{Part: "one", Where: "https://here", State: "ready"}, {Part: "another", State: "none"}}}
	var b strings.Builder
	if err := s.print(&b); err != nil {
		t.Fatal(err)
	}
	want := "a cluster\n\n  one       https://here   ready\n  another                  none\n"
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
	if !s.healthy() {
		t.Error("nothing is bad")
	}
	if s.Lines[1].Bad = true; s.healthy() {
		t.Error("one is bad")
	}
}

func TestWhoLeads(t *testing.T) {
	now := time.Unix(1000, 0)
	lease := func(holder string, ago time.Duration) *coordinationv1.Lease {
		return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: ptr.To[int32](15),
			RenewTime: &metav1.MicroTime{Time: now.Add(-ago)}}}
	}
	for want, l := range map[string]*coordinationv1.Lease{
		"led by a":                             lease("a", 14*time.Second),
		"nobody leads":                         lease("", 0),
		"nobody leads: a was heard of 16s ago": lease("a", 16*time.Second),
	} {
		got, bad := leaseText(l, now)
		if got != want || bad == strings.HasPrefix(want, "led") {
			t.Errorf("%q, bad %v; want %q", got, bad, want)
		}
	}
}

func TestFailedChecksAreNamed(t *testing.T) {
	got := failedChecks("[+]ping ok\n[-]etcd failed: reason withheld\n[-]informer-sync failed: reason withheld\nreadyz check failed\n")
	if d := cmp.Diff([]string{"etcd", "informer-sync"}, got); d != "" {
		t.Error(d)
	}
	if got := failedChecks("service unavailable\n"); len(got) != 1 || got[0] != "service unavailable" {
		t.Errorf("%q: what is no list of checks is told as it is", got)
	}
}
