package admission

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// mergeTolerations joins two lists and leaves out what another of them covers. Of equal ones the first stays.
func mergeTolerations(first, second []corev1.Toleration) []corev1.Toleration {
	all := slices.Concat(first, second)
	var merged []corev1.Toleration
	for i, t := range all {
		before := func(m corev1.Toleration) bool { return covers(m, t) }
		behind := func(m corev1.Toleration) bool { return covers(m, t) && !equality.Semantic.DeepEqual(m, t) }
		if !slices.ContainsFunc(merged, before) && !slices.ContainsFunc(all[i+1:], behind) {
			merged = append(merged, t)
		}
	}
	return merged
}

// covers reports that what t tolerates, wide tolerates too, for as long. Operators that compare numbers cover nothing
// but themselves.
func covers(wide, t corev1.Toleration) bool {
	anyKey := wide.Key == "" && wide.Operator == corev1.TolerationOpExists
	switch {
	case equality.Semantic.DeepEqual(wide, t):
		return true
	case wide.Key != t.Key && !anyKey, wide.Effect != t.Effect && wide.Effect != "":
		return false
	case wide.Effect == corev1.TaintEffectNoExecute && !lastsAsLong(wide.TolerationSeconds, t.TolerationSeconds):
		return false
	case wide.Operator == corev1.TolerationOpExists:
		return true
	case wide.Operator == corev1.TolerationOpEqual, wide.Operator == "":
		return t.Operator == corev1.TolerationOpEqual && t.Value == wide.Value
	}
	return false
}

// lastsAsLong compares times of toleration; none is for ever.
func lastsAsLong(wide, seconds *int64) bool {
	return wide == nil || seconds != nil && *seconds <= *wide
}
