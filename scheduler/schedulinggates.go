package scheduler

import "strings"

// schedulingGates holds pods back until the last of their gates is removed.
type schedulingGates struct{}

func (*schedulingGates) Admit(p *Pod) *Refusal {
	if len(p.Spec.SchedulingGates) == 0 {
		return nil
	}
	var names []string
	for _, g := range p.Spec.SchedulingGates {
		names = append(names, g.Name)
	}
	return &Refusal{"SchedulingGates", []string{"waiting for scheduling gates: [" + strings.Join(names, " ") + "]"}, true}
}
