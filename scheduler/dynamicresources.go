package scheduler

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"
)

// dynamicResources keeps pods that claim devices from all nodes: nobody gives devices out, so that no claim can be met, and a
// pod without its devices must not run.
type dynamicResources struct{}

func newDynamicResources(*Scheduler, *dynamicResourcesArgs) *dynamicResources {
	return &dynamicResources{}
}

// dynamicResourcesArgs are accepted, and of no consequence while nothing is given out.
type dynamicResourcesArgs struct {
	configv1.DynamicResourcesArgs
}

func (a *dynamicResourcesArgs) Default() {
	orElse(&a.FilterTimeout, metav1.Duration{Duration: configv1.DynamicResourcesFilterTimeoutDefault})
	orElse(&a.BindingTimeout, metav1.Duration{Duration: configv1.DynamicResourcesBindingTimeoutDefault})
}

func (a *dynamicResourcesArgs) Validate(at *field.Path) (errs field.ErrorList) {
	if d := a.FilterTimeout; d.Duration < 0 {
		errs = append(errs, field.Invalid(at.Child("filterTimeout"), d, "must be zero or positive"))
	}
	if d := a.BindingTimeout; d.Seconds() < 1 {
		errs = append(errs, field.Invalid(at.Child("bindingTimeout"), d, "must be at least 1 second"))
	}
	return errs
}

func (*dynamicResources) Filter(c *Cycle) (Judge, *Refusal) {
	if len(c.Pod.Spec.ResourceClaims) == 0 {
		return nil, nil
	}
	refusal := &Refusal{"DynamicResources", []string{"cannot allocate all claims"}, true}
	return judging(func(*Node) *Refusal { return refusal }), nil
}

// WakenBy is nothing: what a pod claims does not change.
func (*dynamicResources) WakenBy() Kind           { return 0 }
func (*dynamicResources) Helps(*Event, *Pod) bool { return false }

// Facts name the claims.
func (*dynamicResources) Facts(c *Cycle, _ Judge, _ *Node) []Fact {
	var names []string
	for _, claim := range c.Pod.Spec.ResourceClaims {
		names = append(names, claim.Name)
	}
	return []Fact{{Text: "devices are claimed (" + strings.Join(names, ", ") + "); nobody gives them out"}}
}

// Changes are none.
func (*dynamicResources) Changes(*Cycle, Judge, *Node) []Change { return nil }

// Remedy would take devices back that other pods do not need. It says, as upstream's does, that there are none.
func (*dynamicResources) Remedy(c *Cycle, _ *Diagnosis) (*string, string) {
	if len(c.Pod.Spec.ResourceClaims) == 0 {
		return nil, "no new claims to deallocate"
	}
	return nil, "still not schedulable"
}
