package controllers

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// The name of a pod that a controller makes looks as if it had been generated, but its last five characters are a number, disguised
// by the UID of the pod's owner (see nameKey). Whoever acts for an owner gives each new pod the lowest number that, as far as
// he knows, none of its pods has had. So two that act at once, neither knowing of the other, give the same name to what fills the same
// gap, and the second hears that it exists; and so does who asks again since an answer was lost.
//
// Why there are never too many, however old what somebody has seen: let an owner want n pods, and somebody see u numbers used, d of
// them by pods that are dead. He lacks n-(u-d) pods, and gives numbers of u+n-(u-d) = n+d at most. What is dead stays dead. So at any
// moment all numbers that were ever given are at most n plus the number of the dead, and not more than n of them live. It does
// not matter which creates have failed or have not arrived yet. (Those that are used and those that live have to be counted at one moment: see
// podsSeen.)
//
// What a name cannot do is keep a number from being given again after its pod is gone and forgotten: by who has begun to look
// since, or by a request that was on its way all that time. Against the latter, leaders do not write when their lease has run out.

// podNumbers are the numbers that pods have or had, by owner, and by place where an owner wants so many pods in each: the nodes of a
// DaemonSet, the indexes of a Job.
type podNumbers struct {
	kind   string // of the owners
	owners *Source
	place  func(*corev1.Pod) string
	clock  clock.PassiveClock

	mu   sync.Mutex // guards used
	used map[types.UID]*usedNumbers
}

// usedNumbers are those of an owner.
type usedNumbers struct {
	version int // counts changes
	places  map[string]*numbers
}

func newPodNumbers(kind string, owners *Source, place func(*corev1.Pod) string) *podNumbers {
	return &podNumbers{kind: kind, owners: owners, place: place, clock: owners.config.Clock, used: map[types.UID]*usedNumbers{}}
}

// onePlace is for owners that want so many pods wherever they are.
func onePlace(*corev1.Pod) string { return "" }

// saw takes in an event of a pod.
func (x *podNumbers) saw(old, now metav1.Object) {
	one := now
	if one == nil {
		one = old
	}
	p := one.(*corev1.Pod)
	reference := metav1.GetControllerOfNoCopy(p)
	if reference == nil || reference.Kind != x.kind || old != nil && now != nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if now != nil {
		x.note(reference.UID, p)
		return
	}
	owner := x.owners.cached(Key{p.Namespace, reference.Name})
	if x.owners.informer.HasSynced() && (owner == nil || owner.GetUID() != reference.UID) {
		delete(x.used, reference.UID) // forgotten once, and seen again in a pod that came after
	}
}

// forget is for owners that get no pods any more.
func (x *podNumbers) forget(owner types.UID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.used, owner)
}

// unsettled is how long a request lives at most. A number below that of a pod which is older is not on its way any more: it counts as
// used, also if nobody has seen the pod that had it.
const unsettled = time.Minute

// note takes down the number of a pod. x.mu is held.
func (x *podNumbers) note(owner types.UID, p *corev1.Pod) {
	place := x.place(p)
	n, ours := keyOfNames(owner, place).number(p.Name)
	if !ours {
		return
	}
	if x.clock.Since(p.CreationTimestamp.Time) > unsettled {
		x.of(owner).below(place, n)
	}
	x.of(owner).add(place, n)
}

// of are the numbers of an owner. x.mu is held.
func (x *podNumbers) of(owner types.UID) *usedNumbers {
	if x.used[owner] == nil {
		x.used[owner] = &usedNumbers{places: map[string]*numbers{}}
	}
	return x.used[owner]
}

func (u *usedNumbers) in(place string) *numbers {
	if u.places[place] == nil {
		u.places[place] = &numbers{}
	}
	return u.places[place]
}

func (u *usedNumbers) add(place string, n int) {
	if s := u.in(place); !s.has(n) {
		s.add(n)
		u.version++
	}
}

func (u *usedNumbers) below(place string, n int) {
	if s := u.in(place); n > s.all {
		s.below(n)
		u.version++
	}
}

// numbers is a set of numbers from 1 on that has few gaps.
type numbers struct {
	all   int // these are in it
	above map[int]bool
}

func (s *numbers) has(n int) bool { return n <= s.all || s.above[n] }

func (s *numbers) add(n int) {
	if s.has(n) {
		return
	}
	if s.above == nil {
		s.above = map[int]bool{}
	}
	s.above[n] = true
	s.close()
}

// below adds all up to n.
func (s *numbers) below(n int) {
	if n <= s.all {
		return
	}
	s.all = n
	for m := range s.above {
		if m <= n {
			delete(s.above, m)
		}
	}
	s.close()
}

func (s *numbers) close() {
	for s.above[s.all+1] {
		s.all++
		delete(s.above, s.all)
	}
	if len(s.above) == 0 {
		s.above = nil
	}
}

// after is the lowest that is above n and not in the set.
func (s *numbers) after(n int) int {
	for n = max(n, s.all) + 1; s.has(n); n++ {
	}
	return n
}

// version is what is known of an owner before its pods are looked at.
func (x *podNumbers) version(owner types.UID) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.now(owner)
}

// now is the version of what is known. x.mu is held.
func (x *podNumbers) now(owner types.UID) int {
	if used := x.used[owner]; used != nil {
		return used.version
	}
	return 0
}

// podsSeen are the pods of an owner that a turn has found, dead or alive, and what was known of their numbers just before: of what has
// been seen since, the turn does not know whether it lives.
type podsSeen struct {
	pods    []*corev1.Pod
	version int
}

// name gives new pods of an owner their names: all at one moment, for what is seen later is none of the turn's business. ok is false if
// more has been seen by now than the turn knows of. Where there are no more numbers, the API server generates names.
func (x *podNumbers) name(owner types.UID, seen podsSeen, pods []*corev1.Pod) (ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.now(owner) != seen.version {
		return false
	}
	for _, p := range seen.pods {
		if isControlledBy(p, owner) {
			x.note(owner, p)
		}
	}
	given := map[string]int{}
	for _, p := range pods {
		place := x.place(p)
		n := x.of(owner).in(place).after(given[place])
		given[place] = n
		if n <= mostNumbers {
			p.Name = p.GenerateName[:min(len(p.GenerateName), longestPrefix)] + keyOfNames(owner, place).disguise(n)
		}
	}
	return true
}

// taken notes that the name of an owner's pod is used, by whatever object.
func (x *podNumbers) taken(owner types.UID, p *corev1.Pod) {
	x.mu.Lock()
	defer x.mu.Unlock()
	place := x.place(p)
	if n, ours := keyOfNames(owner, place).number(p.Name); ours {
		x.of(owner).add(place, n)
	}
}

// isSame reports that what is there under a pod's name is that pod.
func (x *podNumbers) isSame(owner types.UID, there, p *corev1.Pod) bool {
	return isControlledBy(there, owner) && x.place(there) == x.place(p)
}

func isControlledBy(p *corev1.Pod, owner types.UID) bool {
	reference := metav1.GetControllerOfNoCopy(p)
	return reference != nil && reference.UID == owner
}
