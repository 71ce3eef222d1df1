package registry

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// preparePod leaves the status to the status door, and counts changes of the spec.
func preparePod(w *Write, p, old *corev1.Pod) {
	if old == nil {
		prepareNewPod(w, p)
		return
	}
	p.Status = old.Status
	preparePodSpec(p, old)
}

// preparePodSpec is what all doors to the spec have in common.
func preparePodSpec(p, old *corev1.Pod) {
	dropPodSpecFields(&p.Spec, &old.Spec)
	dropPodStatusFields(&p.Status, &old.Status)
	bumpGeneration(p, old, !equal(p.Spec, old.Spec))
}

func prepareNewPod(w *Write, p *corev1.Pod) {
	bumpGeneration(p, nil, true)
	// The class alone is taken from the client: one that copies a pod may say what the original's was.
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: PodQOS(p)}
	dropPodSpecFields(&p.Spec, nil)
	if len(p.Spec.SchedulingGates) > 0 {
		setPodCondition(&p.Status, corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
			Message: "Scheduling is blocked due to non-empty scheduling gates",
		}, second(w.Now))
	}
	resolveLabelKeys(p)
	appArmorFields(w, p)
}

// second is a time as the API keeps it.
func second(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second)) }

// resolveLabelKeys turns the label keys of affinity terms and spread constraints into requirements with the values that
// the pod has now. A term without a selector matches nothing and stays so.
func resolveLabelKeys(p *corev1.Pod) {
	for term := range eachPodAffinityTerm(p.Spec.Affinity) {
		requireLabels(term.LabelSelector, metav1.LabelSelectorOpIn, term.MatchLabelKeys, p.Labels)
		requireLabels(term.LabelSelector, metav1.LabelSelectorOpNotIn, term.MismatchLabelKeys, p.Labels)
	}
	for i := range p.Spec.TopologySpreadConstraints {
		c := &p.Spec.TopologySpreadConstraints[i]
		requireLabels(c.LabelSelector, metav1.LabelSelectorOpIn, c.MatchLabelKeys, p.Labels)
	}
}

func eachPodAffinityTerm(a *corev1.Affinity) func(yield func(*corev1.PodAffinityTerm) bool) {
	return func(yield func(*corev1.PodAffinityTerm) bool) {
		if a == nil {
			return
		}
		var terms []*corev1.PodAffinityTerm
		collect := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
			for i := range preferred {
				terms = append(terms, &preferred[i].PodAffinityTerm)
			}
			for i := range required {
				terms = append(terms, &required[i])
			}
		}
		if a.PodAffinity != nil {
			collect(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
		}
		if a.PodAntiAffinity != nil {
			collect(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
		}
		slices.Values(terms)(yield)
	}
}

func requireLabels(selector *metav1.LabelSelector, operator metav1.LabelSelectorOperator, keys []string, labels map[string]string) {
	if selector == nil {
		return
	}
	for _, key := range keys {
		if value, found := labels[key]; found {
			selector.MatchExpressions = append(selector.MatchExpressions, metav1.LabelSelectorRequirement{
				Key: key, Operator: operator, Values: []string{value},
			})
		}
	}
}

// appArmorFields turns AppArmor annotations of former releases into fields, where those say nothing and the profile is
// not the pod's anyway. The warning is given here because afterwards nobody can tell where the field came from.
func appArmorFields(w *Write, p *corev1.Pod) {
	if p.Spec.OS != nil && p.Spec.OS.Name == corev1.Windows {
		return
	}
	var podProfile *corev1.AppArmorProfile
	if p.Spec.SecurityContext != nil {
		podProfile = p.Spec.SecurityContext.AppArmorProfile
	}
	for c := range eachContainer(&p.Spec) {
		key := appArmorPrefix + c.Name
		annotation, found := p.Annotations[key]
		if !found || c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
			continue
		}
		profile := appArmorProfileOf(annotation)
		if profile != nil && len(validateAppArmorProfile(profile, nil)) > 0 {
			profile = nil
		}
		if profile != nil && podProfile != nil && equal(profile, podProfile) {
			continue
		}
		if profile != nil {
			fillPointer(&c.SecurityContext, corev1.SecurityContext{})
			c.SecurityContext.AppArmorProfile = profile
		}
		w.Warn(fmt.Sprintf("%s: %s", field.NewPath("metadata", "annotations").Key(key), appArmorAdvice))
	}
}

// podWarnings are given to those who create a pod. Updates come from machines, many a second, and are not looked at.
func podWarnings(_ *Write, p, old *corev1.Pod) []string {
	if old != nil {
		return nil
	}
	var warnings []string
	if msgs := validation.IsDNS1123Label(p.Name); len(msgs) > 0 {
		warnings = append(warnings, fmt.Sprintf(
			"metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: %v", msgs))
	}
	return append(warnings, podSpecWarnings(nil, &p.Spec, &p.ObjectMeta)...)
}
