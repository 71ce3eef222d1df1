package controllers

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
)

func TestNumbersInNames(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	key, other := keyOfNames("one", ""), keyOfNames("other", "")
	seen, alike := map[string]int{}, 0
	for n := 1; n <= mostNumbers; n += 1 + r.IntN(50) {
		end := key.disguise(n)
		if m, twice := seen[end]; twice {
			t.Fatalf("%d and %d are both %s", m, n, end)
		}
		seen[end] = n
		if len(end) != nameEnd || strings.Trim(end, nameAlphabet) != "" {
			t.Fatalf("%d is %q", n, end)
		}
		if m, ours := key.number("web-" + end); m != n || !ours {
			t.Fatalf("%s is %d, %t; want %d", end, m, ours, n)
		}
		if _, ours := other.number("web-" + end); ours {
			alike++
		}
	}
	if share := float64(alike) / float64(len(seen)); share > 0.03 {
		t.Errorf("%.2f of the names look like another owner's", share)
	}
	for _, name := range []string{"", "web", "web-0", "web-abcde", "web-bbbb_"} {
		if n, ours := key.number(name); ours {
			t.Errorf("%q has the number %d", name, n)
		}
	}
}

func TestNumbersWithGaps(t *testing.T) {
	var s numbers
	add := func(all ...int) {
		for _, n := range all {
			s.add(n)
		}
	}
	for _, c := range []struct {
		what        string
		do          func()
		after, all  int
		wants, kept int
	}{
		{"none", func() {}, 0, 0, 1, 0},
		{"one", func() { add(1) }, 0, 1, 2, 0},
		{"a gap", func() { add(3, 4) }, 0, 1, 2, 2},
		{"what is beyond it", func() {}, 2, 1, 5, 2},
		{"it is closed", func() { add(2) }, 0, 4, 5, 0},
		{"all below", func() { add(7, 9); s.below(6) }, 0, 7, 8, 1},
		{"known", func() { s.below(3) }, 8, 7, 10, 1},
	} {
		c.do()
		if got := s.after(c.after); got != c.wants || s.all != c.all || len(s.above) != c.kept {
			t.Errorf("%s: %d is next, all up to %d and %v are in it; want %d, %d, %d of them", c.what, got, s.all, s.above, c.wants, c.all, c.kept)
		}
	}
}

// TestNoPodTooManyByNames lets several actors look after one owner, each with a view of its own age, none knowing of the others;
// creates fail, are lost, and arrive late, also when another has taken over from who sent them. Pods die at any time. There must never be
// more alive than were wanted since the oldest view that anybody acts on, and in the end as many as are wanted.
//
// What is presumed: nothing is forgotten of a pod as long as somebody may still want to create it. And the runtime's part: nobody has a turn
// who has not seen what he has written.
func TestNoPodTooManyByNames(t *testing.T) {
	for seed := range uint64(300) {
		w := newNamedWorld(seed)
		for range 400 {
			w.step()
			if alive, most := w.alive(), w.most(); alive > most {
				t.Fatalf("seed %d: %d pods of %d\n%s", seed, alive, most, strings.Join(w.story, "\n"))
			}
		}
		w.calm = true
		for range 200 {
			w.step()
		}
		if alive := w.alive(); alive != w.wants[len(w.wants)-1] {
			t.Fatalf("seed %d: %d pods of %d in the end\n%s", seed, alive, w.wants[len(w.wants)-1], strings.Join(w.story, "\n"))
		}
	}
}

// namedWorld is what there is, with everything that has happened.
type namedWorld struct {
	*rand.Rand
	pods   map[string]*namedPod
	log    []namedEvent
	wants  []int // at each point of the log
	actors []*namedActor
	flying []flight
	calm   bool
	gone   bool // there is something that who begins to look does not know of
	story  []string
	born   int
}

type namedPod struct {
	*corev1.Pod
	born    int // the point of the log
	view    int // on which it was created
	foreign bool
}

// namedEvent is a pod as it has become; gone if it is no more.
type namedEvent struct {
	pod  *corev1.Pod
	gone bool
}

type namedActor struct {
	numbers *podNumbers
	at      int // what it has seen of the log
	awaits  int // what it has to see before its next turn
	pods    map[string]*corev1.Pod
}

// flight is a create on its way.
type flight struct {
	of   *namedActor
	view int // on which it was decided
	pod  *corev1.Pod
}

func newNamedWorld(seed uint64) *namedWorld {
	r := rand.New(rand.NewPCG(seed, 2))
	w := &namedWorld{Rand: r, gone: seed%2 == 0, pods: map[string]*namedPod{}, wants: []int{1 + r.IntN(5)}}
	for range 1 + r.IntN(3) {
		w.actors = append(w.actors, &namedActor{numbers: bareNumbers(onePlace), pods: map[string]*corev1.Pod{}})
	}
	return w
}

func bareNumbers(place func(*corev1.Pod) string) *podNumbers {
	return &podNumbers{kind: "ReplicaSet", place: place, clock: clock.RealClock{}, used: map[types.UID]*usedNumbers{}}
}

// nameOne names a pod of an owner of whose pods none have been seen.
func nameOne(t *testing.T, x *podNumbers, p *corev1.Pod) *corev1.Pod {
	t.Helper()
	if !x.name("uid", podsSeen{nil, x.version("uid")}, []*corev1.Pod{p}) {
		t.Fatal("there is more to be seen")
	}
	return p
}

func (w *namedWorld) tell(format string, args ...any) {
	w.story = append(w.story, fmt.Sprintf(format, args...))
}

func (w *namedWorld) happened(e namedEvent) {
	w.log, w.wants = append(w.log, e), append(w.wants, w.wants[len(w.wants)-1])
}

func (w *namedWorld) alive() (n int) {
	for _, p := range w.pods {
		if !p.foreign && p.DeletionTimestamp == nil {
			n++
		}
	}
	return n
}

// most that has been wanted since the oldest view on which somebody acts.
func (w *namedWorld) most() int {
	oldest := len(w.log)
	for _, a := range w.actors {
		oldest = min(oldest, a.at)
	}
	for _, f := range w.flying {
		oldest = min(oldest, f.view)
	}
	for _, p := range w.pods { // who had been created on such a view need not be deleted yet
		if !p.foreign && p.DeletionTimestamp == nil {
			oldest = min(oldest, p.view)
		}
	}
	return slices.Max(w.wants[oldest:])
}

func (w *namedWorld) step() {
	a := w.actors[w.IntN(len(w.actors))]
	what := w.IntN(12)
	if w.calm && (what == 0 || what == 1 || what == 10) {
		what = 4
	}
	switch what {
	case 0: // somebody wants more or fewer
		w.happened(namedEvent{})
		w.wants[len(w.wants)-1] = w.IntN(6)
		w.tell("%d: wanted are %d", len(w.log), w.wants[len(w.wants)-1])
	case 1: // a pod dies
		if p := w.pick(func(p *namedPod) bool { return !p.foreign }); p != nil {
			w.die(p)
		}
	case 2, 3: // one is gone that was dead
		if p := w.pick(w.mayBeForgotten); p != nil && w.gone {
			delete(w.pods, p.Name)
			w.gone = true
			w.happened(namedEvent{p.Pod, true})
			w.tell("%d: %s is gone", len(w.log), p.Name)
		}
	case 4, 5, 6: // an actor sees more
		w.look(a, 1+w.IntN(5))
	case 7, 8, 9: // an actor has a turn
		w.turn(a)
	case 11: // all end, and another begins; what they have sent is on its way
		if !w.calm && w.IntN(10) == 0 && !w.gone {
			a := &namedActor{numbers: bareNumbers(onePlace), pods: map[string]*corev1.Pod{}}
			w.actors = []*namedActor{a}
			w.look(a, len(w.log))
			w.tell("%d: another takes over", len(w.log))
		}
	case 10: // somebody else takes a name that will be wanted
		n := 1 + w.IntN(20)
		name := "web-" + keyOfNames("owner", "").disguise(n)
		if w.pods[name] == nil && !w.everUsed(name) {
			w.pods[name] = &namedPod{&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}}, len(w.log), len(w.log), true}
			w.tell("%d: %s is taken", len(w.log), name)
		}
	}
	for len(w.flying) > 0 && (w.calm || w.IntN(3) > 0) {
		i := w.IntN(len(w.flying))
		f := w.flying[i]
		w.flying = slices.Delete(w.flying, i, i+1)
		w.land(f)
	}
}

func (w *namedWorld) everUsed(name string) bool {
	return slices.ContainsFunc(w.log, func(e namedEvent) bool { return e.pod != nil && e.pod.Name == name })
}

func (w *namedWorld) pick(is func(*namedPod) bool) *namedPod {
	var all []string
	for name, p := range w.pods {
		if is(p) {
			all = append(all, name)
		}
	}
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	return w.pods[all[w.IntN(len(all))]]
}

func (w *namedWorld) die(p *namedPod) {
	if p.DeletionTimestamp != nil {
		return
	}
	p.Pod = p.DeepCopy()
	p.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	w.happened(namedEvent{pod: p.Pod})
	w.tell("%d: %s dies", len(w.log), p.Name)
}

// mayBeForgotten reports that a pod is dead and that nobody may want to create it any more.
func (w *namedWorld) mayBeForgotten(p *namedPod) bool {
	if p.foreign || p.DeletionTimestamp == nil {
		return false
	}
	for _, f := range w.flying {
		if f.pod.Name == p.Name {
			return false
		}
	}
	return !slices.ContainsFunc(w.actors, func(a *namedActor) bool { return a.at <= p.born })
}

func (w *namedWorld) look(a *namedActor, n int) {
	for ; n > 0 && a.at < len(w.log); n-- {
		e := w.log[a.at]
		a.at++
		switch {
		case e.pod == nil:
		case e.gone:
			delete(a.pods, e.pod.Name)
		default:
			if a.pods[e.pod.Name] == nil {
				a.numbers.saw(nil, e.pod)
			}
			a.pods[e.pod.Name] = e.pod
		}
	}
}

// turn does what a ReplicaSet's turn does.
func (w *namedWorld) turn(a *namedActor) {
	if a.at < a.awaits || slices.ContainsFunc(w.flying, func(f flight) bool { return f.of == a }) {
		return
	}
	view, version := a.at, a.numbers.version("owner")
	var all, alive []*corev1.Pod
	for _, p := range a.pods {
		if all = append(all, p); p.DeletionTimestamp == nil {
			alive = append(alive, p)
		}
	}
	lacking := w.wants[view] - len(alive)
	if w.IntN(4) == 0 {
		w.look(a, 1) // more is seen in the middle of the turn
	}
	slices.SortFunc(alive, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	for i := range max(0, -lacking) {
		if p := w.pods[alive[i].Name]; p != nil && p.UID == alive[i].UID {
			w.die(p)
		}
	}
	created := make([]*corev1.Pod, max(0, lacking))
	for i := range created {
		created[i] = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "web-", CreationTimestamp: metav1.Now(),
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web", UID: "owner", Controller: ptr.To(true)}}}}
	}
	if a.numbers.name("owner", podsSeen{all, version}, created) {
		for _, p := range created {
			w.flying = append(w.flying, flight{a, view, p})
		}
	}
}

func (w *namedWorld) land(f flight) {
	if !w.calm && w.IntN(4) == 0 {
		w.tell("%d: %s fails", len(w.log), f.pod.Name)
		return
	}
	there := w.pods[f.pod.Name]
	switch {
	case there == nil:
		w.born++
		f.pod.UID = types.UID(fmt.Sprint(w.born))
		w.pods[f.pod.Name] = &namedPod{f.pod, len(w.log), f.view, false}
		w.happened(namedEvent{pod: f.pod})
		f.of.awaits = len(w.log)
		w.tell("%d: %s is created on the view of %d", len(w.log), f.pod.Name, f.view)
		if w.IntN(4) > 0 { // else the answer is lost
			f.of.numbers.taken("owner", f.pod)
		}
	case there.foreign:
		f.of.numbers.taken("owner", f.pod)
	default:
		f.of.numbers.taken("owner", f.pod)
		f.of.awaits = max(f.of.awaits, there.born+1)
	}
}

// TestNamesThatAreTaken creates a pod whose name exists, turn after turn until nothing is left to do.
func TestNamesThatAreTaken(t *testing.T) {
	controlledBy := func(uid types.UID) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{Kind: "DaemonSet", Name: "d", UID: uid, Controller: ptr.To(true)}}
		}
	}
	on := func(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }
	going := func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.Now()) }
	for rule, c := range map[string]struct {
		there   []func(*corev1.Pod)
		numbers []int // of the pods that are there afterwards
		turns   int
		event   string
	}{
		"by nobody":                          {nil, []int{1}, 1, "SuccessfulCreate"},
		"by the pod that is to be":           {[]func(*corev1.Pod){controlledBy("uid"), on("n")}, []int{1}, 1, ""},
		"by the pod that is to be and going": {[]func(*corev1.Pod){controlledBy("uid"), on("n"), going}, []int{1}, 1, ""},
		"by somebody else's":                 {[]func(*corev1.Pod){controlledBy("another")}, []int{1, 2}, 2, "SuccessfulCreate"},
		"by one that is for another node":    {[]func(*corev1.Pod){controlledBy("uid"), on("m")}, []int{1, 2}, 2, "SuccessfulCreate"},
		"by one that has been let go of":     {[]func(*corev1.Pod){on("n")}, []int{1, 2}, 2, "SuccessfulCreate"},
	} {
		t.Run(rule, func(t *testing.T) {
			key := keyOfNames("uid", "n")
			client := fake.NewClientset()
			if c.there != nil {
				p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "d-" + key.disguise(1)}}
				for _, change := range c.there {
					change(p)
				}
				if err := client.Tracker().Add(p); err != nil {
					t.Fatal(err)
				}
			}
			set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "d", UID: "uid"}}
			x, events, turns := bareNumbers(targetOf), record.NewFakeRecorder(2), 0
			turn := &Turn{Key: Key{"ns", "d"}, Client: client, loop: &loop{config: &Config{}, events: events, queue: newTestQueue(t)}}
			for again := true; again; turns++ {
				_, err := createPods(t.Context(), turn, set, x, podsSeen{nil, x.version("uid")}, 1, func(int) *corev1.Pod { return newDaemon(set, "n", "hash") })
				if err != nil {
					t.Fatal(err)
				}
				if again = turn.loop.queue.Len() > 0; again {
					k, _ := turn.loop.queue.Get()
					turn.loop.queue.Done(k)
				}
			}
			list, err := client.CoreV1().Pods("ns").List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var got []int
			for i := range list.Items {
				n, _ := key.number(list.Items[i].Name)
				got = append(got, n)
			}
			if slices.Sort(got); !slices.Equal(got, c.numbers) || turns != c.turns {
				t.Errorf("pods %v after %d turns, want %v after %d", got, turns, c.numbers, c.turns)
			}
			event := ""
			if len(events.Events) > 0 {
				event = <-events.Events
			}
			if c.event == "" && event != "" || !strings.Contains(event, c.event) {
				t.Errorf("event %q, want %q", event, c.event)
			}
		})
	}
}

func newTestQueue(t *testing.T) workqueue.TypedRateLimitingInterface[Key] {
	t.Helper()
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[Key]())
	t.Cleanup(q.ShutDown)
	return q
}

// TestAPodThatWasThere ends the turn with an error where the name was that of a pod which is gone by now: the next sees more, and has
// another name.
func TestAPodThatWasThere(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("create", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewAlreadyExists(corev1.Resource("pods"), "p")
	})
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "d", UID: "uid"}}
	turn := &Turn{Key: Key{"ns", "d"}, Client: client, loop: &loop{config: &Config{}, events: record.NewFakeRecorder(9)}}
	x := bareNumbers(targetOf)
	done, err := createPods(t.Context(), turn, set, x, podsSeen{}, 1, func(int) *corev1.Pod { return newDaemon(set, "n", "hash") })
	if !apierrors.IsNotFound(err) || done != 0 {
		t.Errorf("%d done, %v", done, err)
	}
	if n, _ := keyOfNames("uid", "n").number(nameOne(t, x, newDaemon(set, "n", "hash")).Name); n != 2 {
		t.Errorf("the next turn gives the number %d, want 2", n)
	}
}

func TestNamesAreAsLongAsGeneratedOnes(t *testing.T) {
	for prefix, want := range map[string]int{"web-": 9, strings.Repeat("a", 57) + "-": 63, strings.Repeat("a", 63) + "-": 63} {
		p := nameOne(t, bareNumbers(onePlace), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix}})
		if wrong := validation.NameIsDNSSubdomain(p.Name, false); len(p.Name) != want || len(wrong) > 0 || !strings.HasPrefix(p.Name, prefix[:want-5]) {
			t.Errorf("%q becomes %q: %v", prefix, p.Name, wrong)
		}
	}
}

// TestWhatIsRememberedOfNumbers begins to look at pods that were there before, and forgets owners.
func TestWhatIsRememberedOfNumbers(t *testing.T) {
	pod := func(n int, age time.Duration) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-" + keyOfNames("uid", "").disguise(n), CreationTimestamp: metav1.NewTime(time.Now().Add(-age)),
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web", UID: "uid", Controller: ptr.To(true)}}}}
	}
	x := bareNumbers(onePlace)
	next := func() int {
		n, _ := keyOfNames("uid", "").number(nameOne(t, x, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "web-"}}).Name)
		return n
	}
	x.saw(nil, pod(3, time.Second))
	if n := next(); n != 1 {
		t.Errorf("%d is next beside a young pod with the number 3: those below may be on their way still", n)
	}
	x.saw(nil, pod(7, time.Hour))
	if n := next(); n != 8 {
		t.Errorf("%d is next after an old pod with the number 7", n)
	}
	x.forget("uid")
	if n := next(); n != 1 {
		t.Errorf("%d is next when all is forgotten", n)
	}
}
