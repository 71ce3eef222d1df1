package controllers

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// missedRuns is how many runs have been missed, as exactly as anybody wants to know.
type missedRuns int

const (
	noneMissed missedRuns = iota
	fewMissed
	manyMissed // over a hundred: a clock may be wrong
)

var errTooOften = errors.New("time difference between two schedules is less than 1 second")

// parseSchedule reads the schedule of a CronJob in its time zone. The library panics over some of what it cannot read.
func parseSchedule(c *batchv1.CronJob) (s cron.Schedule, err error) {
	defer func() {
		if what := recover(); what != nil {
			err = fmt.Errorf("invalid schedule format: %v", what)
		}
	}()
	text := c.Spec.Schedule
	if c.Spec.TimeZone != nil && !hasOwnZone(c) {
		text = "TZ=" + *c.Spec.TimeZone + " " + text
	}
	return cron.ParseStandard(text)
}

// hasOwnZone reports that the schedule itself names a zone, which new CronJobs may not.
func hasOwnZone(c *batchv1.CronJob) bool { return strings.Contains(c.Spec.Schedule, "TZ") }

// lastRun is the last time after from, and not after now, at which something should run; zero if there is none. Where much
// was missed the runs in between are not walked through but estimated by the first two: a schedule may be years behind.
func lastRun(s cron.Schedule, from, now time.Time) (last time.Time, missed missedRuns, err error) {
	first := s.Next(from)
	second := s.Next(first)
	switch {
	case now.Before(first):
		return time.Time{}, noneMissed, nil
	case now.Before(second):
		return first, noneMissed, nil
	}
	step := second.Sub(first).Round(time.Second)
	if step < time.Second {
		return time.Time{}, noneMissed, errTooOften // a day that no month has
	}
	n := now.Sub(first)/step + 1
	// From one step before the estimate: irregular schedules are right too, and those that count from their start
	// (@every) stay in step.
	for t := s.Next(first.Add((n - 2) * step)); !t.After(now); t = s.Next(t) {
		last = t
	}
	if n > 100 {
		return last, manyMissed, nil
	}
	return last, fewMissed, nil
}

// ranLast is where counting begins: with the last run, or with the CronJob.
func ranLast(c *batchv1.CronJob) time.Time {
	if c.Status.LastScheduleTime != nil {
		return c.Status.LastScheduleTime.Time
	}
	return c.CreationTimestamp.Time
}

// nextRunIn is how long it takes until the next run, and a little more: clocks differ.
func nextRunIn(c *batchv1.CronJob, s cron.Schedule, now time.Time) time.Duration {
	const more = 100 * time.Millisecond
	base := ranLast(c)
	switch last, missed, err := lastRun(s, base, now); {
	case err != nil, last.IsZero() && missed != noneMissed:
		base = now
	case !last.IsZero():
		base = last
	}
	return s.Next(base).Add(more).Sub(now)
}

// told is something that people are told of, as an event.
type told struct{ kind, reason, message string }

// cronPlan is what is to be done about the schedule.
type cronPlan struct {
	start time.Time     // the run to start now; zero for none
	again time.Duration // when to look again; zero for when something changes
	tell  []told
}

func (p *cronPlan) say(kind, reason, format string, args ...any) {
	p.tell = append(p.tell, told{kind, reason, fmt.Sprintf(format, args...)})
}

// planCron decides whether a run is due. Of several that were missed only the last is made up for, and not even that if it
// was due too long ago. rescheduled says that the schedule is a new one: what would have run under it is not made up for.
func planCron(c *batchv1.CronJob, rescheduled bool, now time.Time) (p cronPlan) {
	if zone := c.Spec.TimeZone; zone != nil {
		if _, err := time.LoadLocation(*zone); err != nil {
			p.say(corev1.EventTypeWarning, "UnknownTimeZone", "invalid timeZone: %q: %s", *zone, err)
			return p
		}
	}
	if c.Spec.Suspend != nil && *c.Spec.Suspend {
		return p
	}
	if hasOwnZone(c) {
		p.say(corev1.EventTypeWarning, "UnsupportedSchedule", "CRON_TZ or TZ used in schedule %q is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details", c.Spec.Schedule)
	}
	s, err := parseSchedule(c)
	if err != nil {
		p.say(corev1.EventTypeWarning, "UnparseableSchedule", "unparseable schedule: %q : %s", c.Spec.Schedule, err)
		return p
	}
	due, missed, err := lastRun(s, earliestRun(c, now), now)
	if err != nil {
		p.say(corev1.EventTypeWarning, "InvalidSchedule", "invalid schedule: %s : %s", c.Spec.Schedule, err)
		return p
	}
	p.again = nextRunIn(c, s, now)
	if due.IsZero() || rescheduled {
		return p
	}
	if missed == manyMissed {
		p.say(corev1.EventTypeWarning, "TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
	}
	switch {
	case c.Spec.StartingDeadlineSeconds != nil && due.Add(startingDeadline(c)).Before(now):
		p.say(corev1.EventTypeWarning, "MissSchedule", "Missed scheduled time to start a job: %s", due.UTC().Format(time.RFC1123Z))
	case hasStarted(c, due):
	case c.Spec.ConcurrencyPolicy == batchv1.ForbidConcurrent && len(c.Status.Active) > 0:
		p.say(corev1.EventTypeNormal, "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
	default:
		p.start = due
	}
	return p
}

// earliestRun is before which nothing is made up for.
func earliestRun(c *batchv1.CronJob, now time.Time) time.Time {
	from := ranLast(c)
	if c.Spec.StartingDeadlineSeconds != nil {
		if limit := now.Add(-startingDeadline(c)); limit.After(from) {
			return limit
		}
	}
	return from
}

func startingDeadline(c *batchv1.CronJob) time.Duration {
	return time.Duration(*c.Spec.StartingDeadlineSeconds) * time.Second
}

// hasStarted reports that a run is in the status already.
func hasStarted(c *batchv1.CronJob, due time.Time) bool {
	for _, active := range c.Status.Active {
		if active.Name == runName(c, due) {
			return true
		}
	}
	return c.Status.LastScheduleTime != nil && c.Status.LastScheduleTime.Time.Equal(due)
}

// runName is the name of a run's Job. It follows from the time, so that no run is started twice.
func runName(c *batchv1.CronJob, due time.Time) string {
	return fmt.Sprintf("%s-%d", c.Name, due.Unix()/60)
}
