package registry

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// job runs pods until enough of them have succeeded. Unless told otherwise it selects its pods by its own UID, so that
// selector and template are completed when the job is created.
func job() *Resource {
	return Kind[*batchv1.Job]{
		Resource: Resource{
			Group: "batch", Plural: "jobs", Singular: "job", Kind: "Job", Categories: []string{"all"},
			Namespaced: true, Prefix: "jobs", Versions: []Version{{Name: "v1"}},
			ValidateName: apivalidation.NameIsDNSSubdomain, Reset: []string{"status"}, UpdateMeta: UpdateAndCreateRules,
			OrphanByDefault: true,
			OrphanWarning: "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them " +
				"or set propagationPolicy=Orphan to suppress this warning",
			UnknownField: "field label %q not supported for Job",
			Columns: append([]metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("Status", "Status of the job."),
				textColumn("Completions", doc(batchv1.JobStatus{}, "succeeded")),
				textColumn("Duration", "Time required to complete the job."),
				ageColumn(),
			}, selectedContainersColumns(doc(batchv1.JobSpec{}, "selector"))...),
		},
		Default:   defaultJob,
		Normalize: func(j *batchv1.Job) { normalizePodTemplate(&j.Spec.Template) },
		Prepare:   prepareJob,
		Validate:  validateJob,
		// The labels of the completed template are the job's own where it has none.
		Canonicalize: defaultJob,
		Warn: func(_ *Write, j, old *batchv1.Job) []string {
			switch {
			case old == nil:
				return append(warnPodName(j.Name), warnJobSpec(&j.Spec, field.NewPath("spec"))...)
			case j.Generation != old.Generation:
				return warnJobSpec(&j.Spec, field.NewPath("spec"))
			}
			return nil
		},
		Cells: jobCells,
		Fields: []Field[*batchv1.Job]{{
			Path:  "status.successful",
			Value: func(j *batchv1.Job) string { return strconv.Itoa(int(j.Status.Succeeded)) },
		}},
		Status: &Door[*batchv1.Job]{
			Reset:    []string{"spec"},
			Prepare:  func(_ *Write, j, old *batchv1.Job) { j.Spec = old.Spec },
			Validate: validateJobStatus,
		},
	}.row()
}

// defaultJob gives the job its template's labels where it has none. It gives it the same map: the labels that prepareJob
// adds to the template are to be the job's as well, but not where the job came with labels of its own.
func defaultJob(j *batchv1.Job) {
	s := &j.Spec
	if s.Parallelism == nil {
		fillPointer(&s.Completions, 1)
	}
	fillPointer(&s.Parallelism, 1)
	if s.BackoffLimitPerIndex != nil {
		fillPointer(&s.BackoffLimit, math.MaxInt32)
	}
	fillPointer(&s.BackoffLimit, 6)
	if len(j.Labels) == 0 && s.Template.Labels != nil {
		j.Labels = s.Template.Labels
	}
	fillPointer(&s.CompletionMode, batchv1.NonIndexedCompletion)
	fillPointer(&s.Suspend, false)
	if s.PodFailurePolicy != nil {
		fillPointer(&s.PodReplacementPolicy, batchv1.Failed)
	}
	fillPointer(&s.PodReplacementPolicy, batchv1.TerminatingOrFailed)
	fillPointer(&s.ManualSelector, false)
	defaultPodFailurePolicy(s.PodFailurePolicy)
	defaultPodTemplate(&s.Template)
}

func defaultPodFailurePolicy(p *batchv1.PodFailurePolicy) {
	if p == nil {
		return
	}
	for _, rule := range p.Rules {
		for i := range rule.OnPodConditions {
			fill(&rule.OnPodConditions[i].Status, corev1.ConditionTrue)
		}
	}
}

func prepareJob(_ *Write, j, old *batchv1.Job) {
	if old == nil {
		if !*j.Spec.ManualSelector {
			selectJobByUID(j)
		}
		j.Status = batchv1.JobStatus{}
		j.Generation = 1
		dropPodTemplateFields(&j.Spec.Template, nil)
		return
	}
	j.Status = old.Status
	dropPodTemplateFields(&j.Spec.Template, &old.Spec.Template)
	bumpGeneration(j, old, !equal(j.Spec, old.Spec))
}

// selectJobByUID has the job select its pods by its UID, and the template make pods that it finds. What the user wrote
// stays; validation refuses it where it does not fit.
func selectJobByUID(j *batchv1.Job) {
	t := &j.Spec.Template
	if t.Labels == nil {
		t.Labels = map[string]string{}
	}
	add := func(labels map[string]string, key, value string) {
		if _, taken := labels[key]; !taken {
			labels[key] = value
		}
	}
	for key, value := range jobLabels(j) {
		add(t.Labels, key, value)
	}
	fillPointer(&j.Spec.Selector, metav1.LabelSelector{})
	if j.Spec.Selector.MatchLabels == nil {
		j.Spec.Selector.MatchLabels = map[string]string{}
	}
	add(j.Spec.Selector.MatchLabels, batchv1.ControllerUidLabel, string(j.UID))
}

// The labels without a prefix, which jobs had first.
const (
	legacyJobNameLabel       = "job-name"
	legacyControllerUIDLabel = "controller-uid"
)

// jobLabels are those that a job's pods have.
func jobLabels(j *batchv1.Job) map[string]string {
	return map[string]string{
		legacyJobNameLabel: j.Name, batchv1.JobNameLabel: j.Name,
		legacyControllerUIDLabel: string(j.UID), batchv1.ControllerUidLabel: string(j.UID),
	}
}

// warnJobSpec is about the spec of a job, or of the jobs that a CronJob will make, at path.
func warnJobSpec(s *batchv1.JobSpec, path *field.Path) []string {
	var warnings []string
	if isIndexedJob(s) && ptr.Deref(s.Completions, 0) > manyCompletions && ptr.Deref(s.Parallelism, 0) > manyParallel {
		warnings = append(warnings, fmt.Sprintf("%s: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism "+
			"higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail", path))
	}
	return append(warnings, podTemplateWarnings(path.Child("template"), &s.Template)...)
}

// isIndexedJob reports that each of the job's pods has a number of its own.
func isIndexedJob(s *batchv1.JobSpec) bool {
	return ptr.Deref(s.CompletionMode, batchv1.NonIndexedCompletion) == batchv1.IndexedCompletion
}

// jobHas reports that a condition of the job holds.
func jobHas(j *batchv1.Job, kind batchv1.JobConditionType) bool {
	return jobCondition(j, kind, corev1.ConditionTrue)
}

func jobCondition(j *batchv1.Job, kind batchv1.JobConditionType, status corev1.ConditionStatus) bool {
	return slices.ContainsFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool { return c.Type == kind && c.Status == status })
}

func jobCells(j *batchv1.Job) []any {
	cells := []any{j.Name, jobStatusCell(j), jobCompletionsCell(j), jobDurationCell(j), Age{At: j.CreationTimestamp}}
	return append(append(cells, containerCells(&j.Spec.Template)...), metav1.FormatLabelSelector(j.Spec.Selector))
}

func jobCompletionsCell(j *batchv1.Job) string {
	parallel := ptr.Deref(j.Spec.Parallelism, 0)
	switch {
	case j.Spec.Completions != nil:
		return fmt.Sprintf("%d/%d", j.Status.Succeeded, *j.Spec.Completions)
	case parallel > 1:
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, parallel)
	}
	return fmt.Sprintf("%d/1", j.Status.Succeeded)
}

// jobDurationCell is the time from start to completion, or until now.
func jobDurationCell(j *batchv1.Job) any {
	switch started, ended := j.Status.StartTime, j.Status.CompletionTime; {
	case started == nil:
		return ""
	case ended == nil:
		return Age{At: *started}
	default:
		return duration.HumanDuration(ended.Sub(started.Time))
	}
}

// jobStatusCell is the first of the job's states that holds. The first condition of a type counts.
func jobStatusCell(j *batchv1.Job) string {
	has := func(kind batchv1.JobConditionType) bool {
		i := slices.IndexFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool { return c.Type == kind })
		return i >= 0 && j.Status.Conditions[i].Status == corev1.ConditionTrue
	}
	switch {
	case has(batchv1.JobComplete):
		return "Complete"
	case has(batchv1.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case has(batchv1.JobSuspended):
		return "Suspended"
	case has(batchv1.JobFailureTarget):
		return "FailureTarget"
	case has(batchv1.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	}
	return "Running"
}
