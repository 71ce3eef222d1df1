package controllers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
)

func TestWhatTheLogIsTold(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	over := apierrors.NewForbidden(pods, "", errors.New("exceeded quota"))
	for rule, c := range map[string]struct {
		fails func(*Turn) error
		level slog.Level
		event string
	}{
		"what nobody else hears of": {func(*Turn) error { return over }, slog.LevelWarn, ""},
		"what an event tells of": {func(turn *Turn) error {
			return fmt.Errorf("pods: %w", turn.Failed(&corev1.Pod{}, over, "FailedCreate", "Error creating: %v", over))
		}, slog.LevelDebug, "Warning FailedCreate Error creating: pods is forbidden: exceeded quota"},
		"the end is no failure": {func(turn *Turn) error {
			return turn.Failed(&corev1.Pod{}, context.Canceled, "FailedCreate", "Error creating: %v", context.Canceled)
		}, slog.LevelDebug, ""},
		"what the next turn settles": {func(*Turn) error { return apierrors.NewConflict(pods, "p", errors.New("changed")) }, slog.LevelDebug, ""},
		"a mistake":                  {func(*Turn) error { return &panicked{"index out of range", ""} }, slog.LevelError, ""},
	} {
		t.Run(rule, func(t *testing.T) {
			events := record.NewFakeRecorder(1)
			err := c.fails(&Turn{loop: &loop{events: events}})
			if got := severity(err); got != c.level {
				t.Errorf("level %v, want %v", got, c.level)
			}
			event := ""
			if len(events.Events) > 0 {
				event = <-events.Events
			}
			if event != c.event {
				t.Errorf("event %q, want %q", event, c.event)
			}
			if rule == "what an event tells of" && !apierrors.IsForbidden(err) {
				t.Error("nobody can tell any more what has failed")
			}
		})
	}
}

// An informer that was cut off sees an object that was deleted and made again as one that has changed.
func TestAnObjectThatWasMadeAgainIsAnotherOne(t *testing.T) {
	var told []string
	x := &loop{}
	handler := x.handler(Watch{Keys: func(old, now metav1.Object) []Key {
		said := func(o metav1.Object) string {
			if o == nil {
				return "none"
			}
			return string(o.GetUID()) + "@" + o.GetResourceVersion()
		}
		told = append(told, said(old)+" "+said(now))
		return nil
	}}, 0)
	of := func(uid types.UID, revision string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: uid, ResourceVersion: revision}}
	}
	handler.OnUpdate(of("a", "1"), of("a", "2"))
	handler.OnUpdate(of("a", "2"), of("a", "2"))
	handler.OnUpdate(of("a", "2"), of("b", "5"))
	if want := []string{"a@1 a@2", "a@2 none", "none b@5"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}
