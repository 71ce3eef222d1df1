package registry

import (
	"math/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/randfill"
)

func TestEventsKeepAllFieldsInBothAPIs(t *testing.T) {
	fill := randfill.New().RandSource(rand.NewSource(1)).NilChance(0)
	for range 20 {
		var e eventsv1.Event
		fill.Fill(&e)
		e.TypeMeta = metav1.TypeMeta{}
		if d := cmp.Diff(&e, newEvent(coreEvent(&e))); d != "" {
			t.Fatalf("-before +after:\n%s", d)
		}
	}
}

func TestEventsAreJudgedByTheAPIThatWritesThem(t *testing.T) {
	old := func() *corev1.Event {
		return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: "n"},
			InvolvedObject: corev1.ObjectReference{Namespace: "n"}, Count: 3, FirstTimestamp: metav1.Now()}
	}
	now := func(change func(*corev1.Event)) *corev1.Event {
		e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: "n"}, InvolvedObject: corev1.ObjectReference{Namespace: "n"},
			EventTime: metav1.NewMicroTime(time.Unix(1, 2000)), ReportingController: "example.com/c", ReportingInstance: "i", Action: "a",
			Reason: "r", Type: corev1.EventTypeNormal}
		if change != nil {
			change(e)
		}
		return e
	}
	tests := []struct {
		rule        string
		group       string
		event, prev *corev1.Event
		fields      []string
	}{
		{"the core group takes events of old", "", old(), nil, nil},
		{"events.k8s.io does not", eventsv1.GroupName, old(), nil, []string{"eventTime", "type", "firstTimestamp", "count"}},
		{"an event with a time says who reports", "", now(func(e *corev1.Event) { e.ReportingController = "" }), nil,
			[]string{"reportingComponent", "reportingComponent", "reportingComponent"}},
		{"and is told so in the words of the API", eventsv1.GroupName, now(func(e *corev1.Event) { e.ReportingController = "" }), nil,
			[]string{"reportingController", "reportingController", "reportingController"}},
		{"an event is about its own namespace", "", now(func(e *corev1.Event) { e.InvolvedObject.Namespace = "" }), nil, []string{"involvedObject.namespace"}},
		{"the core group lets events change", "", now(func(e *corev1.Event) { e.Message = "other" }), now(nil), nil},
		{"events.k8s.io lets the series change", eventsv1.GroupName, now(func(e *corev1.Event) {
			e.Series = &corev1.EventSeries{Count: 2, LastObservedTime: metav1.NowMicro()}
		}), now(nil), nil},
		{"and nothing else", eventsv1.GroupName, now(func(e *corev1.Event) { e.Message = "other" }), now(nil), []string{"message"}},
		{"but less than a microsecond of its time", eventsv1.GroupName, now(func(e *corev1.Event) {
			e.EventTime = metav1.NewMicroTime(e.EventTime.Add(300))
		}), now(nil), nil},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			w := &Write{Resource: &Resource{Group: test.group}}
			expectFields(t, validateEvent(w, test.event, test.prev), test.fields...)
		})
	}
}
