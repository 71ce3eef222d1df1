package controllers

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

func TestCronPlan(t *testing.T) {
	at := func(text string) time.Time {
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	stamp := func(text string) *metav1.Time { return &metav1.Time{Time: at(text)} }
	running := func(c *batchv1.CronJob) { c.Status.Active = []corev1.ObjectReference{{Name: "other", UID: "o"}} }
	for rule, test := range map[string]struct {
		schedule, now string
		change        func(*batchv1.CronJob)
		fresh         bool
		start         string // "" for none
		again         time.Duration
		reasons       string
	}{
		"before its time nothing runs": {schedule: "0 * * * *", now: "2026-05-01T10:59:00Z", again: time.Minute + 100*time.Millisecond},
		"at its time it runs":          {schedule: "0 * * * *", now: "2026-05-01T11:00:00Z", start: "2026-05-01T11:00:00Z", again: time.Hour + 100*time.Millisecond},
		"and not again": {schedule: "0 * * * *", now: "2026-05-01T11:00:01Z", again: time.Hour - 900*time.Millisecond,
			change: func(c *batchv1.CronJob) { c.Status.LastScheduleTime = stamp("2026-05-01T11:00:00Z") }},
		"of the missed only the last is made up for": {schedule: "0 * * * *", now: "2026-05-01T14:30:00Z", start: "2026-05-01T14:00:00Z", again: 30*time.Minute + 100*time.Millisecond},
		"over a hundred missed are told of": {schedule: "* * * * *", now: "2026-05-01T12:30:30Z", start: "2026-05-01T12:30:00Z", again: 30*time.Second + 100*time.Millisecond,
			reasons: "TooManyMissedTimes"},
		"unless a deadline shortens the past": {schedule: "* * * * *", now: "2026-05-01T12:30:30Z", start: "2026-05-01T12:30:00Z", again: 30*time.Second + 100*time.Millisecond,
			change: func(c *batchv1.CronJob) { c.Spec.StartingDeadlineSeconds = ptr.To[int64](200) }},
		"past the deadline the run is lost": {schedule: "0 * * * *", now: "2026-05-01T14:30:00Z", again: 30*time.Minute + 100*time.Millisecond,
			change: func(c *batchv1.CronJob) { c.Spec.StartingDeadlineSeconds = ptr.To[int64](60) }},
		"a new schedule does not make up for the past": {schedule: "0 * * * *", now: "2026-05-01T14:30:00Z", fresh: true, again: 30*time.Minute + 100*time.Millisecond},
		"suspended it never runs":                      {schedule: "* * * * *", now: "2026-05-01T14:30:00Z", change: func(c *batchv1.CronJob) { c.Spec.Suspend = ptr.To(true) }},
		"Forbid waits for the one that runs": {schedule: "0 * * * *", now: "2026-05-01T11:00:01Z", again: time.Hour - 900*time.Millisecond, reasons: "JobAlreadyActive",
			change: func(c *batchv1.CronJob) { running(c); c.Spec.ConcurrencyPolicy = batchv1.ForbidConcurrent }},
		"Replace and Allow do not": {schedule: "0 * * * *", now: "2026-05-01T11:00:00Z", start: "2026-05-01T11:00:00Z", again: time.Hour + 100*time.Millisecond, change: running},
		"a zone of its own": {schedule: "0 13 * * *", now: "2026-05-01T11:00:00Z", start: "2026-05-01T11:00:00Z", again: 24*time.Hour + 100*time.Millisecond,
			change: func(c *batchv1.CronJob) { c.Spec.TimeZone = ptr.To("Europe/Berlin") }},
		"a zone that nobody knows": {schedule: "* * * * *", now: "2026-05-01T11:00:00Z", reasons: "UnknownTimeZone",
			change: func(c *batchv1.CronJob) { c.Spec.TimeZone = ptr.To("Atlantis") }},
		"the lost hour of spring": {schedule: "30 2 * * *", now: "2026-03-29T12:00:00Z", start: "2026-03-28T01:30:00Z", again: 12*time.Hour + 30*time.Minute + 100*time.Millisecond,
			change: func(c *batchv1.CronJob) {
				c.Spec.TimeZone, c.CreationTimestamp = ptr.To("Europe/Berlin"), *stamp("2026-03-27T20:00:00Z")
			}},
		"a day that no month has":            {schedule: "0 0 31 2 *", now: "2026-05-01T11:00:00Z", reasons: "InvalidSchedule"},
		"a schedule that nobody understands": {schedule: "now and then", now: "2026-05-01T11:00:00Z", reasons: "UnparseableSchedule"},
	} {
		t.Run(rule, func(t *testing.T) {
			c := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "c", CreationTimestamp: *stamp("2026-05-01T10:30:00Z")}}
			c.Spec.Schedule, c.Spec.TimeZone = test.schedule, ptr.To("UTC")
			if test.change != nil {
				test.change(c)
			}
			p := planCron(c, test.fresh, at(test.now))
			start, reasons := "", []string{}
			if !p.start.IsZero() {
				start = p.start.UTC().Format(time.RFC3339)
			}
			for _, n := range p.tell {
				reasons = append(reasons, n.reason)
			}
			if got := strings.Join(reasons, " "); start != test.start || p.again != test.again || got != test.reasons {
				t.Errorf("starts %q, looks again in %v, says %q", start, p.again, got)
			}
		})
	}
}

// endedJob is a Job that started some minutes after noon, and has ended in a way; "" for not yet.
func endedJob(name string, minutes int, how batchv1.JobConditionType) *batchv1.Job {
	at := metav1.Time{Time: jobNoon().Add(time.Duration(minutes) * time.Minute)}
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}, Status: batchv1.JobStatus{StartTime: &at}}
	if how != "" {
		j.Status.Conditions = []batchv1.JobCondition{{Type: how, Status: corev1.ConditionTrue}}
	}
	if how == batchv1.JobComplete {
		j.Status.CompletionTime = &at
	}
	return j
}

func TestOldestJobsAreDropped(t *testing.T) {
	jobs := []*batchv1.Job{endedJob("s3", 3, batchv1.JobComplete), endedJob("s1", 1, batchv1.JobComplete), endedJob("f2", 2, batchv1.JobFailed),
		endedJob("f1", 1, batchv1.JobFailed), endedJob("r", 0, "")}
	for rule, test := range map[string]struct {
		succeeded, failed *int32
		want              []string
	}{
		"each kind has its limit":      {ptr.To[int32](1), ptr.To[int32](0), []string{"s1", "f1", "f2"}},
		"without a limit all are kept": {nil, ptr.To[int32](1), []string{"f1"}},
	} {
		t.Run(rule, func(t *testing.T) {
			var got []string
			for _, j := range outlived(&batchv1.CronJob{Spec: batchv1.CronJobSpec{SuccessfulJobsHistoryLimit: test.succeeded, FailedJobsHistoryLimit: test.failed}}, jobs) {
				got = append(got, j.Name)
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestStatusFollowsItsJobs(t *testing.T) {
	jobs := []*batchv1.Job{endedJob("s1", 1, batchv1.JobComplete), endedJob("s3", 3, batchv1.JobComplete), endedJob("r", 0, ""), endedJob("unknown", 0, "")}
	c := &batchv1.CronJob{Status: batchv1.CronJobStatus{Active: []corev1.ObjectReference{{Name: "s1", UID: "s1"}, {Name: "r", UID: "r"}}}}
	got := takeStock(c, jobs)
	want := []told{{"Normal", "SawCompletedJob", "Saw completed job: s1, condition: Complete"},
		{"Warning", "UnexpectedJob", "Saw a job that the controller did not create or forgot: unknown"}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(told{})); d != "" {
		t.Error(d)
	}
	if len(c.Status.Active) != 1 || c.Status.Active[0].Name != "r" || !c.Status.LastSuccessfulTime.Equal(jobs[1].Status.CompletionTime) {
		t.Errorf("%+v", c.Status)
	}
}
