package controllers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
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
