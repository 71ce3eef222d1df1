package registry

import (
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// newJob is a job as it is stored, with changes made before it was created.
func newJob(changes ...func(*batchv1.Job)) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "j", Namespace: "n"}}
	j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	j.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: "busybox"}}
	for _, change := range changes {
		change(j)
	}
	defaultJob(j)
	j.UID = "u"
	prepareJob(nil, j, nil)
	defaultJob(j)
	return j
}

func TestJobsAreLabelledLikeTheirPods(t *testing.T) {
	made := map[string]string{"controller-uid": "u", "batch.kubernetes.io/controller-uid": "u", "job-name": "j", "batch.kubernetes.io/job-name": "j"}
	with := func(more map[string]string) map[string]string {
		all := maps.Clone(made)
		maps.Copy(all, more)
		return all
	}
	a, b := map[string]string{"a": "a"}, map[string]string{"b": "b"}
	tests := []struct {
		rule              string
		own, template     map[string]string
		wantOwn, wantPods map[string]string
	}{
		{"a job without labels gets those of its pods", nil, nil, made, made},
		{"those that its template has among them", nil, a, with(a), with(a)},
		{"a job's own labels stay as they are", b, a, b, with(a)},
		{"what the user wrote is not overwritten", nil, map[string]string{"job-name": "x"},
			with(map[string]string{"job-name": "x"}), with(map[string]string{"job-name": "x"})},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			j := newJob(func(j *batchv1.Job) {
				j.Labels, j.Spec.Template.Labels = maps.Clone(test.own), maps.Clone(test.template)
			})
			if d := cmp.Diff(test.wantOwn, j.Labels); d != "" {
				t.Errorf("labels (-want +got):\n%s", d)
			}
			if d := cmp.Diff(test.wantPods, j.Spec.Template.Labels); d != "" {
				t.Errorf("labels of pods (-want +got):\n%s", d)
			}
			if d := cmp.Diff(map[string]string{batchv1.ControllerUidLabel: "u"}, j.Spec.Selector.MatchLabels); d != "" {
				t.Errorf("selector (-want +got):\n%s", d)
			}
		})
	}
}

func TestTemplatesOfJobsAtRestMayChange(t *testing.T) {
	suspended := func(j *batchv1.Job) { j.Spec.Suspend = new(true) }
	started := func(j *batchv1.Job) { j.Status.StartTime = &metav1.Time{Time: time.Unix(1, 0)} }
	stopped := func(j *batchv1.Job) {
		j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobSuspended, Status: corev1.ConditionTrue}}
	}
	active := func(j *batchv1.Job) { j.Status.Active = 1 }
	node := func(j *batchv1.Job) { j.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd"} }
	image := func(j *batchv1.Job) { j.Spec.Template.Spec.Containers[0].Image = "other" }
	affinity := func(j *batchv1.Job) {
		j.Spec.Template.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{}}
	}
	type changes = []func(*batchv1.Job)
	tests := []struct {
		rule   string
		old    changes
		change func(*batchv1.Job)
		want   []string
	}{
		{"where pods go may be said before the start", changes{suspended}, node, nil},
		{"and once all pods have stopped", changes{suspended, started, stopped}, node, nil},
		{"not while they are stopping", changes{suspended, started, stopped, active}, node, []string{"spec.template"}},
		{"not after a start that was not taken back", changes{suspended, started}, node, []string{"spec.template"}},
		{"not of a job that runs", nil, node, []string{"spec.template"}},
		{"what pods run stays", changes{suspended}, image, []string{"spec.template.spec"}},
		{"of affinities only that to nodes may change", changes{suspended}, affinity, []string{"spec.template.spec"}},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			old := newJob()
			for _, change := range test.old {
				change(old)
			}
			j := old.DeepCopy()
			test.change(j)
			expectFields(t, validateJob(nil, j, old), test.want...)
		})
	}
}

func TestIndexedJobsGrowInTandem(t *testing.T) {
	indexed := newJob(func(j *batchv1.Job) {
		j.Spec.CompletionMode = new(batchv1.IndexedCompletion)
		j.Spec.Completions, j.Spec.Parallelism = new(int32(2)), new(int32(2))
	})
	tests := []struct {
		rule                     string
		old                      *batchv1.Job
		completions, parallelism int32
		want                     []string
	}{
		{"completions follow parallelism", indexed, 5, 5, nil},
		{"parallelism alone is free", indexed, 2, 7, nil},
		{"completions alone are not", indexed, 5, 2, []string{"spec.completions"}},
		{"without indexes completions stay", newJob(), 5, 5, []string{"spec.completions"}},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			j := test.old.DeepCopy()
			j.Spec.Completions, j.Spec.Parallelism = &test.completions, &test.parallelism
			expectFields(t, validateJob(nil, j, test.old), test.want...)
		})
	}
}

func TestJobStatusRules(t *testing.T) {
	at := func(s int64) *metav1.Time { return &metav1.Time{Time: time.Unix(s, 0)} }
	is := func(kinds ...batchv1.JobConditionType) []batchv1.JobCondition {
		var all []batchv1.JobCondition
		for _, kind := range kinds {
			all = append(all, batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue})
		}
		return all
	}
	done := batchv1.JobStatus{StartTime: at(1), CompletionTime: at(2), Succeeded: 1,
		Conditions: is(batchv1.JobSuccessCriteriaMet, batchv1.JobComplete)}
	running := batchv1.JobStatus{StartTime: at(1), Active: 1}
	tests := []struct {
		rule    string
		old     batchv1.JobStatus
		change  func(*batchv1.JobStatus)
		suspend bool
		want    []string
	}{
		{"a running job may complete", running, func(s *batchv1.JobStatus) { *s = done }, false, nil},
		{"a complete job stays complete", done, func(s *batchv1.JobStatus) { s.Conditions = is(batchv1.JobSuccessCriteriaMet) }, false,
			[]string{"status.conditions", "status.completionTime"}},
		{"a complete job is done with its pods", running, func(s *batchv1.JobStatus) { *s = done; s.Active = 1 }, false, []string{"status.active"}},
		{"nobody succeeds and fails", running, func(s *batchv1.JobStatus) {
			s.Active, s.Conditions = 0, is(batchv1.JobSuccessCriteriaMet, batchv1.JobFailed, batchv1.JobFailureTarget)
		}, false, []string{"status.conditions", "status.conditions"}},
		{"counters do not run backwards", done, func(s *batchv1.JobStatus) { s.Succeeded = 0 }, false, []string{"status.succeeded"}},
		{"a start stays", running, func(s *batchv1.JobStatus) { s.StartTime = at(5) }, false, []string{"status.startTime"}},
		{"unless the job is suspended", running, func(s *batchv1.JobStatus) { s.StartTime, s.Active = nil, 0 }, true, nil},
		{"or goes on after that", batchv1.JobStatus{StartTime: at(1), Conditions: is(batchv1.JobSuspended)}, func(s *batchv1.JobStatus) {
			s.StartTime, s.Conditions[0].Status = at(5), corev1.ConditionFalse
		}, false, nil},
		{"what is broken and unchanged is not in the way", batchv1.JobStatus{Active: 0, Ready: new(int32(3))},
			func(s *batchv1.JobStatus) { s.Failed = 1 }, false, nil},
		{"a pod is counted once", running, func(s *batchv1.JobStatus) {
			s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{Succeeded: []types.UID{"a"}, Failed: []types.UID{"a"}}
		}, false, []string{"status.uncountedTerminatedPods.failed[0]"}},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			old := newJob(func(j *batchv1.Job) { j.Spec.Suspend = &test.suspend })
			old.Status = *test.old.DeepCopy()
			j := old.DeepCopy()
			test.change(&j.Status)
			expectFields(t, validateJobStatus(nil, j, old), test.want...)
		})
	}
}

func TestJobIndexes(t *testing.T) {
	tests := []struct {
		text  string
		total int32
		err   string
	}{
		{"", 0, ""},
		{"0,2-4", 4, ""},
		{"2,1", 0, "non-increasing order, previous: 2, current: 1"},
		{"3-3", 0, "non-increasing order, previous: 3, current: 3"},
		{"5", 0, `too large index: "5"`},
		{"x", 0, `cannot convert string to integer for index: "x"`},
		{"1-2-3", 0, `the fragment "1-2-3" violates the requirement that an index interval can have at most two parts separated by '-'`},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			total, err := countJobIndexes(test.text, 5)
			if err == nil && test.err != "" || err != nil && err.Error() != test.err || total != test.total {
				t.Errorf("%d, %v; want %d, %s", total, err, test.total, test.err)
			}
		})
	}
}

func TestCompletedAndFailedIndexesAreApart(t *testing.T) {
	tests := []struct {
		completed, failed string
		want              string
	}{
		{"0,4-6", "1-3,7", ""},
		{"0,4-6", "5", "failedIndexes and completedIndexes overlap at index: 5"},
		{"1-9", "0-1", "failedIndexes and completedIndexes overlap at index: 1"},
		{"x,3", "3", "failedIndexes and completedIndexes overlap at index: 3"}, // the unreadable part is reported elsewhere
	}
	for _, test := range tests {
		err := checkJobIndexesApart(test.completed, test.failed, 10)
		if err == nil && test.want != "" || err != nil && err.Error() != test.want {
			t.Errorf("%s and %s: %v, want %s", test.completed, test.failed, err, test.want)
		}
	}
}

func TestTimeZonesOfCronJobs(t *testing.T) {
	for zone, valid := range map[string]bool{
		"Europe/Berlin": true, "UTC": true, "Etc/GMT+5": true, "": false, "Local": false, "../UTC": false, "Nowhere/Land": false, "UTC/": false,
	} {
		if errs := validateTimeZone(&zone, field.NewPath("z")); (len(errs) == 0) != valid {
			t.Errorf("%q: %v", zone, errs)
		}
	}
}

func TestSchedulesNameNoTimeZone(t *testing.T) {
	tests := []struct {
		rule     string
		schedule string
		zone     *string
		had      bool
		want     int
	}{
		{"five fields will do", "*/5 * * * *", new("UTC"), false, 0},
		{"a zone has a field of its own", "TZ=UTC 0 * * * *", nil, false, 1},
		{"one from before stays", "TZ=UTC 0 * * * *", nil, true, 0},
		{"but not beside the field", "TZ=UTC 0 * * * *", new("UTC"), true, 1},
		{"a zone without a schedule is no panic", "TZ=UTC", nil, true, 1},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			errs := validateSchedule(&batchv1.CronJobSpec{Schedule: test.schedule, TimeZone: test.zone}, test.had, field.NewPath("schedule"))
			if len(errs) != test.want {
				t.Errorf("%d errors, want %d: %v", len(errs), test.want, errs)
			}
		})
	}
}
