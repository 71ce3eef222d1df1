package registry

import (
	"fmt"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateEvent judges by the API that the writer uses. The core group is lenient, for the sake of old clients.
func validateEvent(w *Write, e, old *corev1.Event) field.ErrorList {
	reporter := "reportingController"
	if w.Resource.Group == "" {
		reporter = "reportingComponent"
	}
	errs := validateAnyEvent(e, reporter)
	switch {
	case w.Resource.Group == "":
		return errs
	case old == nil:
		return append(errs, validateNewEvent(e)...)
	}
	return append(errs, validateEventKept(e, old)...)
}

// validateAnyEvent is what both APIs want. An event with a time is of the new kind and has to say more.
func validateAnyEvent(e *corev1.Event, reporter string) field.ErrorList {
	var errs field.ErrorList
	about := e.InvolvedObject.Namespace
	elsewhere := field.Invalid(field.NewPath("involvedObject", "namespace"), about, "does not match event.namespace")
	if e.EventTime.Time.IsZero() {
		clusterScoped := about == "" && (e.Namespace == metav1.NamespaceNone || e.Namespace == metav1.NamespaceDefault)
		if !clusterScoped && about != e.Namespace {
			errs = append(errs, elsewhere)
		}
	} else {
		if about == "" && e.Namespace != metav1.NamespaceDefault && e.Namespace != metav1.NamespaceSystem {
			errs = append(errs, elsewhere)
		}
		errs = append(errs, validateEventReport(e, reporter)...)
	}
	return append(errs, validateDNSSubdomain(e.Namespace, field.NewPath("namespace"))...)
}

func validateEventReport(e *corev1.Event, reporter string) field.ErrorList {
	const short, long = 128, 1024
	errs := validateRequired(e.ReportingController, field.NewPath(reporter))
	errs = append(errs, validateQualifiedName(e.ReportingController, field.NewPath(reporter))...)
	for _, f := range []struct {
		name, value string
		most        int
		required    bool
	}{
		{"reportingInstance", e.ReportingInstance, short, true},
		{"action", e.Action, short, true},
		{"reason", e.Reason, short, true},
		{"message", e.Message, long, false},
	} {
		if f.required {
			errs = append(errs, validateRequired(f.value, field.NewPath(f.name))...)
		}
		if len(f.value) > f.most {
			errs = append(errs, field.Invalid(field.NewPath(f.name), "", fmt.Sprintf("can have at most %v characters", f.most)))
		}
	}
	return errs
}

// validateNewEvent wants the new fields, and none of the old.
func validateNewEvent(e *corev1.Event) field.ErrorList {
	errs := validateEventSeries(e)
	if e.EventTime.Time.IsZero() {
		errs = append(errs, field.Required(field.NewPath("eventTime"), ""))
	}
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		errs = append(errs, field.Invalid(field.NewPath("type"), "", fmt.Sprintf("has invalid value: %v", e.Type)))
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"firstTimestamp", !e.FirstTimestamp.Time.IsZero()},
		{"lastTimestamp", !e.LastTimestamp.Time.IsZero()},
		{"count", e.Count != 0},
		{"source", e.Source != (corev1.EventSource{})},
	} {
		if f.set {
			errs = append(errs, field.Invalid(field.NewPath(f.name), "", "needs to be unset"))
		}
	}
	return errs
}

func validateEventSeries(e *corev1.Event) field.ErrorList {
	if e.Series == nil {
		return nil
	}
	var errs field.ErrorList
	if e.Series.Count < 2 {
		errs = append(errs, field.Invalid(field.NewPath("series.count"), "", "should be at least 2"))
	}
	if e.Series.LastObservedTime.Time.IsZero() {
		errs = append(errs, field.Required(field.NewPath("series.lastObservedTime"), ""))
	}
	return errs
}

// validateEventKept lets nothing change but the series and the metadata.
func validateEventKept(e, old *corev1.Event) field.ErrorList {
	var errs field.ErrorList
	if !reflect.DeepEqual(e.Series, old.Series) {
		errs = append(errs, validateEventSeries(e)...)
	}
	kept := func(name string, now, before any) {
		errs = append(errs, apivalidation.ValidateImmutableField(now, before, field.NewPath(name))...)
	}
	kept("involvedObject", e.InvolvedObject, old.InvolvedObject)
	kept("reason", e.Reason, old.Reason)
	kept("message", e.Message, old.Message)
	kept("source", e.Source, old.Source)
	kept("firstTimestamp", e.FirstTimestamp, old.FirstTimestamp)
	kept("lastTimestamp", e.LastTimestamp, old.LastTimestamp)
	kept("count", e.Count, old.Count)
	kept("reason", e.Reason, old.Reason) // a second time, as upstream: clients count the causes
	kept("type", e.Type, old.Type)
	// Clients may send the time with more or less than the microseconds that are kept.
	if !e.EventTime.Truncate(time.Microsecond).Equal(old.EventTime.Truncate(time.Microsecond)) {
		kept("eventTime", e.EventTime, old.EventTime)
	}
	kept("action", e.Action, old.Action)
	kept("related", e.Related, old.Related)
	kept("reportingController", e.ReportingController, old.ReportingController)
	kept("reportingInstance", e.ReportingInstance, old.ReportingInstance)
	return errs
}
