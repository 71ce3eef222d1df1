package scheduler

import (
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"
)

// balancedAllocation likes nodes whose resources a pod would bring nearer to being used to the same degree.
type balancedAllocation struct {
	resources []corev1.ResourceName
	plain     bool // they are CPU and memory
}

func newBalancedAllocation(_ *Scheduler, args *balancedArgs) *balancedAllocation {
	b := &balancedAllocation{}
	for _, r := range args.Resources {
		b.resources = append(b.resources, corev1.ResourceName(r.Name))
	}
	b.plain = slices.Equal(b.resources, []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory})
	return b
}

type balancedArgs struct {
	configv1.NodeResourcesBalancedAllocationArgs
}

func (a *balancedArgs) Default() { a.Resources = weighed(a.Resources) }

// weighed are resources with a weight each; CPU and memory if there are none.
func weighed(list []configv1.ResourceSpec) []configv1.ResourceSpec {
	if len(list) == 0 {
		list = []configv1.ResourceSpec{{Name: "cpu"}, {Name: "memory"}}
	}
	for i := range list {
		orDefault(&list[i].Weight, 1)
	}
	return list
}

func (a *balancedArgs) Validate(at *field.Path) (errs field.ErrorList) {
	seen := map[string]bool{}
	for i, r := range a.Resources {
		if at := at.Child("resources").Index(i); seen[r.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), r.Name))
		} else if r.Weight != 1 {
			errs = append(errs, field.Invalid(at.Child("weight"), r.Weight, "must be 1"))
		}
		seen[r.Name] = true
	}
	return errs
}

// balanceOfTwo is balance for the two resources that nearly all clusters have.
func balanceOfTwo(cpu, allCPU, memory, allMemory int64) int64 {
	if allCPU == 0 || allMemory == 0 { // one alone is in balance
		return maxScore
	}
	a, b := min(float64(cpu)/float64(allCPU), 1), min(float64(memory)/float64(allMemory), 1)
	return int64((1 - math.Abs((a-b)/2)) * maxScore)
}

// balance of the used fractions of a node's resources is 100 if all are used to the same degree, and less by the deviation.
func balance(used []float64) int64 {
	deviation := 0.0
	switch len(used) {
	case 0, 1:
	case 2:
		deviation = math.Abs((used[0] - used[1]) / 2)
	default:
		mean := 0.0
		for _, fraction := range used {
			mean += fraction / float64(len(used))
		}
		for _, fraction := range used {
			deviation += (fraction - mean) * (fraction - mean)
		}
		deviation = math.Sqrt(deviation / float64(len(used)))
	}
	return int64((1 - deviation) * maxScore)
}

func (b *balancedAllocation) Score(c *Cycle, nodes []*Node, scores []int64) bool {
	want, asked := &c.Pod.Requests, false
	for _, r := range b.resources {
		asked = asked || want.Of(r) > 0
	}
	if !asked {
		return false
	}
	if b.plain {
		for i, n := range nodes {
			scores[i] = maxScore/2 + (maxScore/2+balanceOfTwo(n.Requested.CPU+want.CPU, n.Allocatable.CPU, n.Requested.Memory+want.Memory, n.Allocatable.Memory)-
				balanceOfTwo(n.Requested.CPU, n.Allocatable.CPU, n.Requested.Memory, n.Allocatable.Memory))/2
		}
		return true
	}
	with, without := make([]float64, 0, len(b.resources)), make([]float64, 0, len(b.resources))
	for i, n := range nodes {
		with, without = with[:0], without[:0]
		for _, r := range b.resources {
			all, used, more := n.Allocatable.Of(r), n.Requested.Of(r), want.Of(r)
			if all == 0 || more == 0 && isScalar(r) {
				continue
			}
			with = append(with, min(float64(used+more)/float64(all), 1))
			without = append(without, min(float64(used)/float64(all), 1))
		}
		scores[i] = maxScore/2 + (maxScore/2+balance(with)-balance(without))/2
	}
	return true
}
