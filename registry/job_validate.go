package registry

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// Bounds that keep the lists of indexes in a job's status short.
const (
	maxIndexedParallelism = 100_000
	maxFailedIndexes      = 100_000
	manyCompletions       = 100_000
	manyParallel          = 10_000
	manyFailedIndexes     = 10_000
	maxManagedByLength    = 63
)

// validateJob checks the spec of a changed job twice, as kube-apiserver does: once as that of any job, and once more
// along with what may not change.
func validateJob(_ *Write, j, old *batchv1.Job) field.ErrorList {
	path, opts := field.NewPath("spec"), podTemplateOptions(nil)
	prefixed := true
	if old != nil {
		opts = podTemplateOptions(&old.Spec.Template)
		opts.selectorValues = opts.selectorValues || hasBadSelector(old.Spec.Selector)
		// Jobs of old releases lack the labels with a prefix.
		_, named := old.Spec.Template.Labels[batchv1.JobNameLabel]
		_, owned := old.Spec.Template.Labels[batchv1.ControllerUidLabel]
		prefixed = named && owned
	}
	errs := validateJobLabels(j, prefixed)
	errs = append(errs, validateJobHostnames(j)...)
	errs = append(errs, validateSelectedJobSpec(&j.Spec, path, opts)...)
	if old != nil {
		errs = append(errs, validateSelectedJobSpec(&j.Spec, path, opts)...)
		errs = append(errs, validateJobChange(j, old, path)...)
	}
	return errs
}

// validateJobLabels wants a job that selects its pods by its UID to make pods with the labels that it selects.
func validateJobLabels(j *batchv1.Job, prefixed bool) field.ErrorList {
	if ptr.Deref(j.Spec.ManualSelector, false) || j.Spec.Selector == nil {
		return nil
	}
	var errs field.ErrorList
	if j.UID == "" {
		errs = append(errs, field.Required(field.NewPath("metadata", "uid"), ""))
	}
	wanted := jobLabels(j)
	if !prefixed {
		delete(wanted, batchv1.JobNameLabel)
		delete(wanted, batchv1.ControllerUidLabel)
	}
	path, has := field.NewPath("spec", "template", "metadata", "labels"), j.Spec.Template.Labels
	for _, key := range sortedKeys(wanted) {
		must := fmt.Sprintf("must be '%s'", wanted[key])
		if value, ok := has[key]; !ok {
			errs = append(errs, field.Required(path.Key(key), must))
		} else if value != wanted[key] {
			errs = append(errs, field.Invalid(path.Key(key), has, must))
		}
	}
	if selector, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !selector.Matches(labels.Set(wanted)) {
		errs = append(errs, field.Invalid(field.NewPath("spec", "selector"), j.Spec.Selector, "`selector` not auto-generated"))
	}
	return errs
}

// validateJobHostnames wants the name of an indexed job to leave room for the last index.
func validateJobHostnames(j *batchv1.Job) field.ErrorList {
	completions := ptr.Deref(j.Spec.Completions, 0)
	if !isIndexedJob(&j.Spec) || completions <= 0 {
		return nil
	}
	last := fmt.Sprintf("%s-%d", j.Name, completions-1)
	if len(validation.IsDNS1123Label(last)) == 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata", "name"), j.Name,
		"will not able to create pod with invalid DNS label: "+last)}
}

// validateSelectedJobSpec is about a spec that has got its selector.
func validateSelectedJobSpec(s *batchv1.JobSpec, path *field.Path, opts podOptions) field.ErrorList {
	errs := validateJobSpec(s, path, opts)
	if s.Selector == nil {
		errs = append(errs, field.Required(path.Child("selector"), ""))
	}
	tolerant := metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: opts.selectorValues}
	errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, tolerant, path.Child("selector"))...)
	if selector, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil {
		errs = append(errs, validateTemplateMatch(&s.Template, selector, path.Child("template"))...)
	}
	return errs
}

// validateJobSpec is about the spec of a job, or of the jobs that a CronJob will make.
func validateJobSpec(s *batchv1.JobSpec, path *field.Path, opts podOptions) field.ErrorList {
	errs := validateTallies(path,
		tallyOf("parallelism", s.Parallelism),
		tallyOf("completions", s.Completions),
		tallyOf("activeDeadlineSeconds", s.ActiveDeadlineSeconds),
		tallyOf("backoffLimit", s.BackoffLimit),
		tallyOf("ttlSecondsAfterFinished", s.TTLSecondsAfterFinished),
		tallyOf("backoffLimitPerIndex", s.BackoffLimitPerIndex),
		tallyOf("maxFailedIndexes", s.MaxFailedIndexes))
	if s.MaxFailedIndexes != nil && s.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Required(path.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"))
	}
	errs = append(errs, validateManagedBy(s.ManagedBy, path.Child("managedBy"))...)
	errs = append(errs, validateOptionalChoice(s.CompletionMode, path.Child("completionMode"),
		batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)...)
	switch ptr.Deref(s.CompletionMode, batchv1.NonIndexedCompletion) {
	case batchv1.IndexedCompletion:
		errs = append(errs, validateIndexedJob(s, path)...)
	case batchv1.NonIndexedCompletion:
		errs = append(errs, validateUnindexedJob(s, path)...)
	}
	errs = append(errs, validateJobPolicies(s, path)...)
	errs = append(errs, validatePodTemplateSpec(&s.Template, path.Child("template"), opts)...)
	return append(errs, validateJobRestarts(s, path.Child("template", "spec", "restartPolicy"))...)
}

func validateManagedBy(name *string, path *field.Path) field.ErrorList {
	if name == nil {
		return nil
	}
	errs := validation.IsDomainPrefixedPath(path, *name)
	if len(*name) > maxManagedByLength {
		errs = append(errs, field.TooLong(path, "", maxManagedByLength))
	}
	return errs
}

func validateIndexedJob(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	tooMany := func(name string, n *int32, most int32, why string) {
		if n != nil && *n > most {
			errs = append(errs, field.Invalid(path.Child(name), *n, "must be less than or equal to "+why))
		}
	}
	tooMany("parallelism", s.Parallelism, maxIndexedParallelism, "100000 when completion mode is Indexed")
	tooMany("maxFailedIndexes", s.MaxFailedIndexes, maxFailedIndexes, "100000")
	if s.Completions == nil {
		return append(errs, field.Required(path.Child("completions"), "when completion mode is Indexed"))
	}
	tooMany("maxFailedIndexes", s.MaxFailedIndexes, *s.Completions, "completions")
	if *s.Completions <= manyCompletions || s.BackoffLimitPerIndex == nil {
		return errs
	}
	if s.MaxFailedIndexes == nil {
		errs = append(errs, field.Required(path.Child("maxFailedIndexes"), "must be specified when completions is above 100000"))
	}
	const why = "10000 when completions are above 100000 and used with backoff limit per index"
	tooMany("parallelism", s.Parallelism, manyParallel, why)
	tooMany("maxFailedIndexes", s.MaxFailedIndexes, manyFailedIndexes, why)
	return errs
}

func validateUnindexedJob(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if n := s.BackoffLimitPerIndex; n != nil {
		errs = append(errs, field.Invalid(path.Child("backoffLimitPerIndex"), *n, "requires indexed completion mode"))
	}
	if n := s.MaxFailedIndexes; n != nil {
		errs = append(errs, field.Invalid(path.Child("maxFailedIndexes"), *n, "requires indexed completion mode"))
	}
	return errs
}

// validateJobRestarts wants pods that end. The policy of a pod, which restarts always if it says nothing, will not do.
func validateJobRestarts(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	policy := s.Template.Spec.RestartPolicy
	switch {
	case policy == corev1.RestartPolicyAlways, policy == "":
		return field.ErrorList{field.Required(path, `valid values: "OnFailure", "Never"`)}
	case policy != corev1.RestartPolicyOnFailure && policy != corev1.RestartPolicyNever:
		return field.ErrorList{field.NotSupported(path, policy, []corev1.RestartPolicy{corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever})}
	case policy != corev1.RestartPolicyNever && s.PodFailurePolicy != nil:
		return field.ErrorList{field.Invalid(path, policy, `only "Never" is supported when podFailurePolicy is specified`)}
	}
	return nil
}

// validateJobChange is about what may not change.
func validateJobChange(j, old *batchv1.Job, path *field.Path) field.ErrorList {
	s, was := &j.Spec, &old.Spec
	errs := validateCompletionsChange(s, was, path)
	errs = append(errs, validateJobTemplateChange(j, old, path)...)
	for _, f := range []struct {
		name   string
		is, by any
	}{
		{"selector", s.Selector, was.Selector},
		{"completionMode", s.CompletionMode, was.CompletionMode},
		{"podFailurePolicy", s.PodFailurePolicy, was.PodFailurePolicy},
		{"backoffLimitPerIndex", s.BackoffLimitPerIndex, was.BackoffLimitPerIndex},
		{"managedBy", s.ManagedBy, was.ManagedBy},
		{"successPolicy", s.SuccessPolicy, was.SuccessPolicy},
	} {
		errs = append(errs, apivalidation.ValidateImmutableField(f.is, f.by, path.Child(f.name))...)
	}
	return errs
}

// validateCompletionsChange lets an indexed job grow and shrink along with its parallelism.
func validateCompletionsChange(s, was *batchv1.JobSpec, path *field.Path) field.ErrorList {
	at := path.Child("completions")
	switch {
	case !isIndexedJob(s):
		return apivalidation.ValidateImmutableField(s.Completions, was.Completions, at)
	case equal(s.Completions, was.Completions) || s.Completions == nil || equal(s.Completions, s.Parallelism):
		return nil
	}
	return field.ErrorList{field.Invalid(at, *s.Completions, fmt.Sprintf("can only be modified in tandem with %s", path.Child("parallelism")))}
}

// validateJobTemplateChange keeps the template of a job that runs. Of one that is suspended and has no pods, queueing
// systems may set where the pods go and which resources they ask for.
func validateJobTemplateChange(j, old *batchv1.Job, path *field.Path) field.ErrorList {
	if !isJobAtRest(old) {
		if now := &j.Spec.Template; !equal(*now, old.Spec.Template) {
			return field.ErrorList{field.Invalid(path.Child("template"), quotedTemplate{now.ObjectMeta, now.Spec}, apivalidation.FieldImmutableErrorMsg)}
		}
		return nil
	}
	is, was := &j.Spec.Template.Spec, old.Spec.Template.Spec.DeepCopy()
	was.Affinity = withNodeAffinity(was.Affinity, is.Affinity)
	was.NodeSelector, was.Tolerations, was.SchedulingGates = is.NodeSelector, is.Tolerations, is.SchedulingGates
	adoptResources(was.Containers, is.Containers)
	adoptResources(was.InitContainers, is.InitContainers)
	return apivalidation.ValidateImmutableField(is, was, path.Child("template.spec"))
}

// isJobAtRest reports that a job is suspended and none of its pods is there.
func isJobAtRest(j *batchv1.Job) bool {
	unstarted := j.Status.StartTime == nil || jobHas(j, batchv1.JobSuspended)
	return ptr.Deref(j.Spec.Suspend, false) && unstarted && j.Status.Active == 0
}

// withNodeAffinity is the affinity with the node affinity of another; nil if nothing is in it.
func withNodeAffinity(affinity, from *corev1.Affinity) *corev1.Affinity {
	out := ptr.Deref(affinity, corev1.Affinity{})
	out.NodeAffinity = nil
	if from != nil {
		out.NodeAffinity = from.NodeAffinity
	} else if out == (corev1.Affinity{}) {
		return nil
	}
	return &out
}

// adoptResources takes over the resources of containers that are the same by place and name.
func adoptResources(to, from []corev1.Container) {
	if len(to) != len(from) {
		return
	}
	for i := range to {
		if to[i].Name == from[i].Name {
			to[i].Resources = from[i].Resources
		}
	}
}
