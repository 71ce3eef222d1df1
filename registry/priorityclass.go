package registry

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	systemPriorityPrefix = "system-"
	// highestUserPriority bounds what users may define; the system's classes lie above.
	highestUserPriority = 1_000_000_000
	// systemCriticalPriority is where the system's classes begin.
	systemCriticalPriority = 2 * highestUserPriority
)

// priorityClass names a priority of pods.
func priorityClass() *Resource {
	about := func(name string) string { return doc(schedulingv1.PriorityClass{}, name) }
	return Kind[*schedulingv1.PriorityClass]{
		Resource: Resource{
			Group: "scheduling.k8s.io", Plural: "priorityclasses", Singular: "priorityclass", Kind: "PriorityClass",
			ShortNames: []string{"pc"}, Prefix: "priorityclasses", Governs: true, Versions: []Version{{Name: "v1"}},
			ValidateName: apivalidation.NameIsDNSSubdomain,
			Permanent: func(name string) string {
				for _, known := range systemPriorityClasses() {
					if known.Name == name {
						return "this is a system priority class and cannot be deleted"
					}
				}
				return ""
			},
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				{Name: "Value", Type: "integer", Description: about("value")},
				{Name: "Global-Default", Type: "boolean", Description: about("globalDefault")},
				ageColumn(),
				textColumn("PreemptionPolicy", about("preemptionPolicy")),
			},
		},
		Default: func(c *schedulingv1.PriorityClass) {
			fillPointer(&c.PreemptionPolicy, corev1.PreemptLowerPriority)
		},
		Prepare: func(_ *Write, c, old *schedulingv1.PriorityClass) {
			if old == nil {
				c.Generation = 1
			}
		},
		Validate: validatePriorityClass,
		Cells:    priorityClassCells,
	}.row()
}

// validatePriorityClass judges the values of new classes only: they never change.
func validatePriorityClass(_ *Write, c, old *schedulingv1.PriorityClass) field.ErrorList {
	if old != nil {
		return validatePriorityClassKept(c, old)
	}
	var errs field.ErrorList
	switch {
	case strings.HasPrefix(c.Name, systemPriorityPrefix):
		if why := notSystemPriorityClass(c); why != "" {
			errs = append(errs, field.Forbidden(field.NewPath("metadata", "name"),
				"priority class names with '"+systemPriorityPrefix+"' prefix are reserved for system use only. error: "+why))
		}
	case c.Value > highestUserPriority:
		errs = append(errs, field.Forbidden(field.NewPath("value"),
			fmt.Sprintf("maximum allowed value of a user defined priority is %d", highestUserPriority)))
	}
	if c.PreemptionPolicy != nil {
		errs = append(errs, validateRequiredChoice(*c.PreemptionPolicy, field.NewPath("preemptionPolicy"),
			corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	return errs
}

func validatePriorityClassKept(c, old *schedulingv1.PriorityClass) field.ErrorList {
	errs := apivalidation.ValidateImmutableField(c.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy"))
	if c.Value != old.Value {
		errs = append(errs, field.Forbidden(field.NewPath("value"), "may not be changed in an update."))
	}
	return errs
}

// notSystemPriorityClass says how a class differs from the system's of the same name; empty if it does not.
func notSystemPriorityClass(c *schedulingv1.PriorityClass) string {
	for _, known := range systemPriorityClasses() {
		switch {
		case known.Name != c.Name:
		case known.Value != c.Value:
			return fmt.Sprintf("value of %v PriorityClass must be %v", known.Name, known.Value)
		case known.GlobalDefault != c.GlobalDefault:
			return fmt.Sprintf("globalDefault of %v PriorityClass must be %v", known.Name, known.GlobalDefault)
		default:
			return ""
		}
	}
	return c.Name + " is not a known system priority class"
}

func priorityClassCells(c *schedulingv1.PriorityClass) []any {
	preemption := ""
	if p := c.PreemptionPolicy; p != nil {
		preemption = string(*p)
	}
	return []any{c.Name, int64(c.Value), c.GlobalDefault, Age{At: c.CreationTimestamp}, preemption}
}
