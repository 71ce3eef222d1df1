package controllers

import (
	"context"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// ttlAfterFinished promises that a Job goes, and its pods with it, when as much time has passed since its end as its
// ttlSecondsAfterFinished says.
//
// The subtle case is somebody who has just said that it may stay longer: the API is asked before it is deleted.
type ttlAfterFinished struct{ jobs *Source }

func ttlAfterFinishedLoop(c *Config) Loop {
	x := &ttlAfterFinished{c.Source(&batchv1.Job{})}
	return Loop{Watches: []Watch{{x.jobs, expiringJob}}, Reconcile: x.reconcile}
}

func expiringJob(_, now metav1.Object) []Key {
	if now == nil {
		return nil
	}
	if _, expires := jobExpiry(now.(*batchv1.Job)); !expires {
		return nil
	}
	return []Key{KeyOf(now)}
}

func (x *ttlAfterFinished) reconcile(ctx context.Context, t *Turn) error {
	job, there := x.jobs.cached(t.Key).(*batchv1.Job)
	if !there || !expired(t, job) {
		return nil
	}
	client := t.Client.BatchV1().Jobs(t.Namespace)
	job, err := client.Get(ctx, t.Name, metav1.GetOptions{})
	if err != nil || !expired(t, job) {
		return goneAlready(err)
	}
	return Delete(ctx, t, client, job, metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)})
}

// expired reports that it is time for a Job to go, and asks for a turn when it will be.
func expired(t *Turn, job *batchv1.Job) bool {
	at, expires := jobExpiry(job)
	if rest := at.Sub(t.Now); expires && rest > 0 {
		t.Again(rest)
		return false
	}
	return expires
}

// jobExpiry is when a Job is to go; false if that is not known, or not wanted.
func jobExpiry(job *batchv1.Job) (time.Time, bool) {
	ttl := job.Spec.TTLSecondsAfterFinished
	i := slices.IndexFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
		return (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue
	})
	if job.DeletionTimestamp != nil || ttl == nil || i < 0 || job.Status.Conditions[i].LastTransitionTime.IsZero() {
		return time.Time{}, false
	}
	return job.Status.Conditions[i].LastTransitionTime.Add(time.Duration(*ttl) * time.Second), true
}
