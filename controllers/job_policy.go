package controllers

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// ruling is what a Job's failure policy says about a failed pod: the action of the first rule that matches. Without such
// a rule a failure counts and nothing else follows.
type ruling struct {
	action  batchv1.PodFailurePolicyAction // empty if no rule matches
	message string                         // why the Job fails, if it does
}

func (r ruling) counts() bool { return r.action != batchv1.PodFailurePolicyActionIgnore }

func ruleOn(policy *batchv1.PodFailurePolicy, p *corev1.Pod) ruling {
	if policy == nil {
		return ruling{}
	}
	for i, rule := range policy.Rules {
		what := failureMatching(rule, p)
		if what == "" {
			continue
		}
		if rule.Action != batchv1.PodFailurePolicyActionFailJob {
			return ruling{action: rule.Action}
		}
		return ruling{rule.Action, fmt.Sprintf("%s matching %v rule at index %d", what, rule.Action, i)}
	}
	return ruling{}
}

// failureMatching says in which way a pod fits a rule; it is empty if it does not.
func failureMatching(rule batchv1.PodFailurePolicyRule, p *corev1.Pod) string {
	if rule.OnExitCodes != nil {
		for _, s := range slices.Concat(p.Status.ContainerStatuses, p.Status.InitContainerStatuses) {
			if exitMatches(rule.OnExitCodes, s) {
				return fmt.Sprintf("Container %s for pod %s/%s failed with exit code %v", s.Name, p.Namespace, p.Name, s.State.Terminated.ExitCode)
			}
		}
		return ""
	}
	for _, c := range p.Status.Conditions {
		if slices.ContainsFunc(rule.OnPodConditions, func(o batchv1.PodFailurePolicyOnPodConditionsPattern) bool {
			return o.Type == c.Type && o.Status == c.Status
		}) {
			return fmt.Sprintf("Pod %s/%s has condition %v", p.Namespace, p.Name, c.Type)
		}
	}
	return ""
}

// exitMatches reports whether a container has ended in the way that a rule is about. Success never is one.
func exitMatches(on *batchv1.PodFailurePolicyOnExitCodesRequirement, s corev1.ContainerStatus) bool {
	if s.State.Terminated == nil || s.State.Terminated.ExitCode == 0 || on.ContainerName != nil && *on.ContainerName != s.Name {
		return false
	}
	listed := slices.Contains(on.Values, s.State.Terminated.ExitCode)
	switch on.Operator {
	case batchv1.PodFailurePolicyOnExitCodesOpIn:
		return listed
	case batchv1.PodFailurePolicyOnExitCodesOpNotIn:
		return !listed
	}
	return false
}

// successRule is the first rule of a success policy that the succeeded indexes satisfy.
func successRule(policy *batchv1.SuccessPolicy, succeeded indexes, completions int) (index int, met bool) {
	if policy == nil || len(succeeded) == 0 {
		return 0, false
	}
	index = slices.IndexFunc(policy.Rules, func(rule batchv1.SuccessPolicyRule) bool {
		if rule.SucceededIndexes == nil {
			return rule.SucceededCount != nil && succeeded.count() >= int(*rule.SucceededCount)
		}
		wanted := parseIndexes(*rule.SucceededIndexes, completions)
		have := wanted.common(succeeded)
		return len(wanted) > 0 && (have == wanted.count() || rule.SucceededCount != nil && have >= int(*rule.SucceededCount))
	})
	return index, index >= 0
}
