package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
)

// TestMain silences what libraries say about connections that break: they are meant to.
func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// fromEnvironment is a number that make hands down.
func fromEnvironment(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s=%s: %v", name, text, err)
	}
	return n
}

// TestChaos changes some fifty workloads at random while the parts that look after them are hurt. Nothing may be too many at any
// moment, and in the end everything has to be what was wanted last.
func TestChaos(t *testing.T) {
	t.Parallel()
	rounds, seed := fromEnvironment(t, "ROUNDS", 5), fromEnvironment(t, "SEED", 1)
	w := newWorld(t)
	w.addControllers()
	w.addScheduler()
	for i := range 5 {
		w.addNode(i+1, 10)
	}
	for _, p := range w.parts {
		p.start()
	}
	o, j := newObserver(w.client), newJudge()
	watching, stop := context.WithCancel(context.Background())
	t.Cleanup(func() {
		stop()
		o.ending.Wait()
	})
	if err := o.observe(watching); err != nil {
		t.Fatal(err)
	}
	all := population()
	for _, x := range all {
		w.create(x)
	}
	w.settle("the beginning", o, j, all)
	for i := range rounds {
		w.round(uint64(seed+i), all, o, j)
	}
	t.Logf("%d runs of CronJobs and %d namespaces came", len(j.runs), len(j.passed))
}

// round is one of them: everything it does follows from its seed.
func (w *world) round(seed uint64, all []*workload, o *observer, j *judge) {
	w.Helper()
	name := fmt.Sprintf("round SEED=%d", seed)
	begin := time.Now()
	o.look(j.begin)
	r := rand.New(rand.NewPCG(seed, 0))
	evicting, stop := context.WithCancel(w.Context())
	type evictions struct{ gone, refused int }
	evicted := make(chan evictions, 1)
	lots := rand.New(rand.NewPCG(seed, 1))
	go func() {
		gone, refused := w.evict(evicting, lots)
		evicted <- evictions{gone, refused}
	}()
	var told []string
	for i := range 12 {
		if i%3 == 0 {
			w.pass(r.IntN(2) == 0)
		}
		told = append(told, w.hurt(r)...)
		for range 2 + r.IntN(3) {
			w.change(r, all[r.IntN(len(all))])
		}
		w.remake(all)
		pause(w.Context(), time.Duration(r.IntN(200))*time.Millisecond)
	}
	stop()
	e := <-evicted
	for _, p := range w.parts {
		p.start()
		p.wire.suffer(ills{})
	}
	for _, x := range all {
		if body := goingOn(x.resource); body != "" {
			w.patch(x, body)
		}
	}
	changes, took := w.settle(name, o, j, all)
	w.renewJobs(all)
	w.Logf("%s: %s; %d evicted, %d refused; %d changes seen; settled in %v of %v", name, strings.Join(told, ", "), e.gone, e.refused, changes,
		took.Round(10*time.Millisecond), time.Since(begin).Round(10*time.Millisecond))
}

// hurt does something to one of the parts, by lot, and says what.
func (w *world) hurt(r *rand.Rand) []string {
	p := w.parts[r.IntN(len(w.parts))]
	if r.IntN(2) == 0 { // the first two have most to do
		p = w.parts[r.IntN(2)]
	}
	wrong := ills{refuse: r.Float64() * 0.3, lose: r.Float64() * 0.5, late: time.Duration(r.IntN(800)) * time.Millisecond}
	switch r.IntN(12) {
	case 0, 1, 2:
		p.kill()
		pause(w.Context(), time.Duration(r.IntN(300))*time.Millisecond)
		p.start()
		return []string{p.name + " killed"}
	case 3:
		p.start()
		p.wire.suffer(ills{cut: true})
		return []string{p.name + " cut off"}
	case 4:
		p.wire.suffer(ills{late: 10 * time.Second})
		return []string{p.name + " 10s late"}
	case 5, 6, 7, 8:
		p.wire.suffer(wrong)
		return []string{fmt.Sprintf("%s refuses %.0f%%, loses %.0f%%, %v late", p.name, 100*wrong.refuse, 100*wrong.lose, wrong.late)}
	case 9:
		if r.IntN(6) == 0 {
			w.api.Kill()
			w.api.Restart()
			return []string{"API server killed"}
		}
	}
	return nil
}

// change does something to one of the workloads, by lot.
func (w *world) change(r *rand.Rand, x *workload) {
	what, body := r.IntN(10), ""
	if len(x.changes) > 0 {
		body = x.changes[r.IntN(len(x.changes))](r)
	}
	policy := []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground}[r.IntN(2)]
	var grace *int64
	if r.IntN(3) == 0 {
		grace = ptr.To[int64](0)
	}
	switch {
	case x.guarded:
	case what == 0:
		w.delete(x, policy)
	case what < 4 && !x.calm && x.resource != "jobs":
		w.deletePod(r, "app="+x.name, grace)
	case what == 4 && !x.calm && x.resource == "replicasets":
		w.delete(x, metav1.DeletePropagationOrphan) // another of the same name finds the pods
	default:
		w.patch(x, body)
	}
}

// renewJobs replaces Jobs that have ended, so that each round has some to run.
func (w *world) renewJobs(all []*workload) {
	w.Helper()
	for _, x := range all {
		if x.resource == "jobs" {
			w.delete(x, metav1.DeletePropagationBackground)
		}
	}
	w.insist("Jobs begin anew", func(context.Context) error { return w.remake(all) })
}

// patience is more than twice what client-go's reflectors wait at most before they ask for a watch again: when they have failed
// some times in a few minutes that is up to a minute.
const patience = 150 * time.Second

// settle brings back what was deleted, waits until everything is as it should be, and goes through what was seen until then.
func (w *world) settle(name string, o *observer, j *judge, all []*workload) (changes int, took time.Duration) {
	w.Helper()
	begin := time.Now()
	var left []string
	err := wait.PollUntilContextTimeout(w.Context(), 50*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		missing := w.remake(all)
		o.look(func(s state) { left = unfinished(s) })
		if missing != nil {
			left = append(left, missing.Error())
		}
		return len(left) == 0, nil
	})
	took = time.Since(begin)
	if err != nil {
		w.Fatalf("%s: after %v it is not over:\n%s\n%s", name, took, strings.Join(left, "\n"), strings.Join(j.problems, "\n"))
	}
	if err := o.caughtUp(w.Context()); err != nil {
		w.Fatalf("%s: %v", name, err)
	}
	changes = o.replay(j.see)
	o.look(j.end)
	if len(j.problems) > 0 {
		w.Errorf("%s:\n%s", name, strings.Join(j.problems, "\n"))
		for culprit := range j.culprits {
			w.Logf("what happened to %s:%s", culprit, o.story(culprit))
		}
		j.problems, j.culprits = nil, map[string]bool{}
	}
	w.loose(name)
	return changes, took
}

// loose looks for pods that nobody is responsible for.
func (w *world) loose(name string) {
	w.Helper()
	pods, err := w.client.CoreV1().Pods(namespace).List(w.Context(), metav1.ListOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		w.Fatal(err)
	}
	for i := range pods.Items {
		if metav1.GetControllerOf(&pods.Items[i]) == nil {
			w.Errorf("%s: pod %s belongs to nobody", name, pods.Items[i].Name)
		}
	}
}
