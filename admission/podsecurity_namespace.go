package admission

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/knarr-dev/knarr/registry"
)

// namespace checks the labels that ask for a standard, and warns of pods that are there and violate a stricter one.
// Faulty labels that were there before stay allowed.
func (p *security) namespace(ctx context.Context, a *Attributes, ns *corev1.Namespace) error {
	wanted, faults := api.PolicyToEvaluate(ns.Labels, p.defaults)
	invalid := apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Namespace").GroupKind(), ns.Name, faults)
	if a.Operation == Create {
		if len(faults) > 0 {
			return invalid
		}
		p.warnOfExemption(a, ns, wanted)
		return nil
	}
	before, oldFaults := api.PolicyToEvaluate(a.Old.GetLabels(), p.defaults)
	switch {
	case len(faults) > 0 && !reflect.DeepEqual(faults, oldFaults):
		return invalid
	case !isStricter(wanted.Enforce, before.Enforce):
	case slices.Contains(p.exempt.Namespaces, ns.Name):
		p.warnOfExemption(a, ns, wanted)
	default:
		for _, warning := range p.violations(ctx, ns.Name, wanted.Enforce) {
			a.Warn(warning)
		}
	}
	return nil
}

// isStricter tells whether pods that were allowed may not be any more. Of different versions nobody can tell.
func isStricter(now, before api.LevelVersion) bool {
	return now != before && now.Level != api.LevelPrivileged &&
		(now.Version != before.Version || api.CompareLevels(now.Level, before.Level) > 0)
}

// warnOfExemption tells those who label an exempt namespace that it is of no use.
func (p *security) warnOfExemption(a *Attributes, ns *corev1.Namespace, wanted api.Policy) {
	if !slices.Contains(p.exempt.Namespaces, ns.Name) || wanted.FullyPrivileged() || wanted.Equivalent(&p.defaults) {
		return
	}
	var said []string
	for _, mode := range []struct {
		name           string
		wanted         api.LevelVersion
		level, version string // labels
	}{
		{"enforce", wanted.Enforce, api.EnforceLevelLabel, api.EnforceVersionLabel},
		{"audit", wanted.Audit, api.AuditLevelLabel, api.AuditVersionLabel},
		{"warn", wanted.Warn, api.WarnLevelLabel, api.WarnVersionLabel},
	} {
		_, level := ns.Labels[mode.level]
		_, version := ns.Labels[mode.version]
		if mode.wanted.Level != api.LevelPrivileged && (level || version) {
			said = append(said, mode.name+"="+mode.wanted.String())
		}
	}
	a.Warn(fmt.Sprintf("namespace %q is exempt from Pod Security, and the policy (%s) will be ignored", ns.Name, strings.Join(said, ", ")))
}

// violations are warnings of the pods of a namespace that violate a level: one for each kind of violation, by the name
// of the first pod that has it. The look at them ends when it has taken long enough.
func (p *security) violations(ctx context.Context, namespace string, level api.LevelVersion) []string {
	patience := p.patience
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(deadline)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found, err := p.objects.List(ctx, "", "pods", namespace)
	if err != nil {
		return []string{"failed to list pods while checking new PodSecurity enforce level"}
	}
	pods := p.inOrderOfNews(found)
	checked, total := min(len(pods), p.maxPods), len(pods)
	names := map[string][]string{} // of pods, by violation
	for i, pod := range pods[:checked] {
		if r := policy.AggregateCheckResults(p.standard.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec)); !r.Allowed {
			names[r.ForbiddenReason()] = append(names[r.ForbiddenReason()], pod.Name)
		}
		if ctx.Err() != nil {
			checked = i + 1
			break
		}
	}
	var warnings []string
	if checked < total {
		warnings = append(warnings, fmt.Sprintf("new PodSecurity enforce level only checked against the first %d of %d existing pods", checked, total))
	}
	if len(names) > 0 {
		warnings = append(warnings, fmt.Sprintf("existing pods in namespace %q violate the new PodSecurity enforce level %q", namespace, level.String()))
	}
	var each []string
	for violation, pods := range names {
		each = append(each, fmt.Sprintf("%s: %s", andOthers(pods), violation))
	}
	slices.Sort(each)
	return append(warnings, each...)
}

func andOthers(pods []string) string {
	first := slices.Min(pods)
	switch len(pods) {
	case 1:
		return first
	case 2:
		return first + " (and 1 other pod)"
	}
	return fmt.Sprintf("%s (and %d other pods)", first, len(pods)-1)
}

// inOrderOfNews puts one pod of each controller before all others of its kind, which are like it.
func (p *security) inOrderOfNews(found []registry.Object) []*corev1.Pod {
	var first, alike []*corev1.Pod
	seen := map[types.UID]bool{}
	for _, o := range found {
		pod := o.(*corev1.Pod)
		if p.isExemptClass(pod.Spec.RuntimeClassName) {
			continue
		}
		owner := metav1.GetControllerOfNoCopy(pod)
		if owner != nil && seen[owner.UID] {
			alike = append(alike, pod)
			continue
		}
		if owner != nil {
			seen[owner.UID] = true
		}
		first = append(first, pod)
	}
	return append(first, alike...)
}
