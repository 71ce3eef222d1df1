package registry

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// nodeLabelAdvice is what to say to those who select nodes by a label of former times; empty for all other labels.
func nodeLabelAdvice(label string) string {
	switch label {
	case "beta.kubernetes.io/arch":
		return `deprecated since v1.14; use "kubernetes.io/arch" instead`
	case "beta.kubernetes.io/os":
		return `deprecated since v1.14; use "kubernetes.io/os" instead`
	case "failure-domain.beta.kubernetes.io/region":
		return `deprecated since v1.17; use "topology.kubernetes.io/region" instead`
	case "failure-domain.beta.kubernetes.io/zone":
		return `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`
	case "beta.kubernetes.io/instance-type":
		return `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`
	case "app.kubernetes.io/created-by":
		return "deprecated since v1.9"
	case "scheduler.alpha.kubernetes.io/preferAvoidPods":
		return "deprecated since v1.22; use Taints and Tolerations instead"
	case "node-role.kubernetes.io/master":
		return `use "node-role.kubernetes.io/control-plane" instead`
	}
	return ""
}

// nodeSelectorTermWarnings are about the labels of a term, and about values that no label can have where values is true
// (validation tolerates them in preferences).
func nodeSelectorTermWarnings(term *corev1.NodeSelectorTerm, values bool, path *field.Path) []string {
	var warnings []string
	for i, e := range term.MatchExpressions {
		at := path.Child("matchExpressions").Index(i)
		if advice := nodeLabelAdvice(e.Key); advice != "" {
			warnings = append(warnings, fmt.Sprintf("%s: %s is %s", at.Child("key"), e.Key, advice))
		}
		if !values {
			continue
		}
		for j, value := range e.Values {
			for _, msg := range validation.IsValidLabelValue(value) {
				warnings = append(warnings, fmt.Sprintf("%s: %s is invalid, %s", at.Child("values").Index(j), value, msg))
			}
		}
	}
	return warnings
}
