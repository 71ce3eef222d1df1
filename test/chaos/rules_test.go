package chaos

import (
	"context"
	"net/http"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
)

// await waits until the observer's state is as it should be.
func (w *world) await(o *observer, what string, is func(state) bool) {
	w.Helper()
	var well bool
	err := wait.PollUntilContextTimeout(w.Context(), 10*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		o.look(func(s state) { well = is(s) })
		return well, nil
	})
	if err != nil {
		w.Fatalf("it does not come true that %s", what)
	}
}

// observed is an observer of a world until its test ends.
func (w *world) observed() *observer {
	w.Helper()
	o := newObserver(w.client)
	ctx, stop := context.WithCancel(context.Background())
	w.Cleanup(func() {
		stop()
		o.ending.Wait()
	})
	if err := o.observe(ctx); err != nil {
		w.Fatal(err)
	}
	return o
}

// judged fails if something did not hold at some moment.
func (w *world) judged(o *observer, j *judge) {
	w.Helper()
	if err := o.caughtUp(w.Context()); err != nil {
		w.Fatal(err)
	}
	o.replay(j.see)
	o.look(j.end)
	for _, problem := range j.problems {
		w.Error(problem)
	}
}

// TestPodsLeftBehindAreInherited deletes owners without their pods and creates others of the same name, which hear late that the
// pods are free. They must find them before they create any.
func TestPodsLeftBehindAreInherited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o, j := w.observed(), newJudge()
	controllers := w.addControllers()
	w.addScheduler().start()
	w.addNode(1, 10).start()
	controllers.start()
	all := []*workload{{resource: "replicasets", name: "set", make: replicaSet}, {resource: "replicationcontrollers", name: "old", make: replicationController},
		{resource: "daemonsets", name: "daemon", make: daemonSet}}
	for _, x := range all {
		w.create(x)
	}
	w.await(o, "all pods run", func(s state) bool { return len(unfinished(s)) == 0 && len(podsIn(s)) == 6 })
	controllers.wire.suffer(ills{late: time.Second, of: "pods"})
	for _, x := range all {
		w.delete(x, metav1.DeletePropagationOrphan)
	}
	w.insist("owners come back", func(context.Context) error { return w.remake(all) })
	w.await(o, "they have the pods again", func(s state) bool {
		for _, p := range podsIn(s) {
			if metav1.GetControllerOf(p) == nil {
				return false
			}
		}
		return len(unfinished(s)) == 0
	})
	w.judged(o, j)
}

// TestSuccessesCountThoughPodsAreTooMany wants fewer pods of a Job at a time while those that are too many cannot go: they run to
// their end, and count.
func TestSuccessesCountThoughPodsAreTooMany(t *testing.T) {
	t.Parallel()
	none := func(s state) bool { return running(podsIn(s)) == 0 }
	for rule, c := range map[string]struct {
		life  string // of a pod, if the workload's own does not do
		known func(batchv1.JobStatus) bool
		ills  ills
		first func(state) bool // what is so before fewer are wanted
	}{
		"they have succeeded, and the controller takes them for running": {ills: ills{late: 2 * time.Second, of: "pods"}, first: none,
			known: func(s batchv1.JobStatus) bool { return s.Active == 4 }},
		"none can be deleted": {life: "2s", ills: ills{deny: http.MethodDelete}, first: func(state) bool { return true },
			known: func(s batchv1.JobStatus) bool { return s.Ready != nil }},
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o, j := w.observed(), newJudge()
			controllers := w.addControllers()
			w.addScheduler().start()
			w.addNode(1, 10).start()
			controllers.start()
			x := &workload{resource: "jobs", name: "count", make: func(name string) runtime.Object { return fourAtATime(name, c.life) }}
			w.create(x)
			w.await(o, "pods run", func(s state) bool { return len(podsIn(s)) == 4 && running(podsIn(s)) == 4 })
			w.await(o, "the Job knows them", func(s state) bool { return c.known(of[*batchv1.Job](s)[0].Status) })
			controllers.wire.suffer(c.ills)
			w.await(o, "fewer are wanted", c.first)
			w.patch(x, `{"spec":{"parallelism":1}}`)
			w.await(o, "the Job ends", func(s state) bool {
				_, over := ended(of[*batchv1.Job](s)[0])
				return over
			})
			w.judged(o, j)
			o.look(func(s state) {
				if status := of[*batchv1.Job](s)[0].Status; status.Succeeded != 4 || status.Failed != 0 || len(podsIn(s)) != 4 {
					t.Errorf("%d pods, %+v", len(podsIn(s)), status)
				}
			})
		})
	}
}

// fourAtATime is a Job of four pods, which live as long as the workload's own if nothing else is said.
func fourAtATime(name, life string) *batchv1.Job {
	made := job(batchv1.NonIndexedCompletion)(name).(*batchv1.Job)
	made.Spec.Parallelism, made.Spec.Completions = ptr.To[int32](4), ptr.To[int32](4)
	if life != "" {
		made.Spec.Template.Annotations["simulated.knarr.dev/exit-after"] = life
	}
	return made
}

func running(pods []*corev1.Pod) (n int) {
	for _, p := range pods {
		if p.Status.Phase == corev1.PodRunning {
			n++
		}
	}
	return n
}
