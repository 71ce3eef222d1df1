package scheduler

import (
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"
)

// nodeResourcesFit keeps pods from nodes that lack what they ask for, and likes nodes by how much would be taken of them.
type nodeResourcesFit struct {
	ratio     bool // the strategy is RequestedToCapacityRatio
	share     func(requested, allocatable int64) int64
	resources []configv1.ResourceSpec // that have a say, by their weight
	ignored   func(corev1.ResourceName) bool
}

func newNodeResourcesFit(s *Scheduler, args *fitArgs) *nodeResourcesFit {
	strategy := args.ScoringStrategy
	ignored := slices.Clone(args.IgnoredResources)
	for _, e := range s.config.Configuration.Extenders {
		for _, r := range e.ManagedResources {
			if r.IgnoredByScheduler {
				ignored = append(ignored, r.Name)
			}
		}
	}
	return &nodeResourcesFit{ratio: strategy.Type == configv1.RequestedToCapacityRatio, share: shareOf(strategy), resources: strategy.Resources,
		ignored: func(name corev1.ResourceName) bool {
			group, _, _ := strings.Cut(string(name), "/")
			return isExtended(string(name)) && (slices.Contains(ignored, string(name)) || slices.Contains(args.IgnoredResourceGroups, group))
		}}
}

type fitArgs struct{ configv1.NodeResourcesFitArgs }

func (a *fitArgs) Default() {
	if a.ScoringStrategy == nil {
		a.ScoringStrategy = &configv1.ScoringStrategy{Type: configv1.LeastAllocated}
	}
	a.ScoringStrategy.Resources = weighed(a.ScoringStrategy.Resources)
}

func (a *fitArgs) Validate(at *field.Path) (errs field.ErrorList) {
	for i, name := range a.IgnoredResources {
		errs = append(errs, metav1validation.ValidateLabelName(name, at.Child("ignoredResources").Index(i))...)
	}
	for i, group := range a.IgnoredResourceGroups {
		at := at.Child("ignoredResourceGroups").Index(i)
		if strings.Contains(group, "/") {
			errs = append(errs, field.Invalid(at, group, "resource group name can't contain '/'"))
		}
		errs = append(errs, metav1validation.ValidateLabelName(group, at)...)
	}
	s, at := a.ScoringStrategy, at.Child("scoringStrategy")
	strategies := []configv1.ScoringStrategyType{configv1.LeastAllocated, configv1.MostAllocated, configv1.RequestedToCapacityRatio}
	if !slices.Contains(strategies, s.Type) {
		errs = append(errs, field.NotSupported(at.Child("type"), s.Type, strategies))
	}
	for i, r := range s.Resources {
		if r.Weight <= 0 || r.Weight > 100 {
			errs = append(errs, field.Invalid(at.Child("resources").Index(i).Child("weight"), r.Weight, fmt.Sprintf("resource weight of %v not in valid range (0, 100]", r.Name)))
		}
	}
	ratio := at.Child("requestedToCapacityRatio")
	switch {
	case s.Type == configv1.RequestedToCapacityRatio && s.RequestedToCapacityRatio == nil:
		errs = append(errs, field.Required(ratio, "must be specified when type is RequestedToCapacityRatio"))
	case s.Type == configv1.RequestedToCapacityRatio:
		errs = append(errs, validateShape(s.RequestedToCapacityRatio.Shape, ratio.Child("shape"))...)
	case s.RequestedToCapacityRatio != nil:
		errs = append(errs, field.Forbidden(ratio, "must be nil when type is not RequestedToCapacityRatio"))
	}
	return errs
}

// bestInShape is the highest score in a shape, which stands for maxScore.
const bestInShape = 10

func validateShape(shape []configv1.UtilizationShapePoint, at *field.Path) (errs field.ErrorList) {
	if len(shape) == 0 {
		return field.ErrorList{field.Required(at, "at least one point must be specified")}
	}
	for i := 1; i < len(shape); i++ {
		if shape[i-1].Utilization >= shape[i].Utilization {
			errs = append(errs, field.Invalid(at.Index(i).Child("utilization"), shape[i].Utilization, "values must be sorted in increasing order"))
			break
		}
	}
	for i, p := range shape {
		if p.Utilization < 0 || p.Utilization > 100 {
			errs = append(errs, field.Invalid(at.Index(i).Child("utilization"), p.Utilization, "not in valid range [0, 100]"))
		}
		if p.Score < 0 || p.Score > bestInShape {
			errs = append(errs, field.Invalid(at.Index(i).Child("score"), p.Score, "not in valid range [0, 10]"))
		}
	}
	return errs
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
	want := f.asked(&c.Pod.Requests)
	told := map[[2]lack]*Refusal{} // one refusal for all nodes that lack the same
	return judging(func(n *Node) *Refusal {
		if fits(want, n) {
			return nil
		}
		lacks, hopeless := lacksOf(want, n)
		key := [2]lack{lacks, hopeless}
		refusal := told[key]
		if refusal == nil {
			refusal = &Refusal{"NodeResourcesFit", lackReasons(want, lacks), hopeless != 0}
			told[key] = refusal
		}
		return refusal
	}), nil
}

// asked is what is asked of nodes: without what is ignored.
func (f *nodeResourcesFit) asked(want *Amounts) *Amounts {
	ignored := func(s Scalar) bool { return f.ignored(s.Name) }
	if !slices.ContainsFunc(want.Scalars, ignored) {
		return want
	}
	less := *want
	less.Scalars = slices.DeleteFunc(slices.Clone(want.Scalars), ignored)
	return &less
}

// fits reports that a node lacks nothing.
func fits(want *Amounts, n *Node) bool {
	if len(n.Pods) >= int(n.MaxPods) || !within(want.CPU, n.Allocatable.CPU, n.Requested.CPU) || !within(want.Memory, n.Allocatable.Memory, n.Requested.Memory) ||
		!within(want.Storage, n.Allocatable.Storage, n.Requested.Storage) {
		return false
	}
	for _, s := range want.Scalars {
		if !within(s.Value, n.Allocatable.Of(s.Name), n.Requested.Of(s.Name)) {
			return false
		}
	}
	return true
}

// within reports that so much is left, or nothing is wanted.
func within(want, all, used int64) bool { return want <= 0 || want <= all-used }

// lacksOf is what a node has not enough of, and what it would not have enough of if it were empty.
func lacksOf(want *Amounts, n *Node) (lacks, hopeless lack) {
	if len(n.Pods) >= int(n.MaxPods) {
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
	for i, n := range nodes {
		var sum, weights int64
		for _, r := range f.resources {
			requested, allocatable, ok := scoredAmounts(c.Pod, n, corev1.ResourceName(r.Name))
			if !ok {
				continue
			}
			score := f.share(requested, allocatable)
			if f.ratio && score <= 0 {
				continue
			}
			sum += score * r.Weight
			weights += r.Weight
		}
		switch {
		case weights == 0:
		case f.ratio:
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

// shareOf is how one resource is scored.
func shareOf(s *configv1.ScoringStrategy) func(requested, allocatable int64) int64 {
	switch s.Type {
	case configv1.MostAllocated:
		return func(requested, allocatable int64) int64 { return min(requested, allocatable) * maxScore / allocatable }
	case configv1.RequestedToCapacityRatio:
		shape := s.RequestedToCapacityRatio.Shape
		return func(requested, allocatable int64) int64 {
			return scoreAt(shape, min(requested, allocatable)*100/allocatable)
		}
	}
	return func(requested, allocatable int64) int64 {
		if requested > allocatable {
			return 0
		}
		return (allocatable - requested) * maxScore / allocatable
	}
}

// scoreAt is the score at a utilization: on the line between the points beside it.
func scoreAt(shape []configv1.UtilizationShapePoint, utilization int64) int64 {
	const scale = maxScore / bestInShape
	i := slices.IndexFunc(shape, func(p configv1.UtilizationShapePoint) bool { return utilization <= int64(p.Utilization) })
	switch {
	case i < 0:
		return int64(shape[len(shape)-1].Score) * scale
	case i == 0:
		return int64(shape[0].Score) * scale
	}
	a, b := shape[i-1], shape[i]
	return int64(a.Score)*scale + int64(b.Score-a.Score)*scale*(utilization-int64(a.Utilization))/int64(b.Utilization-a.Utilization)
}

func (*nodeResourcesFit) WakenBy() Kind {
	return NodeAdded | NodeAllocatable | PodDeleted | PodShrunk | SelfChanged
}

func (f *nodeResourcesFit) Helps(e *Event, p *Pod) bool {
	switch {
	case e.Node != nil:
		return fitHelpedBy(e.OldNode, e.Node, f.asked(&p.Requests))
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
