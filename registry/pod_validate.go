package registry

import (
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validatePod(_ *Write, p, old *corev1.Pod) field.ErrorList {
	if old == nil {
		return validateNewPod(p)
	}
	return validatePodUpdate(p, old)
}

// validatePodAnnotationUpdate fixes the annotations that say how a pod came to be and how it is confined.
func validatePodAnnotationUpdate(p, old *corev1.Pod, opts podOptions) field.ErrorList {
	path := field.NewPath("metadata", "annotations")
	var errs field.ErrorList
	tell := func(key, appArmor, mirror string) {
		if strings.HasPrefix(key, appArmorPrefix) {
			errs = append(errs, field.Forbidden(path.Key(key), appArmor))
		}
		if key == corev1.MirrorPodAnnotationKey {
			errs = append(errs, field.Forbidden(path.Key(key), mirror))
		}
	}
	for _, key := range sortedKeys(old.Annotations) {
		if value, found := p.Annotations[key]; !found || value != old.Annotations[key] {
			tell(key, "may not remove or update AppArmor annotations", "may not remove or update mirror pod annotation")
		}
	}
	for _, key := range sortedKeys(p.Annotations) {
		if _, found := old.Annotations[key]; !found {
			tell(key, "may not add AppArmor annotations", "may not add mirror pod annotation")
		}
	}
	return append(errs, validatePodAnnotations(p.Annotations, &p.Spec, path, opts)...)
}

// validatePodUpdate: of a pod's spec only images, the deadline, and additions to tolerations can change; scheduling gates
// can be taken away, and as long as there are some the choice of nodes can be narrowed.
func validatePodUpdate(p, old *corev1.Pod) field.ErrorList {
	path := field.NewPath("spec")
	opts := podOptionsFrom(&old.Spec, &old.ObjectMeta)
	errs := validatePodContents(p, opts)
	errs = append(errs, validatePodAnnotationUpdate(p, old, opts)...)
	// The rest compares container by container.
	for _, list := range []struct {
		now, old []corev1.Container
		path     *field.Path
	}{
		{p.Spec.Containers, old.Spec.Containers, path.Child("containers")},
		{p.Spec.InitContainers, old.Spec.InitContainers, path.Child("initContainers")},
	} {
		if len(list.now) != len(list.old) {
			return append(errs, field.Forbidden(list.path, "pod updates may not add or remove containers"))
		}
		errs = append(errs, validateNewImages(list.now, list.path)...)
	}
	deadlineErrs, hopeless := validateDeadlineUpdate(p.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds, path.Child("activeDeadlineSeconds"))
	if errs = append(errs, deadlineErrs...); hopeless {
		return errs
	}
	errs = append(errs, validateAddedTolerations(p.Spec.Tolerations, old.Spec.Tolerations, path.Child("tolerations"), opts)...)
	errs = append(errs, validateRemovedGates(p.Spec.SchedulingGates, old.Spec.SchedulingGates, path.Child("schedulingGates"))...)
	if equal(p.Spec, old.Spec) {
		return errs
	}
	rest := withoutUpdatable(&p.Spec, &old.Spec)
	if len(old.Spec.SchedulingGates) > 0 {
		errs = append(errs, validateNarrowedChoice(rest, &old.Spec, path)...)
		rest = withoutNodeChoice(rest, &old.Spec)
	}
	if !equal(*rest, old.Spec) {
		errs = append(errs, field.Forbidden(path, "pod updates may not change fields other than "+updatablePodFields+"\n"+diff.Diff(old.Spec, *rest)))
	}
	return errs
}

const updatablePodFields = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`," +
	"`spec.tolerations` (only additions to existing tolerations)," +
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"

func validateNewImages(containers []corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, c := range containers {
		if c.Image == "" {
			errs = append(errs, field.Required(path.Index(i).Child("image"), ""))
		}
		errs = append(errs, validateImageTrimmed(&c, path.Index(i))...)
	}
	return errs
}

// validateDeadlineUpdate: a deadline may be set, and shortened. hopeless says that further errors would confuse.
func validateDeadlineUpdate(now, old *int64, path *field.Path) (errs field.ErrorList, hopeless bool) {
	switch {
	case now == nil && old == nil:
		return nil, false
	case now == nil:
		return field.ErrorList{field.Invalid(path, now, "must not update from a positive integer to nil value")}, false
	case *now < 0 || *now > math.MaxInt32:
		return field.ErrorList{field.Invalid(path, *now, validation.InclusiveRangeError(0, math.MaxInt32))}, true
	case old != nil && *old < *now:
		return field.ErrorList{field.Invalid(path, *now, "must be less than or equal to previous value")}, true
	}
	return nil, false
}

// validateAddedTolerations: tolerations stay, but for how long a taint is tolerated.
func validateAddedTolerations(now, old []corev1.Toleration, path *field.Path, opts podOptions) field.ErrorList {
	for _, former := range old {
		kept := func(t corev1.Toleration) bool {
			t.TolerationSeconds = former.TolerationSeconds
			return equal(t, former)
		}
		if !slices.ContainsFunc(now, kept) {
			return field.ErrorList{field.Forbidden(path, "existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return validateTolerations(now, path, opts)
}

func validateRemovedGates(now, old []corev1.PodSchedulingGate, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, gate := range now {
		// Of a gate that stands there twice the last is told of.
		if !slices.Contains(old, gate) && !slices.Contains(now[i+1:], gate) {
			errs = append(errs, field.Forbidden(path.Index(i).Child("name"), "only deletion is allowed, but found new scheduling gate '"+gate.Name+"'"))
		}
	}
	return errs
}

// withoutUpdatable is the spec with all that may change as it was.
func withoutUpdatable(s, old *corev1.PodSpec) *corev1.PodSpec {
	rest := s.DeepCopy()
	for i := range rest.Containers {
		rest.Containers[i].Image = old.Containers[i].Image
	}
	for i := range rest.InitContainers {
		rest.InitContainers[i].Image = old.InitContainers[i].Image
	}
	rest.ActiveDeadlineSeconds = old.ActiveDeadlineSeconds
	rest.SchedulingGates = old.SchedulingGates
	rest.Tolerations = old.Tolerations
	if grace := old.TerminationGracePeriodSeconds; grace != nil && *grace < 0 &&
		rest.TerminationGracePeriodSeconds != nil && *rest.TerminationGracePeriodSeconds == 1 {
		rest.TerminationGracePeriodSeconds = grace
	}
	return rest
}

// validateNarrowedChoice: as long as the scheduler has not seen a pod, its choice of nodes may become smaller.
func validateNarrowedChoice(s, old *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for key, value := range old.NodeSelector {
		if now, found := s.NodeSelector[key]; !found || now != value {
			errs = append(errs, field.Invalid(path.Child("nodeSelector"), s.NodeSelector,
				"only additions to spec.nodeSelector are allowed (no mutations or deletions)"))
			break
		}
	}
	path = path.Child("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
	now, former := requiredNodeTerms(s), requiredNodeTerms(old)
	if len(former) > 0 && len(now) != len(former) {
		return append(errs, field.Invalid(path, now, "no additions/deletions to non-empty NodeSelectorTerms list are allowed"))
	}
	for i := range former {
		if !isNarrowerTerm(now[i], former[i]) {
			errs = append(errs, field.Invalid(path.Index(i), now[i], "only additions are allowed (no mutations or deletions)"))
		}
	}
	return errs
}

func requiredNodeTerms(s *corev1.PodSpec) []corev1.NodeSelectorTerm {
	if s.Affinity == nil || s.Affinity.NodeAffinity == nil || s.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return s.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
}

// isNarrowerTerm reports that a term has kept all of its requirements. The empty term selects nothing: whatever is added
// to it would widen it.
func isNarrowerTerm(now, old corev1.NodeSelectorTerm) bool {
	if len(old.MatchExpressions) == 0 && len(old.MatchFields) == 0 {
		return len(now.MatchExpressions) == 0 && len(now.MatchFields) == 0
	}
	return startsWith(now.MatchExpressions, old.MatchExpressions) && startsWith(now.MatchFields, old.MatchFields)
}

func startsWith(now, old []corev1.NodeSelectorRequirement) bool {
	return len(now) >= len(old) && equal(now[:len(old)], old)
}

// withoutNodeChoice is the spec with node selector and node affinity as they were.
func withoutNodeChoice(s, old *corev1.PodSpec) *corev1.PodSpec {
	rest := s.DeepCopy()
	rest.NodeSelector = old.NodeSelector
	var former *corev1.NodeAffinity
	if old.Affinity != nil {
		former = old.Affinity.NodeAffinity
	}
	switch {
	case rest.Affinity == nil && former == nil:
	case rest.Affinity == nil:
		rest.Affinity = &corev1.Affinity{NodeAffinity: former}
	case old.Affinity == nil && rest.Affinity.PodAffinity == nil && rest.Affinity.PodAntiAffinity == nil && rest.Affinity.NodeAffinity != nil:
		rest.Affinity = nil
	default:
		rest.Affinity.NodeAffinity = former
	}
	return rest
}
