package scheduler

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	podresource "k8s.io/component-helpers/resource"
)

// shortfall is a resource of which a node has not enough: what is asked, what there is, and what of that is taken.
type shortfall struct {
	name                  corev1.ResourceName
	asked, all, requested int64
}

func (s shortfall) free() int64 { return s.all - s.requested }

// amount is a quantity as people write it.
func amount(name corev1.ResourceName, value int64) string {
	switch {
	case name == corev1.ResourceCPU:
		return resource.NewMilliQuantity(value, resource.DecimalSI).String()
	case name == corev1.ResourceMemory, name == corev1.ResourceEphemeralStorage, isHugePages(name):
		const mega = 1 << 20
		if value >= mega {
			value -= value % mega // nobody writes bytes
		}
		return resource.NewQuantity(value, resource.BinarySI).String()
	}
	return resource.NewQuantity(value, resource.DecimalSI).String()
}

// shortfalls are in the order of the reasons; places for pods are one of them.
func (f *nodeResourcesFit) shortfalls(p *Pod, n *Node) (all []shortfall) {
	if len(n.Pods) >= int(n.MaxPods) {
		all = append(all, shortfall{corev1.ResourcePods, 1, int64(n.MaxPods), int64(len(n.Pods))})
	}
	want := f.asked(&p.Requests)
	for _, name := range askedFor(want) {
		s := shortfall{name, want.Of(name), n.Allocatable.Of(name), n.Requested.Of(name)}
		if s.asked > s.free() {
			all = append(all, s)
		}
	}
	return all
}

// Facts are the numbers of each resource that is short.
func (f *nodeResourcesFit) Facts(c *Cycle, _ Judge, n *Node) (facts []Fact) {
	if n == nil {
		return nil
	}
	for _, s := range f.shortfalls(c.Pod, n) {
		fact := Fact{Resource: string(s.name), Asked: amount(s.name, s.asked), Allocatable: amount(s.name, s.all), Requested: amount(s.name, s.requested),
			Free: amount(s.name, max(s.free(), 0)), shortage: float64(s.asked-s.free()) / float64(s.asked)}
		fact.Text = fmt.Sprintf("%s: %s asked, %s free of %s", s.name, fact.Asked, fact.Free, fact.Allocatable)
		if s.name == corev1.ResourcePods {
			fact.Text = fmt.Sprintf("%d pods of at most %d", s.requested, s.all)
		}
		facts = append(facts, fact)
	}
	return facts
}

// Changes are to ask for less, or that less important pods leave.
func (f *nodeResourcesFit) Changes(c *Cycle, _ Judge, n *Node) (changes []Change) {
	lacks := f.shortfalls(c.Pod, n)
	lower := Change{Kind: "lower", Cost: 5}
	var pods []func(*corev1.Pod)
	for _, s := range lacks {
		if s.name == corev1.ResourcePods {
			lower.Kind = ""
			break
		}
		to := max(s.free(), 0)
		if to == 0 && !isScalar(s.name) {
			lower.Kind = "" // to run on nothing is no advice
			break
		}
		if unit := int64(1 << 20); to >= unit && s.name != corev1.ResourceCPU && !isExtended(string(s.name)) {
			to -= to % unit
		}
		lower.Kind += " " + string(s.name)
		lower.Cost += int(60 * (s.asked - to) / s.asked)
		if lower.Text != "" {
			lower.Text += " and "
		}
		lower.Text += fmt.Sprintf("requests.%s from %s to %s", s.name, amount(s.name, s.asked), amount(s.name, to))
		pods = append(pods, func(p *corev1.Pod) { lowerRequests(p, s.name, to) })
	}
	if lower.Kind != "" && len(pods) > 0 {
		lower.Text = "lower " + lower.Text
		lower.Pod = func(p *corev1.Pod) {
			for _, change := range pods {
				change(p)
			}
		}
		changes = append(changes, lower)
	}
	return append(changes, freeing(n, f.missing(lacks), f.leaving(c.Pod, n))...)
}

// missing is what has to become free.
func (f *nodeResourcesFit) missing(lacks []shortfall) (text string) {
	for i, s := range lacks {
		if i > 0 {
			text += " and "
		}
		if s.name == corev1.ResourcePods {
			text += "a pod's place"
			continue
		}
		text += amount(s.name, s.asked-s.free()) + " of " + string(s.name)
	}
	return text
}

// leaving are pods without which the node has enough: the least important, and as few as they may be; nil if there are none.
func (f *nodeResourcesFit) leaving(p *Pod, n *Node) []*Pod {
	rest := *n
	rest.Requested.Scalars = slices.Clone(n.Requested.Scalars)
	rest.Pods = slices.Clone(n.Pods)
	var gone []*Pod
	byPriority := slices.SortedFunc(slices.Values(n.Pods), func(a, b *Pod) int { return byImportance(b, a) })
	fits := func() bool { return len(f.shortfalls(p, &rest)) == 0 }
	leave := func(o *Pod, sign int64) {
		rest.Requested.add(&o.Requests, -sign)
		rest.MaxPods += int32(sign)
	}
	for _, o := range byPriority {
		if fits() {
			break
		}
		if mayLeave(o) {
			leave(o, 1)
			gone = append(gone, o)
		}
	}
	if !fits() {
		return nil
	}
	// Those come back that the others make up for, the most important first.
	for i := len(gone) - 1; i >= 0; i-- {
		leave(gone[i], -1)
		if fits() {
			gone = slices.Delete(gone, i, i+1)
		} else {
			leave(gone[i], 1)
		}
	}
	return gone
}

// lowerRequests brings what a pod asks for in all down to an amount: of the pod as a whole if it says so, else of the
// containers that ask for the most.
func lowerRequests(p *corev1.Pod, name corev1.ResourceName, to int64) {
	value := func(q resource.Quantity) int64 {
		if name == corev1.ResourceCPU {
			return q.MilliValue()
		}
		return q.Value()
	}
	quantity := func(v int64) resource.Quantity {
		if name == corev1.ResourceCPU {
			return *resource.NewMilliQuantity(v, resource.DecimalSI)
		}
		return *resource.NewQuantity(v, resource.DecimalSI)
	}
	over := func() int64 {
		all := podresource.PodRequests(p, podresource.PodResourcesOptions{})
		return value(all[name]) - to
	}
	if podresource.IsPodLevelRequestsSet(p) {
		q := p.Spec.Resources.Requests[name]
		p.Spec.Resources.Requests[name] = quantity(max(value(q)-over(), 0))
		return
	}
	for range len(p.Spec.Containers) + len(p.Spec.InitContainers) {
		excess := over()
		if excess <= 0 {
			return
		}
		var largest corev1.ResourceList
		for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
			for i := range list {
				if q, most := list[i].Resources.Requests[name], largest[name]; q.Cmp(most) > 0 {
					largest = list[i].Resources.Requests
				}
			}
		}
		if largest == nil {
			return
		}
		largest[name] = quantity(max(value(largest[name])-excess, 0))
	}
}
