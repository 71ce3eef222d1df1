package scheduler

import (
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// nodeResourcesFit keeps pods from nodes that lack what they ask for, and likes nodes by how much would be taken of them.
type nodeResourcesFit struct{ scoring FitScoring }

// FitScoring is how NodeResourcesFit likes nodes.
type FitScoring struct {
	// Strategy is LeastAllocated (also if empty), MostAllocated or RequestedToCapacityRatio.
	Strategy string
	// Resources have a say by their weight; none is CPU and memory with one each.
	Resources []ResourceWeight
	// Shape is for RequestedToCapacityRatio: scores (0 to 10) at points of utilization (0 to 100), in ascending order.
	Shape []ShapePoint
}

// ResourceWeight is how much a resource counts.
type ResourceWeight struct {
	Name   corev1.ResourceName
	Weight int64
}

// ShapePoint is the score at a utilization in percent.
type ShapePoint struct{ Utilization, Score int64 }

func newNodeResourcesFit(config *Config, _ *Scheduler) any {
	scoring := config.FitScoring
	if len(scoring.Resources) == 0 {
		scoring.Resources = []ResourceWeight{{corev1.ResourceCPU, 1}, {corev1.ResourceMemory, 1}}
	}
	return &nodeResourcesFit{scoring}
}

// lack is one thing that a node has not enough of; lacks of a node are few, and the same for many nodes.
type lack uint64

const (
	lackPlace lack = 1 << iota
	lackCPU
	lackMemory
	lackStorage
	lackScalar // and the bits above, by the number of the pod's scalar
)

func (f *nodeResourcesFit) Filter(c *Cycle) (Judge, *Refusal) {
	want := &c.Pod.Requests
	told := map[[2]lack]*Refusal{} // one refusal for all nodes that lack the same
	return judging(func(n *Node) *Refusal {
		lacks, hopeless := lacksOf(want, n)
		if lacks == 0 {
			return nil
		}
		key := [2]lack{lacks, hopeless}
		refusal := told[key]
		if refusal == nil {
			refusal = &Refusal{"NodeResourcesFit", lackReasons(want, lacks), hopeless != 0}
			told[key] = refusal
		}
		return refusal
	}), nil
}

// lacksOf is what a node has not enough of, and what it would not have enough of if it were empty.
func lacksOf(want *Amounts, n *Node) (lacks, hopeless lack) {
	if len(n.Pods)+1 > n.MaxPods {
		lacks |= lackPlace
	}
	check := func(bit lack, want, all, used int64) {
		if want > 0 && want > all-used {
			lacks |= bit
			if want > all {
				hopeless |= bit
			}
		}
	}
	check(lackCPU, want.CPU, n.Allocatable.CPU, n.Requested.CPU)
	check(lackMemory, want.Memory, n.Allocatable.Memory, n.Requested.Memory)
	check(lackStorage, want.Storage, n.Allocatable.Storage, n.Requested.Storage)
	for i, s := range want.Scalars {
		check(lackScalar<<i, s.Value, n.Allocatable.Of(s.Name), n.Requested.Of(s.Name))
	}
	return lacks, hopeless
}

func lackReasons(want *Amounts, lacks lack) []string {
	var reasons []string
	for _, r := range []struct {
		bit  lack
		text string
	}{{lackPlace, "Too many pods"}, {lackCPU, "Insufficient cpu"}, {lackMemory, "Insufficient memory"},
		{lackStorage, "Insufficient ephemeral-storage"}} {
		if lacks&r.bit != 0 {
			reasons = append(reasons, r.text)
		}
	}
	for i, s := range want.Scalars {
		if lacks&(lackScalar<<i) != 0 {
			reasons = append(reasons, "Insufficient "+string(s.Name))
		}
	}
	return reasons
}

func (f *nodeResourcesFit) Score(c *Cycle, nodes []*Node, scores []int64) bool {
	share := f.scoring.share()
	for i, n := range nodes {
		var sum, weights int64
		for _, r := range f.scoring.Resources {
			requested, allocatable, ok := scoredAmounts(c.Pod, n, r.Name)
			if !ok {
				continue
			}
			score := share(requested, allocatable)
			if f.scoring.Strategy == "RequestedToCapacityRatio" && score <= 0 {
				continue
			}
			sum += score * r.Weight
			weights += r.Weight
		}
		switch {
		case weights == 0:
		case f.scoring.Strategy == "RequestedToCapacityRatio":
			scores[i] = int64(math.Round(float64(sum) / float64(weights)))
		default:
			scores[i] = sum / weights
		}
	}
	return true
}

// scoredAmounts is what would be requested of a resource, and what there is; false if the resource does not count.
func scoredAmounts(p *Pod, n *Node, name corev1.ResourceName) (requested, allocatable int64, ok bool) {
	switch name {
	case corev1.ResourceCPU:
		requested, allocatable = n.ScoredCPU+p.ScoredCPU, n.Allocatable.CPU
	case corev1.ResourceMemory:
		requested, allocatable = n.ScoredMemory+p.ScoredMemory, n.Allocatable.Memory
	default:
		want := p.Requests.Of(name)
		if want == 0 && isScalar(name) {
			return 0, 0, false
		}
		requested, allocatable = n.Requested.Of(name)+want, n.Allocatable.Of(name)
	}
	return requested, allocatable, allocatable != 0
}

// share is the score of one resource.
func (s *FitScoring) share() func(requested, allocatable int64) int64 {
	switch s.Strategy {
	case "MostAllocated":
		return func(requested, allocatable int64) int64 { return min(requested, allocatable) * maxScore / allocatable }
	case "RequestedToCapacityRatio":
		return func(requested, allocatable int64) int64 {
			return s.at(min(requested, allocatable) * 100 / allocatable)
		}
	}
	return func(requested, allocatable int64) int64 {
		if requested > allocatable {
			return 0
		}
		return (allocatable - requested) * maxScore / allocatable
	}
}

// at is the score at a utilization: on the line between the points beside it.
func (s *FitScoring) at(utilization int64) int64 {
	const scale = maxScore / 10 // of the scores in a shape
	i := slices.IndexFunc(s.Shape, func(p ShapePoint) bool { return utilization <= p.Utilization })
	switch {
	case i < 0:
		return s.Shape[len(s.Shape)-1].Score * scale
	case i == 0:
		return s.Shape[0].Score * scale
	}
	a, b := s.Shape[i-1], s.Shape[i]
	return a.Score*scale + (b.Score-a.Score)*scale*(utilization-a.Utilization)/(b.Utilization-a.Utilization)
}

func (*nodeResourcesFit) WakenBy() Kind {
	return NodeAdded | NodeAllocatable | PodDeleted | PodShrunk | SelfChanged
}

func (*nodeResourcesFit) Helps(e *Event, p *Pod) bool {
	switch {
	case e.Node != nil:
		return fitHelpedBy(e.OldNode, e.Node, &p.Requests)
	case e.Kind&PodDeleted != 0:
		return true
	case e.Pod.UID == p.UID:
		return shrunk(&e.OldPod.Requests, &e.Pod.Requests)
	}
	return slices.ContainsFunc(askedFor(&p.Requests), func(name corev1.ResourceName) bool {
		return e.OldPod.Requests.Of(name) > e.Pod.Requests.Of(name)
	})
}

// fitHelpedBy reports that a node, were it empty, has enough, and that it is new or has more of something asked for.
func fitHelpedBy(before, after *corev1.Node, want *Amounts) bool {
	var old, now Node
	now.set(after)
	if lacks, _ := lacksOf(want, &now); lacks != 0 {
		return false
	}
	if before == nil {
		return true
	}
	old.set(before)
	return now.MaxPods > old.MaxPods || slices.ContainsFunc(askedFor(want), func(name corev1.ResourceName) bool {
		return now.Allocatable.Of(name) > old.Allocatable.Of(name)
	})
}

// askedFor names the resources of which anything is asked.
func askedFor(want *Amounts) []corev1.ResourceName {
	var names []corev1.ResourceName
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if want.Of(name) > 0 {
			names = append(names, name)
		}
	}
	for _, s := range want.Scalars {
		if s.Value > 0 {
			names = append(names, s.Name)
		}
	}
	return names
}
