package registry

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// A job's status may be written by other controllers than ours (spec.managedBy), so that it is held to what clients rely
// on: a finished job stays finished and is done with its pods, counters do not run backwards. A rule about some fields
// is applied when one of them changes: a change of the spec may break it until the controller has caught up, and an
// object that broke it once must remain writable.

// jobStatusRule is one of those rules.
type jobStatusRule struct {
	changed bool // one of the fields that the rule is about differs from the old status
	broken  bool
	err     *field.Error
}

func validateJobStatus(_ *Write, j, old *batchv1.Job) field.ErrorList {
	s, path := &j.Status, field.NewPath("status")
	errs := validateTallies(path,
		tally{"active", int64(s.Active)},
		tally{"succeeded", int64(s.Succeeded)},
		tally{"failed", int64(s.Failed)},
		tallyOf("ready", s.Ready),
		tallyOf("terminating", s.Terminating))
	errs = append(errs, validateUncountedPods(s.UncountedTerminatedPods, path.Child("uncountedTerminatedPods"))...)
	for _, rules := range [][]jobStatusRule{
		jobConditionRules(j, old, path.Child("conditions")),
		jobFinishedRules(j, old, path),
		jobTimeRules(j, old, path),
		jobCounterRules(j, old, path),
		jobIndexRules(j, old, path),
	} {
		for _, r := range rules {
			if r.changed && r.broken {
				errs = append(errs, r.err)
			}
		}
	}
	return errs
}

// validateUncountedPods wants every pod once, be it among the succeeded or the failed.
func validateUncountedPods(pods *batchv1.UncountedTerminatedPods, path *field.Path) field.ErrorList {
	if pods == nil {
		return nil
	}
	var errs field.ErrorList
	seen := sets.New[types.UID]()
	check := func(uids []types.UID, path *field.Path) {
		for i, uid := range uids {
			switch {
			case uid == "":
				errs = append(errs, field.Invalid(path.Index(i), uid, "must not be empty"))
			case seen.Has(uid):
				errs = append(errs, field.Duplicate(path.Index(i), uid))
			}
			seen.Insert(uid)
		}
	}
	check(pods.Succeeded, path.Child("succeeded"))
	check(pods.Failed, path.Child("failed"))
	return errs
}

// jobConditionRules are about conditions that exclude or require each other, and those that do not go away.
func jobConditionRules(j, old *batchv1.Job, path *field.Path) []jobStatusRule {
	is := func(kind batchv1.JobConditionType) bool { return jobHas(j, kind) }
	was := func(kind batchv1.JobConditionType) bool { return jobHas(old, kind) }
	flipped := func(kind batchv1.JobConditionType) bool { return is(kind) != was(kind) }
	rule := func(changed, broken bool, why string) jobStatusRule {
		return jobStatusRule{changed, broken, field.Invalid(path, field.OmitValueType{}, why)}
	}
	complete, failed := is(batchv1.JobComplete), is(batchv1.JobFailed)
	failing, succeeding := is(batchv1.JobFailureTarget), is(batchv1.JobSuccessCriteriaMet)
	rules := []jobStatusRule{
		rule(flipped(batchv1.JobComplete) || flipped(batchv1.JobFailed), complete && failed,
			"cannot set Complete=True and Failed=true conditions"),
		rule(flipped(batchv1.JobComplete) || flipped(batchv1.JobFailureTarget), complete && failing,
			"cannot set Complete=True and FailureTarget=true conditions"),
		rule(flipped(batchv1.JobFailed) || !ptr.Equal(j.Status.FailedIndexes, old.Status.FailedIndexes), failed && !failing,
			"cannot set Failed=True condition without the FailureTarget=true condition"),
		rule(flipped(batchv1.JobComplete) || flipped(batchv1.JobSuccessCriteriaMet), complete && !succeeding,
			"cannot set Complete=True condition without the SuccessCriteriaMet=true condition"),
		rule(true, succeeding && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
		rule(true, succeeding && failing, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
		rule(true, j.Spec.SuccessPolicy != nil && complete && !succeeding,
			"cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"),
		rule(true, was(batchv1.JobSuccessCriteriaMet) && !succeeding, "cannot disable the SuccessCriteriaMet=True condition"),
		rule(true, was(batchv1.JobComplete) && !was(batchv1.JobSuccessCriteriaMet) && succeeding,
			"cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"),
	}
	for _, kind := range []batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobComplete, batchv1.JobFailureTarget} {
		rules = append(rules, rule(true, was(kind) && !is(kind), "cannot disable the terminal "+string(kind)+"=True condition"))
	}
	return rules
}

// jobFinishedRules are about what a finished job has left behind it.
func jobFinishedRules(j, old *batchv1.Job, path *field.Path) []jobStatusRule {
	s, was := &j.Status, &old.Status
	finished := isJobFinished(j)
	flipped := finished != isJobFinished(old)
	uncounted := s.UncountedTerminatedPods
	// A suspended job without completions finishes before it starts.
	empty := ptr.Deref(j.Spec.Suspend, false) && j.Spec.Completions != nil && *j.Spec.Completions == 0
	return []jobStatusRule{
		{flipped || s.Active != was.Active, finished && s.Active > 0,
			field.Invalid(path.Child("active"), s.Active, "active>0 is invalid for finished job")},
		{(flipped || !ptr.Equal(s.StartTime, was.StartTime)) && !empty, finished && s.StartTime == nil,
			field.Required(path.Child("startTime"), "startTime is required for finished job")},
		{flipped || !equal(uncounted, was.UncountedTerminatedPods),
			finished && uncounted != nil && len(uncounted.Succeeded)+len(uncounted.Failed) > 0,
			field.Invalid(path.Child("uncountedTerminatedPods"), uncounted, "must be empty for finished job")},
		{flipped || !ptr.Equal(s.Terminating, was.Terminating), finished && ptr.Deref(s.Terminating, 0) > 0,
			field.Invalid(path.Child("terminating"), s.Terminating, "terminating>0 is invalid for finished job")},
	}
}

func isJobFinished(j *batchv1.Job) bool {
	return jobHas(j, batchv1.JobComplete) || jobHas(j, batchv1.JobFailed)
}

func jobTimeRules(j, old *batchv1.Job, path *field.Path) []jobStatusRule {
	started, ended := j.Status.StartTime, j.Status.CompletionTime
	wasStarted, wasEnded := old.Status.StartTime, old.Status.CompletionTime
	complete := jobHas(j, batchv1.JobComplete)
	completing := complete != jobHas(old, batchv1.JobComplete) || !ended.Equal(wasEnded)
	restarted := !started.Equal(wasStarted)
	// The controller of a job that goes on after its suspension sets a new start.
	resuming := jobHas(old, batchv1.JobSuspended) && jobCondition(j, batchv1.JobSuspended, corev1.ConditionFalse)
	endPath := path.Child("completionTime")
	return []jobStatusRule{
		{completing, ended != nil && !complete,
			field.Invalid(endPath, ended, "cannot set completionTime when there is no Complete=True condition")},
		{completing, ended == nil && complete, field.Required(endPath, "completionTime is required for Complete jobs")},
		{restarted || !ended.Equal(wasEnded), started != nil && ended != nil && ended.Before(started),
			field.Invalid(endPath, ended, "must be equal to or after `startTime`")},
		{ended != nil && wasEnded != nil, !ended.Equal(wasEnded), field.Invalid(endPath, ended, "field is immutable")},
		{restarted && !resuming, wasStarted != nil && !ptr.Deref(j.Spec.Suspend, false),
			field.Invalid(path.Child("startTime"), started, "field is immutable for unsuspended job once set")},
	}
}

func jobCounterRules(j, old *batchv1.Job, path *field.Path) []jobStatusRule {
	s, was := &j.Status, &old.Status
	// An indexed job whose completions follow its parallelism may be made smaller.
	elastic := isIndexedJob(&j.Spec) && ptr.Equal(j.Spec.Completions, j.Spec.Parallelism)
	return []jobStatusRule{
		{true, s.Failed < was.Failed, field.Invalid(path.Child("failed"), s.Failed, "cannot decrease the failed counter")},
		{!elastic, s.Succeeded < was.Succeeded, field.Invalid(path.Child("succeeded"), s.Succeeded, "cannot decrease the succeeded counter")},
		{!ptr.Equal(s.Ready, was.Ready) || s.Active != was.Active, s.Ready != nil && *s.Ready > s.Active,
			field.Invalid(path.Child("ready"), ptr.Deref(s.Ready, 0), "cannot set more ready pods than active")},
	}
}

func jobIndexRules(j, old *batchv1.Job, path *field.Path) []jobStatusRule {
	completed, failed := j.Status.CompletedIndexes, j.Status.FailedIndexes
	completedPath, failedPath := path.Child("completedIndexes"), path.Child("failedIndexes")
	completedChanged := completed != old.Status.CompletedIndexes
	failedChanged := !ptr.Equal(failed, old.Status.FailedIndexes)
	perIndex := j.Spec.BackoffLimitPerIndex != nil
	rules := []jobStatusRule{
		{completedChanged, completed != "" && !isIndexedJob(&j.Spec),
			field.Invalid(completedPath, completed, "cannot set non-empty completedIndexes when non-indexed completion mode")},
		{failedChanged, failed != nil && !perIndex,
			field.Invalid(failedPath, ptr.Deref(failed, ""), "cannot set non-null failedIndexes when backoffLimitPerIndex is null")},
	}
	if j.Spec.Completions == nil {
		return rules
	}
	malformed := func(changed bool, text string, at *field.Path, name string) {
		if _, err := countJobIndexes(text, *j.Spec.Completions); err != nil {
			rules = append(rules, jobStatusRule{changed, true, field.Invalid(at, text, "error parsing "+name+": "+err.Error())})
		}
	}
	malformed(completedChanged, completed, completedPath, "completedIndexes")
	if failed == nil {
		return rules
	}
	malformed(failedChanged && perIndex, *failed, failedPath, "failedIndexes")
	if err := checkJobIndexesApart(completed, *failed, *j.Spec.Completions); err != nil {
		rules = append(rules, jobStatusRule{completedChanged || failedChanged, true, field.Invalid(failedPath, *failed, err.Error())})
	}
	return rules
}
