package test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/test/cluster"
)

// TestJobsCountEachPodOnce runs Jobs whose pods end at once and are deleted by somebody before they have been counted,
// under transports that make the caches lie. There must be as many pods as are wanted, and each must count once.
func TestJobsCountEachPodOnce(t *testing.T) {
	t.Parallel()
	const pods = 24
	for name, wrap := range map[string]func(http.RoundTripper) http.RoundTripper{
		"watches are late": lateWatches(700 * time.Millisecond), "answers are lost": lostAnswers(0.2),
	} {
		for _, mode := range []batchv1.CompletionMode{batchv1.NonIndexedCompletion, batchv1.IndexedCompletion} {
			t.Run(name+" "+string(mode), func(t *testing.T) {
				t.Parallel()
				c := cluster.Start(t, "apiserver")
				client := clientset(t, c, formats()["json"])
				ctx := t.Context()
				if _, err := client.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				counts := runControllers(t, c, wrap, "job-controller")
				job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "sum"}, Spec: batchv1.JobSpec{
					Parallelism: ptr.To[int32](8), Completions: ptr.To[int32](pods), CompletionMode: &mode,
					Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "x"}}}}}}
				if _, err := client.BatchV1().Jobs("default").Create(ctx, job, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				seen := map[types.UID]bool{}
				var status batchv1.JobStatus
				err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, 90*time.Second, true, func(ctx context.Context) (bool, error) {
					if err := endPods(ctx, client, seen); err != nil {
						return false, err
					}
					now, err := client.BatchV1().Jobs("default").Get(ctx, "sum", metav1.GetOptions{})
					if err != nil {
						return false, err
					}
					status = now.Status
					return status.CompletionTime != nil, nil
				})
				if err != nil || status.Succeeded != pods || status.Failed != 0 || len(seen) != pods {
					t.Errorf("%v: %d pods, status %+v", err, len(seen), status)
				}
				if name == "answers are lost" {
					return // what was written without an answer is not known to have been
				}
				want := fmt.Sprintf(`
# HELP job_controller_job_pods_finished_total Pods that have finished and been counted.
# TYPE job_controller_job_pods_finished_total counter
job_controller_job_pods_finished_total{completion_mode="%[1]s",result="failed"} 0
job_controller_job_pods_finished_total{completion_mode="%[1]s",result="succeeded"} %[2]d
# HELP job_controller_jobs_finished_total Jobs that have ended, by the reason.
# TYPE job_controller_jobs_finished_total counter
job_controller_jobs_finished_total{completion_mode="%[1]s",reason="CompletionsReached",result="succeeded"} 1
`, mode, pods)
				eventually(t, "the metrics tell of the end", func() bool {
					return testutil.GatherAndCompare(counts, strings.NewReader(want), "job_controller_job_pods_finished_total", "job_controller_jobs_finished_total") == nil
				})
			})
		}
	}
}

// endPods makes pods succeed that have not, and deletes them.
func endPods(ctx context.Context, client kubernetes.Interface, seen map[types.UID]bool) error {
	pods, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		if seen[p.UID] {
			continue
		}
		seen[p.UID] = true
		if _, err := client.CoreV1().Pods("default").Patch(ctx, p.Name, types.MergePatchType, []byte(`{"status":{"phase":"Succeeded"}}`), metav1.PatchOptions{}, "status"); err != nil {
			return err
		}
		if err := client.CoreV1().Pods("default").Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
			return err
		}
	}
	return nil
}
