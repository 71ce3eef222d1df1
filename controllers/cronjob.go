package controllers

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	"k8s.io/utils/ptr"
)

// cronJobs promises that a Job is started whenever a CronJob's schedule says so, once for each time, and that of those that
// have ended only as many are kept as are wanted.
//
// The subtle case is a crash between starting a Job and noting it: the Job's name follows from the time, so that the second
// attempt finds the Job of the first.
type cronJobs struct {
	lister batchlisters.CronJobLister
	jobs   *Source
	skew   prometheus.Histogram // seconds from when a run is due to its Job

	mu          sync.Mutex // guards rescheduled
	rescheduled map[types.UID]bool
}

func newCronJobs(c *Config) Loop {
	x := &cronJobs{lister: c.Informers.Batch().V1().CronJobs().Lister(), jobs: c.Source(&batchv1.Job{}), rescheduled: map[types.UID]bool{},
		skew: prometheus.NewHistogram(prometheus.HistogramOpts{Subsystem: "cronjob_controller", Name: "job_creation_skew_duration_seconds",
			Help: "Time in seconds between when a run is due and when its Job is created.", Buckets: prometheus.ExponentialBuckets(1, 2, 10)})}
	c.measures(x.skew)
	return Loop{
		Watches: []Watch{{c.Source(&batchv1.CronJob{}), x.changed}, {x.jobs, func(old, now metav1.Object) []Key {
			return ownersOrMatching("CronJob", old, now, func(metav1.Object) []Key { return nil })
		}}},
		Reconcile: x.reconcile,
	}
}

// changed notes which schedules are new: runs that they had before now are not made up for.
func (x *cronJobs) changed(old, now metav1.Object) []Key {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case now == nil:
		delete(x.rescheduled, old.GetUID())
	case old != nil:
		before, after := &old.(*batchv1.CronJob).Spec, &now.(*batchv1.CronJob).Spec
		if before.Schedule != after.Schedule || !ptr.Equal(before.TimeZone, after.TimeZone) {
			x.rescheduled[now.GetUID()] = true
		}
	}
	return itself(old, now)
}

func (x *cronJobs) wasRescheduled(uid types.UID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	was := x.rescheduled[uid]
	delete(x.rescheduled, uid)
	return was
}

func (x *cronJobs) reconcile(ctx context.Context, t *Turn) error {
	stored, err := x.lister.CronJobs(t.Namespace).Get(t.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	c := stored.DeepCopy()
	problem := x.turn(ctx, t, c, Owned[*batchv1.Job](x.jobs, c))
	if !equality.Semantic.DeepEqual(stored.Status, c.Status) {
		if _, err := UpdateStatus(ctx, t, t.Client.BatchV1().CronJobs(t.Namespace), c); err != nil {
			return fmt.Errorf("status of cronjob %s: %w", t.Key, err)
		}
	}
	return problem
}

// turn does what is due, and changes c's status accordingly.
func (x *cronJobs) turn(ctx context.Context, t *Turn, c *batchv1.CronJob, jobs []*batchv1.Job) error {
	// 1. Of those that have ended, only as many are kept as are wanted.
	for _, j := range outlived(c, jobs) {
		x.drop(ctx, t, c, j) // it has another chance with the next turn
	}
	// 2. Which of them run?
	for _, n := range takeStock(c, jobs) {
		t.Event(c, n.kind, n.reason, "%s", n.message)
	}
	if err := x.searchMissing(ctx, t, c, jobs); err != nil {
		return err
	}
	if c.DeletionTimestamp != nil {
		return nil
	}
	// 3. Is another due?
	p := planCron(c, x.wasRescheduled(c.UID), t.Now)
	for _, n := range p.tell {
		t.Event(c, n.kind, n.reason, "%s", n.message)
	}
	if p.again > 0 {
		t.Again(p.again)
	}
	if p.start.IsZero() {
		return nil
	}
	if c.Spec.ConcurrencyPolicy == batchv1.ReplaceConcurrent {
		if err := x.replace(ctx, t, c); err != nil {
			return err
		}
	}
	return x.start(ctx, t, c, p.start)
}

// outlived are the oldest of the Jobs that have ended, as far as there are more than are to be kept; those that succeeded
// and those that failed are counted apart.
func outlived(c *batchv1.CronJob, jobs []*batchv1.Job) []*batchv1.Job {
	keep := map[batchv1.JobConditionType]*int32{batchv1.JobComplete: c.Spec.SuccessfulJobsHistoryLimit, batchv1.JobFailed: c.Spec.FailedJobsHistoryLimit}
	ended := map[batchv1.JobConditionType][]*batchv1.Job{}
	for _, j := range jobs {
		if end := jobEnd(j); end != nil {
			ended[end.Type] = append(ended[end.Type], j)
		}
	}
	var out []*batchv1.Job
	for _, how := range slices.Sorted(maps.Keys(ended)) {
		if limit := keep[how]; limit != nil && len(ended[how]) > int(*limit) {
			slices.SortFunc(ended[how], byStart)
			out = append(out, ended[how][:len(ended[how])-int(*limit)]...)
		}
	}
	return out
}

// byStart orders Jobs by when they started: those that have not come last.
func byStart(a, b *batchv1.Job) int {
	switch x, y := a.Status.StartTime, b.Status.StartTime; {
	case x == nil && y != nil:
		return 1
	case x != nil && y == nil:
		return -1
	case x != nil && !x.Equal(y):
		return x.Compare(y.Time)
	}
	return cmp.Compare(a.Name, b.Name)
}

// takeStock corrects the status by what has become of Jobs.
func takeStock(c *batchv1.CronJob, jobs []*batchv1.Job) (tell []told) {
	for _, j := range jobs {
		end, listed := jobEnd(j), isListed(c, j.UID)
		switch {
		case end == nil && !listed:
			tell = append(tell, told{corev1.EventTypeWarning, "UnexpectedJob", "Saw a job that the controller did not create or forgot: " + j.Name})
		case end != nil && listed:
			unlist(c, j.UID)
			tell = append(tell, told{corev1.EventTypeNormal, "SawCompletedJob", fmt.Sprintf("Saw completed job: %s, condition: %v", j.Name, end.Type)})
		}
		if end == nil || end.Type != batchv1.JobComplete || j.Status.CompletionTime == nil {
			continue
		}
		if last := c.Status.LastSuccessfulTime; last == nil || j.Status.CompletionTime.After(last.Time) {
			c.Status.LastSuccessfulTime = j.Status.CompletionTime
		}
	}
	return tell
}

// searchMissing takes Jobs off the list that are not there any more. The API is asked: the cache may be behind.
func (x *cronJobs) searchMissing(ctx context.Context, t *Turn, c *batchv1.CronJob, jobs []*batchv1.Job) error {
	for _, active := range slices.Clone(c.Status.Active) {
		if slices.ContainsFunc(jobs, func(j *batchv1.Job) bool { return j.UID == active.UID }) {
			continue
		}
		_, err := t.Client.BatchV1().Jobs(t.Namespace).Get(ctx, active.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			unlist(c, active.UID)
			t.Event(c, corev1.EventTypeNormal, "MissingJob", "Active job went missing: %v", active.Name)
		case err != nil:
			return err
		}
	}
	return nil
}

// replace deletes the Jobs that run still.
func (x *cronJobs) replace(ctx context.Context, t *Turn, c *batchv1.CronJob) error {
	for _, active := range slices.Clone(c.Status.Active) {
		j, err := t.Client.BatchV1().Jobs(t.Namespace).Get(ctx, active.Name, metav1.GetOptions{})
		if err != nil {
			return t.Failed(c, err, "FailedGet", "Get job: %v", err)
		}
		if err := x.drop(ctx, t, c, j); err != nil {
			return fmt.Errorf("could not replace job %s/%s: %w", j.Namespace, j.Name, err)
		}
	}
	return nil
}

// drop deletes a Job, with its pods.
func (x *cronJobs) drop(ctx context.Context, t *Turn, c *batchv1.CronJob, j *batchv1.Job) error {
	err := Delete(ctx, t, t.Client.BatchV1().Jobs(t.Namespace), j, metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)})
	if err != nil {
		return t.Failed(c, err, "FailedDelete", "Deleted job: %v", err)
	}
	unlist(c, j.UID)
	t.Event(c, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted job %v", j.Name)
	return nil
}

// start creates the Job of a run and lists it. If there is one by that name, it is the CronJob's own from an attempt that
// was not noted, or somebody else's, who is to do the noting.
func (x *cronJobs) start(ctx context.Context, t *Turn, c *batchv1.CronJob, due time.Time) error {
	wanted, err := runOf(c, due)
	if err != nil {
		return err
	}
	client := t.Client.BatchV1().Jobs(t.Namespace)
	j, err := Create(ctx, t, client, wanted)
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	case apierrors.IsAlreadyExists(err):
		if j, err = client.Get(ctx, wanted.Name, metav1.GetOptions{}); err != nil {
			return err
		}
		if !metav1.IsControlledBy(j, c) || isListed(c, j.UID) {
			return nil
		}
	case err != nil:
		return t.Failed(c, err, "FailedCreate", "Error creating job: %v", err)
	default:
		x.skew.Observe(j.CreationTimestamp.Sub(due).Seconds())
		t.Event(c, corev1.EventTypeNormal, "SuccessfulCreate", "Created job %v", j.Name)
	}
	c.Status.Active = append(c.Status.Active, corev1.ObjectReference{APIVersion: "batch/v1", Kind: "Job",
		Namespace: j.Namespace, Name: j.Name, UID: j.UID, ResourceVersion: j.ResourceVersion})
	c.Status.LastScheduleTime = &metav1.Time{Time: due}
	return nil
}

// runOf is the Job of a run, which says for when it was scheduled, in the CronJob's own zone.
func runOf(c *batchv1.CronJob, due time.Time) (*batchv1.Job, error) {
	zone, err := time.LoadLocation(ptr.Deref(c.Spec.TimeZone, ""))
	if err != nil {
		return nil, err
	}
	template := c.Spec.JobTemplate.DeepCopy()
	setEntry(&template.Annotations, batchv1.CronJobScheduledTimestampAnnotation, due.In(zone).Format(time.RFC3339))
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: runName(c, due), Labels: template.Labels, Annotations: template.Annotations,
			OwnerReferences: []metav1.OwnerReference{ownedBy(c, metav1.TypeMeta{APIVersion: "batch/v1", Kind: "CronJob"})}},
		Spec: template.Spec,
	}, nil
}

func isListed(c *batchv1.CronJob, uid types.UID) bool {
	return slices.ContainsFunc(c.Status.Active, func(r corev1.ObjectReference) bool { return r.UID == uid })
}

func unlist(c *batchv1.CronJob, uid types.UID) {
	c.Status.Active = slices.DeleteFunc(slices.Clone(c.Status.Active), func(r corev1.ObjectReference) bool { return r.UID == uid })
}
