package registry

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // time zones are to be known on machines that keep none

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// cronJob makes jobs at times that repeat.
func cronJob() *Resource {
	return Kind[*batchv1.CronJob]{
		Resource: Resource{
			Group: "batch", Plural: "cronjobs", Singular: "cronjob", Kind: "CronJob", ShortNames: []string{"cj"},
			Categories: []string{"all"}, Namespaced: true, Prefix: "cronjobs", Versions: []Version{{Name: "v1"}},
			ValidateName: apivalidation.NameIsDNSSubdomain, Reset: []string{"status"},
			Columns: append([]metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("Schedule", doc(batchv1.CronJobSpec{}, "schedule")),
				textColumn("Timezone", doc(batchv1.CronJobSpec{}, "timeZone")),
				{Name: "Suspend", Type: "boolean", Description: doc(batchv1.CronJobSpec{}, "suspend")},
				integerColumn("Active", doc(batchv1.CronJobStatus{}, "active")),
				textColumn("Last Schedule", doc(batchv1.CronJobStatus{}, "lastScheduleTime")),
				ageColumn(),
			}, selectedContainersColumns(doc(batchv1.JobSpec{}, "selector"))...),
		},
		Default:   defaultCronJob,
		Normalize: func(c *batchv1.CronJob) { normalizePodTemplate(&c.Spec.JobTemplate.Spec.Template) },
		Prepare:   prepareCronJob,
		Validate:  validateCronJob,
		Warn:      warnCronJob,
		Cells:     cronJobCells,
		Status: &Door[*batchv1.CronJob]{
			Reset:      []string{"spec"},
			UpdateMeta: NoRules,
			Prepare:    func(_ *Write, c, old *batchv1.CronJob) { c.Spec = old.Spec },
		},
	}.row()
}

// defaultCronJob leaves most of the job's spec alone: its defaults are given when the job is made.
func defaultCronJob(c *batchv1.CronJob) {
	fill(&c.Spec.ConcurrencyPolicy, batchv1.AllowConcurrent)
	fillPointer(&c.Spec.Suspend, false)
	fillPointer(&c.Spec.SuccessfulJobsHistoryLimit, 3)
	fillPointer(&c.Spec.FailedJobsHistoryLimit, 1)
	defaultPodFailurePolicy(c.Spec.JobTemplate.Spec.PodFailurePolicy)
	defaultPodTemplate(&c.Spec.JobTemplate.Spec.Template)
}

func prepareCronJob(_ *Write, c, old *batchv1.CronJob) {
	t := &c.Spec.JobTemplate.Spec.Template
	if old == nil {
		c.Status = batchv1.CronJobStatus{}
		c.Generation = 1
		dropPodTemplateFields(t, nil)
		return
	}
	c.Status = old.Status
	dropPodTemplateFields(t, &old.Spec.JobTemplate.Spec.Template)
	bumpGeneration(c, old, !equal(c.Spec, old.Spec))
}

// maxCronJobName leaves room for the time that is added to make the names of jobs.
const maxCronJobName = validation.DNS1035LabelMaxLength - 11

func validateCronJob(_ *Write, c, old *batchv1.CronJob) field.ErrorList {
	s, path, opts := &c.Spec, field.NewPath("spec"), podTemplateOptions(nil)
	var errs field.ErrorList
	switch {
	case old != nil:
		opts = podTemplateOptions(&old.Spec.JobTemplate.Spec.Template)
	case len(c.Name) > maxCronJobName:
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), c.Name, fmt.Sprintf("must be no more than %d characters", maxCronJobName)))
	}
	errs = append(errs, validateTallies(path,
		tallyOf("startingDeadlineSeconds", s.StartingDeadlineSeconds),
		tallyOf("successfulJobsHistoryLimit", s.SuccessfulJobsHistoryLimit),
		tallyOf("failedJobsHistoryLimit", s.FailedJobsHistoryLimit))...)
	errs = append(errs, validateSchedule(s, old != nil && strings.Contains(old.Spec.Schedule, "TZ"), path.Child("schedule"))...)
	if old == nil || !ptr.Equal(old.Spec.TimeZone, s.TimeZone) {
		errs = append(errs, validateTimeZone(s.TimeZone, path.Child("timeZone"))...)
	}
	errs = append(errs, validateChoice(s.ConcurrencyPolicy, path.Child("concurrencyPolicy"),
		batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)...)
	return append(errs, validateJobTemplate(&s.JobTemplate.Spec, path.Child("jobTemplate", "spec"), opts)...)
}

// validateJobTemplate is about the spec of jobs yet to be made, which will get their selectors then.
func validateJobTemplate(s *batchv1.JobSpec, path *field.Path, opts podOptions) field.ErrorList {
	errs := validateJobSpec(s, path, opts)
	if s.Selector != nil {
		errs = append(errs, field.Invalid(path.Child("selector"), s.Selector, "`selector` will be auto-generated"))
	}
	if ptr.Deref(s.ManualSelector, false) {
		errs = append(errs, field.NotSupported(path.Child("manualSelector"), *s.ManualSelector, []string{"nil", "false"}))
	}
	return errs
}

// validateSchedule refuses a time zone within the schedule, unless the old schedule has one and no field says another.
func validateSchedule(s *batchv1.CronJobSpec, oldHasZone bool, path *field.Path) field.ErrorList {
	if s.Schedule == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	var errs field.ErrorList
	if err := parseSchedule(s.Schedule); err != nil {
		errs = append(errs, field.Invalid(path, s.Schedule, err.Error()))
	}
	switch hasZone := strings.Contains(s.Schedule, "TZ"); {
	case hasZone && !oldHasZone:
		errs = append(errs, field.Invalid(path, s.Schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"))
	case hasZone && s.TimeZone != nil:
		errs = append(errs, field.Invalid(path, s.Schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule"))
	}
	return errs
}

// parseSchedule recovers from the parser, which panics at a time zone without a schedule after it.
func parseSchedule(text string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("invalid schedule format: %v", r)
		}
	}()
	_, err = cron.ParseStandard(text)
	return err
}

// isTimeZonePart reports that text may be a part of a time zone's name: letters, and the digits and signs of names of
// former times, 14 at most (https://data.iana.org/time-zones/theory.html#naming).
func isTimeZonePart(text string) bool {
	if text == "" || len(text) > 14 || text == "." || text == ".." || text[0] == '-' {
		return false
	}
	return !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(".-_+", r)
	})
}

func validateTimeZone(zone *string, path *field.Path) field.ErrorList {
	switch {
	case zone == nil:
		return nil
	case *zone == "":
		return field.ErrorList{field.Invalid(path, *zone, "timeZone must be nil or non-empty string")}
	}
	for part := range strings.SplitSeq(*zone, "/") {
		if !isTimeZonePart(part) {
			return field.ErrorList{field.Invalid(path, *zone, "unknown time zone "+*zone)}
		}
	}
	var errs field.ErrorList
	if strings.EqualFold(*zone, "Local") {
		errs = append(errs, field.Invalid(path, *zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"))
	}
	if _, err := time.LoadLocation(*zone); err != nil {
		errs = append(errs, field.Invalid(path, *zone, err.Error()))
	}
	return errs
}

// warnCronJob names the path of the schedule as kube-apiserver does, with a spec too many.
func warnCronJob(_ *Write, c, old *batchv1.CronJob) []string {
	jobPath := field.NewPath("spec", "jobTemplate", "spec")
	if old == nil {
		return append(warnPodName(c.Name), warnJobSpec(&c.Spec.JobTemplate.Spec, jobPath)...)
	}
	var warnings []string
	if c.Generation != old.Generation {
		warnings = warnJobSpec(&c.Spec.JobTemplate.Spec, jobPath)
	}
	if strings.Contains(c.Spec.Schedule, "TZ") {
		warnings = append(warnings, "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, "+
			"see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details")
	}
	return warnings
}

func cronJobCells(c *batchv1.CronJob) []any {
	var last any = "<none>"
	if t := c.Status.LastScheduleTime; t != nil {
		last = Age{At: *t}
	}
	suspended := "<unset>"
	if c.Spec.Suspend != nil {
		suspended = map[bool]string{true: "True", false: "False"}[*c.Spec.Suspend]
	}
	cells := []any{c.Name, c.Spec.Schedule, ptr.Deref(c.Spec.TimeZone, "<none>"), suspended, int64(len(c.Status.Active)), last,
		Age{At: c.CreationTimestamp}}
	spec := &c.Spec.JobTemplate.Spec
	return append(append(cells, containerCells(&spec.Template)...), metav1.FormatLabelSelector(spec.Selector))
}
