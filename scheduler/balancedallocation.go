package scheduler

import "math"

// balancedAllocation likes nodes whose CPU and memory a pod would bring nearer to being used to the same degree.
type balancedAllocation struct{}

func (*balancedAllocation) Score(c *Cycle, nodes []*Node, scores []int64) bool {
	want := &c.Pod.Requests
	if want.CPU == 0 && want.Memory == 0 {
		return false
	}
	for i, n := range nodes {
		with := balance(n.Requested.CPU+want.CPU, n.Allocatable.CPU, n.Requested.Memory+want.Memory, n.Allocatable.Memory)
		without := balance(n.Requested.CPU, n.Allocatable.CPU, n.Requested.Memory, n.Allocatable.Memory)
		scores[i] = maxScore/2 + (maxScore/2+with-without)/2
	}
	return true
}

// balance is 100 if both resources are used to the same degree, and less by the deviation.
func balance(cpu, allCPU, memory, allMemory int64) int64 {
	if allCPU == 0 || allMemory == 0 { // one alone is in balance
		return maxScore
	}
	a := min(float64(cpu)/float64(allCPU), 1)
	b := min(float64(memory)/float64(allMemory), 1)
	return int64((1 - math.Abs((a-b)/2)) * maxScore)
}
