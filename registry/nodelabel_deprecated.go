package registry

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// deprecatedNodeLabel says what is wrong with using a node label that has been replaced.
func deprecatedNodeLabel(key string) (why string, deprecated bool) {
	switch key {
	case "beta.kubernetes.io/arch":
		return `deprecated since v1.14; use "kubernetes.io/arch" instead`, true
	case "beta.kubernetes.io/os":
		return `deprecated since v1.14; use "kubernetes.io/os" instead`, true
	case "failure-domain.beta.kubernetes.io/region":
		return `deprecated since v1.17; use "topology.kubernetes.io/region" instead`, true
	case "failure-domain.beta.kubernetes.io/zone":
		return `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`, true
	case "beta.kubernetes.io/instance-type":
		return `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`, true
	case "app.kubernetes.io/created-by":
		return `deprecated since v1.9`, true
	case "scheduler.alpha.kubernetes.io/preferAvoidPods":
		return `deprecated since v1.22; use Taints and Tolerations instead`, true
	case "node-role.kubernetes.io/master":
		return `use "node-role.kubernetes.io/control-plane" instead`, true
	}
	return "", false
}

// warnNodeSelectorTerm warns of deprecated node labels in a term, and of values that no label can have if
// checkValues is set (a term that only prefers nodes is not refused for them).
func warnNodeSelectorTerm(term corev1.NodeSelectorTerm, checkValues bool, path *field.Path) []string {
	var warnings []string
	for i, e := range term.MatchExpressions {
		at := path.Child("matchExpressions").Index(i)
		if why, deprecated := deprecatedNodeLabel(e.Key); deprecated {
			warnings = append(warnings, fmt.Sprintf("%s: %s is %s", at.Child("key"), e.Key, why))
		}
		if !checkValues {
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

// warnNodeLabelSelector warns of deprecated node labels in a label selector over nodes.
func warnNodeLabelSelector(s *metav1.LabelSelector, path *field.Path) []string {
	if s == nil {
		return nil
	}
	var warnings []string
	for i, e := range s.MatchExpressions {
		if why, deprecated := deprecatedNodeLabel(e.Key); deprecated {
			warnings = append(warnings, fmt.Sprintf("%s: %s is %s", path.Child("matchExpressions").Index(i).Child("key"), e.Key, why))
		}
	}
	for _, key := range sortedKeys(s.MatchLabels) {
		if why, deprecated := deprecatedNodeLabel(key); deprecated {
			warnings = append(warnings, fmt.Sprintf("%s: %s", path.Child("matchLabels").Child(key), why))
		}
	}
	return warnings
}
