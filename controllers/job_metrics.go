package controllers

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// jobMetrics count what becomes of Jobs and their pods, under upstream's names.
type jobMetrics struct {
	syncs, ended, pods *prometheus.CounterVec
	ruled              *prometheus.CounterVec
	held               *prometheus.CounterVec
	seconds            *prometheus.HistogramVec
}

// What a turn of a Job has done, as metrics name it.
const (
	jobReconciling = "reconciling"
	jobTracking    = "tracking"
	jobCreating    = "pods_created"
	jobDeleting    = "pods_deleted"
)

func newJobMetrics(c *Config) *jobMetrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Subsystem: "job_controller", Name: name, Help: help}, append([]string{"completion_mode", "result"}, labels...))
	}
	m := &jobMetrics{
		ruled: prometheus.NewCounterVec(prometheus.CounterOpts{Subsystem: "job_controller", Name: "pod_failures_handled_by_failure_policy_total",
			Help: "Failed pods that a rule of their Job's failure policy is about, by what it says."}, []string{"action"}),
		held: prometheus.NewCounterVec(prometheus.CounterOpts{Subsystem: "job_controller", Name: "terminated_pods_tracking_finalizer_total",
			Help: "Pods that had ended and had the finalizer of Jobs from then on (add), and that have it no longer (delete)."}, []string{"event"}),
		syncs: counter("job_syncs_total", "Turns of Jobs, by what they did with pods.", "action"),
		ended: counter("jobs_finished_total", "Jobs that have ended, by the reason.", "reason"),
		pods:  counter("job_pods_finished_total", "Pods that have finished and been counted."),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Subsystem: "job_controller", Name: "job_sync_duration_seconds",
			Help: "Time in seconds that the turn of a Job took.", Buckets: prometheus.ExponentialBuckets(0.004, 2, 15)}, []string{"completion_mode", "result", "action"}),
	}
	c.measures(m.syncs, m.ended, m.pods, m.ruled, m.held, m.seconds)
	return m
}

func completionMode(j *batchv1.Job) string {
	return string(ptr.Deref(j.Spec.CompletionMode, batchv1.NonIndexedCompletion))
}

// turned notes a turn.
func (m *jobMetrics) turned(j *batchv1.Job, action string, err error, took time.Duration) {
	result := "success"
	if err != nil {
		result = "error"
	}
	m.syncs.WithLabelValues(completionMode(j), result, action).Inc()
	m.seconds.WithLabelValues(completionMode(j), result, action).Observe(took.Seconds())
}

// counted notes by how many pods more a status tells, of those that have finished. It may be fewer: a Job with indexes may be made
// smaller.
func (m *jobMetrics) counted(before, now *batchv1.Job) {
	more := func(result string, n int32) {
		m.pods.WithLabelValues(completionMode(now), result).Add(float64(max(n, 0)))
	}
	more("succeeded", now.Status.Succeeded-before.Status.Succeeded)
	more("failed", now.Status.Failed-before.Status.Failed)
}

// finished notes the end of a Job.
func (m *jobMetrics) finished(j *batchv1.Job, with *batchv1.JobCondition) {
	result := "failed"
	if with.Type == batchv1.JobComplete {
		result = "succeeded"
	}
	m.ended.WithLabelValues(completionMode(j), result, with.Reason).Inc()
}

// saw notes a pod of anybody's that has ended and has the finalizer, or has it no longer.
func (m *jobMetrics) saw(old, now metav1.Object) {
	holds := func(o metav1.Object) bool {
		p, there := o.(*corev1.Pod)
		return there && finished(p) && isTracked(p)
	}
	switch had, has := holds(old), holds(now); {
	case has && !had:
		m.held.WithLabelValues("add").Inc()
	case had && !has:
		m.held.WithLabelValues("delete").Inc()
	}
}

// handled notes what the failure policy has said about pods that were counted, or were not because of that.
func (m *jobMetrics) handled(by map[batchv1.PodFailurePolicyAction]int) {
	for action, n := range by {
		m.ruled.WithLabelValues(string(action)).Add(float64(n))
	}
}
