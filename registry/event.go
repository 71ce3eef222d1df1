package registry

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Events are one collection under two names: v1 of the core group, which is how they are stored, and
// events.k8s.io/v1, which names some fields otherwise and judges more strictly.

// event is what happened to an object. It lives for an hour.
func event() *Resource {
	k := eventKind()
	k.Versions = []Version{{Name: "v1"}}
	k.UpdateMeta = NoRules
	return k.row()
}

// eventsEvent is an event by the newer API.
func eventsEvent() *Resource {
	k := eventKind()
	k.Group, k.CoreKind = eventsv1.GroupName, true
	k.Versions = []Version{{
		Name:    "v1",
		New:     func() Object { return &eventsv1.Event{} },
		ToHub:   func(o Object) Object { return coreEvent(o.(*eventsv1.Event)) },
		FromHub: func(o Object) Object { return newEvent(o.(*corev1.Event)) },
		Fields: map[string]string{
			"regarding.kind":            "involvedObject.kind",
			"regarding.namespace":       "involvedObject.namespace",
			"regarding.name":            "involvedObject.name",
			"regarding.uid":             "involvedObject.uid",
			"regarding.apiVersion":      "involvedObject.apiVersion",
			"regarding.resourceVersion": "involvedObject.resourceVersion",
			"regarding.fieldPath":       "involvedObject.fieldPath",
			"reason":                    "reason",
			"reportingController":       "reportingComponent",
			"type":                      "type",
		},
	}}
	k.ValidateName = apivalidation.NameIsDNSSubdomain
	return k.row()
}

// eventKind is what both names have in common.
func eventKind() Kind[*corev1.Event] {
	const life = time.Hour
	about := func(name string) string { return doc(corev1.Event{}, name) }
	name := nameColumn()
	name.Priority = 1
	return Kind[*corev1.Event]{
		Resource: Resource{
			Plural: "events", Singular: "event", Kind: "Event", ShortNames: []string{"ev"},
			Namespaced: true, Prefix: "events", Uncached: true, CreateOnUpdate: true, NoDependents: true,
			Columns: []metav1.TableColumnDefinition{
				textColumn("Last Seen", about("lastTimestamp")),
				textColumn("Type", about("type")),
				textColumn("Reason", about("reason")),
				textColumn("Object", about("involvedObject")),
				wideColumn("Subobject", doc(corev1.ObjectReference{}, "fieldPath")),
				wideColumn("Source", about("source")),
				textColumn("Message", about("message")),
				wideColumn("First Seen", about("firstTimestamp")),
				wideColumn("Count", about("count")),
				name,
			},
		},
		Validate:   validateEvent,
		TimeToLive: func(*corev1.Event) time.Duration { return life },
		Cells:      eventCells,
		Fields:     eventFields(),
	}
}

func eventFields() []Field[*corev1.Event] {
	return []Field[*corev1.Event]{
		{Path: "involvedObject.kind", Value: func(e *corev1.Event) string { return e.InvolvedObject.Kind }},
		{Path: "involvedObject.namespace", Value: func(e *corev1.Event) string { return e.InvolvedObject.Namespace }},
		{Path: "involvedObject.name", Value: func(e *corev1.Event) string { return e.InvolvedObject.Name }},
		{Path: "involvedObject.uid", Value: func(e *corev1.Event) string { return string(e.InvolvedObject.UID) }},
		{Path: "involvedObject.apiVersion", Value: func(e *corev1.Event) string { return e.InvolvedObject.APIVersion }},
		{Path: "involvedObject.resourceVersion", Value: func(e *corev1.Event) string { return e.InvolvedObject.ResourceVersion }},
		{Path: "involvedObject.fieldPath", Value: func(e *corev1.Event) string { return e.InvolvedObject.FieldPath }},
		{Path: "reason", Value: func(e *corev1.Event) string { return e.Reason }},
		{Path: "reportingComponent", Value: func(e *corev1.Event) string { return e.ReportingController }},
		{Path: "source", Value: func(e *corev1.Event) string { return firstNonEmpty(e.Source.Component, e.ReportingController) }},
		{Path: "type", Value: func(e *corev1.Event) string { return e.Type }},
	}
}

func firstNonEmpty(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// coreEvent is a new event as it is stored.
func coreEvent(e *eventsv1.Event) *corev1.Event {
	out := &corev1.Event{
		ObjectMeta:          e.ObjectMeta,
		InvolvedObject:      e.Regarding,
		Reason:              e.Reason,
		Message:             e.Note,
		Source:              e.DeprecatedSource,
		FirstTimestamp:      e.DeprecatedFirstTimestamp,
		LastTimestamp:       e.DeprecatedLastTimestamp,
		Count:               e.DeprecatedCount,
		Type:                e.Type,
		EventTime:           e.EventTime,
		Action:              e.Action,
		Related:             e.Related,
		ReportingController: e.ReportingController,
		ReportingInstance:   e.ReportingInstance,
	}
	if s := e.Series; s != nil {
		out.Series = &corev1.EventSeries{Count: s.Count, LastObservedTime: s.LastObservedTime}
	}
	return out
}

// newEvent is a stored event by the newer API.
func newEvent(e *corev1.Event) *eventsv1.Event {
	out := &eventsv1.Event{
		ObjectMeta:               e.ObjectMeta,
		EventTime:                e.EventTime,
		ReportingController:      e.ReportingController,
		ReportingInstance:        e.ReportingInstance,
		Action:                   e.Action,
		Reason:                   e.Reason,
		Regarding:                e.InvolvedObject,
		Related:                  e.Related,
		Note:                     e.Message,
		Type:                     e.Type,
		DeprecatedSource:         e.Source,
		DeprecatedFirstTimestamp: e.FirstTimestamp,
		DeprecatedLastTimestamp:  e.LastTimestamp,
		DeprecatedCount:          e.Count,
	}
	if s := e.Series; s != nil {
		out.Series = &eventsv1.EventSeries{Count: s.Count, LastObservedTime: s.LastObservedTime}
	}
	return out
}

// eventCells finds times and count where the event's age and author put them: new events have a time and perhaps a
// series, old ones a first, a last and a count.
func eventCells(e *corev1.Event) []any {
	first, count := e.FirstTimestamp, e.Count
	if first.IsZero() {
		first = metav1.Time{Time: e.EventTime.Time}
	}
	last := e.LastTimestamp
	if last.IsZero() {
		last = first
	}
	switch {
	case e.Series != nil:
		last, count = metav1.Time{Time: e.Series.LastObservedTime.Time}, e.Series.Count
	case count == 0:
		count = 1
	}
	target := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name != "" {
		target += "/" + e.InvolvedObject.Name
	}
	source := firstNonEmpty(e.Source.Component, e.ReportingController)
	if instance := firstNonEmpty(e.Source.Host, e.ReportingInstance); instance != "" {
		source += ", " + instance
	}
	return []any{Age{At: last}, e.Type, e.Reason, target, e.InvolvedObject.FieldPath, source,
		strings.TrimSpace(e.Message), Age{At: first}, int64(count), e.Name}
}
