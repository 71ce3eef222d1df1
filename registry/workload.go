package registry

import (
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// What the kinds share that make pods from a template: numbers of replicas, a selector that has to match the template,
// and columns that show its containers.

// tally is a named number of an object.
type tally struct {
	name string
	n    int64
}

// tallyOf names a number that may be absent, which counts as zero.
func tallyOf[N int32 | int64](name string, n *N) tally {
	return tally{name, int64(ptr.Deref(n, 0))}
}

// validateTallies wants every number below path to be zero or more.
func validateTallies(path *field.Path, tallies ...tally) field.ErrorList {
	var errs field.ErrorList
	for _, t := range tallies {
		errs = append(errs, validateNonnegative(t.n, path.Child(t.name))...)
	}
	return errs
}

// validateTalliesWithin wants every number below path to be at most limit; why is the complaint.
func validateTalliesWithin(path *field.Path, limit int32, why string, tallies ...tally) field.ErrorList {
	var errs field.ErrorList
	for _, t := range tallies {
		if t.n > int64(limit) {
			errs = append(errs, field.Invalid(path.Child(t.name), t.n, why))
		}
	}
	return errs
}

// validateCollisions refuses a status whose collision count went back: names that it makes would collide again.
func validateCollisions(now, old *int32, path *field.Path) field.ErrorList {
	if old == nil || now != nil && *now >= *old {
		return nil
	}
	n := tallyOf("collisionCount", now)
	return field.ErrorList{field.Invalid(path.Child(n.name), n.n, "cannot be decremented")}
}

// validateSelection wants a selector that is well-formed and chooses something; kind is what the message calls the
// object. badValues tolerates malformed label values, which older releases let pass.
func validateSelection(s *metav1.LabelSelector, kind string, badValues bool, path *field.Path) field.ErrorList {
	opts := metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: badValues}
	errs := metavalidation.ValidateLabelSelector(s, opts, path)
	if s != nil && len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(path, s, "empty selector is invalid for "+kind))
	}
	return errs
}

// validateTemplateMatch wants the template at path to make pods that the selector finds again.
func validateTemplateMatch(t *corev1.PodTemplateSpec, selector labels.Selector, path *field.Path) field.ErrorList {
	if selector.Matches(labels.Set(t.Labels)) {
		return nil
	}
	return field.ErrorList{field.Invalid(path.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`")}
}

// validateTemplateEndless refuses pods that end by themselves, which kind would make again and again.
func validateTemplateEndless(t *corev1.PodTemplateSpec, kind string, path *field.Path) field.ErrorList {
	errs := validateChoice(t.Spec.RestartPolicy, path.Child("spec", "restartPolicy"), corev1.RestartPolicyAlways)
	if t.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("spec", "activeDeadlineSeconds"),
			"activeDeadlineSeconds in "+kind+" is not Supported"))
	}
	return errs
}

// warnPodName warns of a name that is no DNS label: it becomes a part of pods' host names.
func warnPodName(name string) []string {
	msgs := validation.IsDNS1123Label(name)
	if len(msgs) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; "+
		"a DNS label is recommended: %v", msgs)}
}

// warnReplicas warns of the name of new pods' owner, and of the template of new or changed pods.
func warnReplicas(name string, t *corev1.PodTemplateSpec, isNew, changed bool) []string {
	var warnings []string
	if isNew {
		warnings = warnPodName(name)
	}
	if changed {
		warnings = append(warnings, podTemplateWarnings(field.NewPath("spec", "template"), t)...)
	}
	return warnings
}

// warnHistory warns of a revision history that is never cut.
func warnHistory(limit *int32) []string {
	if limit == nil || *limit >= 0 {
		return nil
	}
	return []string{"spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"}
}

// containersColumns are the wide columns that containerCells fills.
func containersColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		wideColumn("Containers", "Names of each container in the template."),
		wideColumn("Images", "Images referenced by each container in the template."),
	}
}

// containerCells are the names and images of a template's containers.
func containerCells(t *corev1.PodTemplateSpec) []any {
	if t == nil {
		return []any{"", ""}
	}
	var names, images []string
	for _, c := range t.Spec.Containers {
		names, images = append(names, c.Name), append(images, c.Image)
	}
	return []any{strings.Join(names, ","), strings.Join(images, ",")}
}

// selectedContainersColumns are the wide columns of the containers and of the selector that about describes.
func selectedContainersColumns(about string) []metav1.TableColumnDefinition {
	return append(containersColumns(), wideColumn("Selector", about))
}

// withAnnotation is a copy of the annotations in which key has the value.
func withAnnotation(annotations map[string]string, key, value string) map[string]string {
	all := maps.Clone(annotations)
	if all == nil {
		all = map[string]string{}
	}
	all[key] = value
	return all
}
