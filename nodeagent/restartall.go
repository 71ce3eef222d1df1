package nodeagent

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// A container may have a rule that its exit has all containers of the pod started again, from the first init container on. Those
// that run are ended, all are taken from the runtime, and the pod begins anew in its sandbox. What is known of their last runs
// is kept beside the runtime.

// restartingAll is the reason of containers that were ended because another's exit has all started again.
const (
	restartingAll        = "RestartingAllContainers"
	restartingAllMessage = "The container is removed because RestartAllContainers in place"
)

// ruleFor is the first of a container's rules that an exit code fits; nil if none does.
func ruleFor(c *corev1.Container, code int32) *corev1.ContainerRestartRule {
	if c.RestartPolicy == nil {
		return nil
	}
	for i := range c.RestartPolicyRules {
		if rule := &c.RestartPolicyRules[i]; rule.ExitCodes != nil && fitsExitCodes(rule.ExitCodes, code) {
			return rule
		}
	}
	return nil
}

// restartsAll reports whether a run's end has all containers started again.
func restartsAll(c *corev1.Container, r *run) bool {
	if r == nil || r.state != runExited {
		return false
	}
	rule := ruleFor(c, r.exitCode)
	return rule != nil && rule.Action == corev1.ContainerRestartRuleActionRestartAllContainers
}

// couldRestartAll reports whether a pod has such a rule.
func couldRestartAll(p *corev1.Pod) bool {
	for role, c := range containers(p) {
		if role == ephemeralRole {
			continue
		}
		for _, rule := range c.RestartPolicyRules {
			if rule.Action == corev1.ContainerRestartRuleActionRestartAllContainers {
				return true
			}
		}
	}
	return false
}

// resets reports whether a container of the pod has ended so that all are started again.
func (s *situation) resets() bool {
	for role, c := range containers(s.pod) {
		if role != ephemeralRole && restartsAll(c, s.seen.latest(c.Name)) {
			return true
		}
	}
	return false
}

// reset ends what runs, without grace; when nothing runs any more, everything is taken from the runtime. It reports whether the pod
// can begin anew.
func (a *Agent) reset(ctx context.Context, w *work, s *situation) (done bool, err error) {
	w.resetting = true
	running := false
	for role, c := range containers(s.pod) {
		if r := s.seen.latest(c.Name); role != ephemeralRole && r != nil && r.state == runRunning {
			running = true
			a.stop(w, s.pod, stopping{*r, 0, "killing"})
		}
	}
	if running {
		return false, nil
	}
	if w.past == nil {
		w.past = map[string]run{}
	}
	for role, c := range containers(s.pod) {
		r := s.seen.latest(c.Name)
		if role == ephemeralRole || r == nil {
			continue
		}
		last := *r
		if !restartsAll(c, r) {
			last.exitCode, last.reason, last.message = killed, restartingAll, restartingAllMessage
		}
		for _, x := range s.seen.runs[c.Name] {
			if !x.recalled {
				if err := a.Runtime.RemoveContainer(ctx, x.id); err != nil {
					return false, err
				}
			}
			delete(w.health, x.id)
			delete(w.stopping, x.id)
			delete(w.revive, x.id)
		}
		w.past[c.Name] = last
		delete(w.trouble, c.Name)
	}
	w.recalled, w.resetting = nil, false
	return true, nil
}

// killed is the exit code of what was killed.
const killed = 137
