package registry

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// ValidateScale is about a Scale that a client sent. It has no store of its own: what is right becomes the number of
// replicas of the object whose sub-resource it is.
func ValidateScale(s *autoscalingv1.Scale) field.ErrorList {
	errs := apivalidation.ValidateObjectMeta(&s.ObjectMeta, true, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	return append(errs, validateTallies(field.NewPath("spec"), tally{"replicas", int64(s.Spec.Replicas)})...)
}

// ScaleTable is the table of Scales.
func ScaleTable() ([]metav1.TableColumnDefinition, func(Object) []any) {
	columns := []metav1.TableColumnDefinition{
		textColumn("Name", doc(metav1.ObjectMeta{}, "name")),
		integerColumn("Desired", doc(autoscalingv1.ScaleSpec{}, "replicas")),
		integerColumn("Available", doc(autoscalingv1.ScaleStatus{}, "replicas")),
		ageColumn(),
	}
	return columns, func(o Object) []any {
		s := o.(*autoscalingv1.Scale)
		return []any{s.Name, int64(s.Spec.Replicas), int64(s.Status.Replicas), Age{At: s.CreationTimestamp}}
	}
}

// newScale is the Scale of an object that wants and has so many replicas; the selector finds their pods.
func newScale(wanted *int32, has int32, selector *metav1.LabelSelector) *autoscalingv1.Scale {
	s := &autoscalingv1.Scale{
		Spec:   autoscalingv1.ScaleSpec{Replicas: ptr.Deref(wanted, 0)},
		Status: autoscalingv1.ScaleStatus{Replicas: has},
	}
	if l, err := metav1.LabelSelectorAsSelector(selector); err == nil {
		s.Status.Selector = l.String()
	}
	return s
}
