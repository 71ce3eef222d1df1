package admission

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/knarr-dev/knarr/registry"
)

// podSecurity keeps pods to the Pod Security Standard that their namespace's labels ask for. There are three modes, each
// with a level and a version of the standard: enforce refuses a pod, audit notes it, warn tells the user. Templates of pods are
// audited and warned of alone: what comes of them is judged when it comes. The levels' rules themselves are the library's
// (k8s.io/pod-security-admission).
func podSecurity(h Host) (Plugin, error) {
	config, err := configure(h, podSecurityConfig())
	if err != nil {
		return Plugin{}, err
	}
	standard, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return Plugin{}, err
	}
	p := &security{objects: h.Objects, standard: standard, exempt: config.Exemptions, maxPods: 3000, patience: time.Second}
	if p.defaults, err = defaultPolicy(config); err != nil {
		return Plugin{}, err
	}
	return Plugin{Operations: []Operation{Create, Update}, Validate: func(ctx context.Context, a *Attributes) error {
		switch o := a.Object.(type) {
		case *corev1.Namespace:
			if a.Is("", "namespaces") {
				return p.namespace(ctx, a, o)
			}
		case *corev1.Pod:
			if a.Resource.Resource == "pods" && !slices.Contains(harmlessDoors(), a.Subresource) {
				return p.pod(ctx, a, o)
			}
		default:
			if t := podTemplate(o); t != nil && a.Subresource == "" {
				p.template(ctx, a, t)
			}
		}
		return nil
	}}, nil
}

// harmlessDoors are the sub-resources of pods that cannot change what a pod may do.
func harmlessDoors() []string {
	return []string{"exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"}
}

// podTemplate is what a workload makes pods from; nil if the object is none, or has none.
func podTemplate(obj registry.Object) *corev1.PodTemplateSpec {
	switch o := obj.(type) {
	case *corev1.PodTemplate:
		return &o.Template
	case *corev1.ReplicationController:
		return o.Spec.Template
	case *appsv1.ReplicaSet:
		return &o.Spec.Template
	case *appsv1.Deployment:
		return &o.Spec.Template
	case *appsv1.StatefulSet:
		return &o.Spec.Template
	case *appsv1.DaemonSet:
		return &o.Spec.Template
	case *batchv1.Job:
		return &o.Spec.Template
	case *batchv1.CronJob:
		return &o.Spec.JobTemplate.Spec.Template
	}
	return nil
}

// security judges by the namespaces' labels, and by the configuration where they say nothing.
type security struct {
	objects  Objects
	standard policy.Evaluator
	defaults api.Policy
	exempt   podSecurityExemptions
	maxPods  int           // of a namespace that are looked at when its labels change
	patience time.Duration // with that look
}

// pod refuses a pod that violates what its namespace enforces.
func (p *security) pod(ctx context.Context, a *Attributes, pod *corev1.Pod) error {
	if p.isExempt(a) {
		return nil
	}
	labels, err := p.labels(ctx, a.Namespace)
	if err != nil {
		a.note("error", fmt.Sprintf("failed to lookup namespace %q: %v", a.Namespace, err))
		return apierrors.NewInternalError(fmt.Errorf("failed to lookup namespace %q", a.Namespace))
	}
	wanted, faults := api.PolicyToEvaluate(labels, p.defaults)
	if len(faults) == 0 && wanted.FullyPrivileged() {
		a.note(api.EnforcedPolicyAnnotationKey, wanted.Enforce.String())
		return nil
	}
	if a.Operation == Update && !isOtherPod(pod, a.Old.(*corev1.Pod)) {
		return nil
	}
	return p.judge(a, wanted, faults.ToAggregate(), &pod.ObjectMeta, &pod.Spec, true)
}

// template warns of a template whose pods would be refused.
func (p *security) template(ctx context.Context, a *Attributes, t *corev1.PodTemplateSpec) {
	if p.isExempt(a) {
		return
	}
	labels, err := p.labels(ctx, a.Namespace)
	if err != nil {
		a.note("error", fmt.Sprintf("failed to lookup namespace %q: %v", a.Namespace, err))
		return
	}
	wanted, faults := api.PolicyToEvaluate(labels, p.defaults)
	if len(faults) == 0 && wanted.Warn.Level == api.LevelPrivileged && wanted.Audit.Level == api.LevelPrivileged {
		return
	}
	_ = p.judge(a, wanted, faults.ToAggregate(), &t.ObjectMeta, &t.Spec, false) // which enforces nothing
}

func (p *security) labels(ctx context.Context, namespace string) (map[string]string, error) {
	found, err := p.objects.Get(ctx, "", "namespaces", "", namespace)
	if err != nil {
		return nil, err
	}
	return found.GetLabels(), nil
}

// isExempt tells whether the configuration lets this namespace or user do as they like.
func (p *security) isExempt(a *Attributes) bool {
	switch {
	case slices.Contains(p.exempt.Namespaces, a.Namespace):
		a.note(api.ExemptionReasonAnnotationKey, "namespace")
		return true
	case slices.Contains(p.exempt.Usernames, a.User.Name):
		a.note(api.ExemptionReasonAnnotationKey, "user")
		return true
	}
	return false
}

func (p *security) isExemptClass(class *string) bool {
	return class != nil && *class != "" && slices.Contains(p.exempt.RuntimeClasses, *class)
}

// judge holds a pod against each mode's level. fault is what is wrong with the namespace's labels, in place of which the
// strictest holds.
func (p *security) judge(a *Attributes, wanted api.Policy, fault error, meta *metav1.ObjectMeta, spec *corev1.PodSpec, enforce bool) error {
	if p.isExemptClass(spec.RuntimeClassName) {
		a.note(api.ExemptionReasonAnnotationKey, "runtimeClass")
		return nil
	}
	if fault != nil {
		a.note("error", fmt.Sprintf("Failed to parse policy: %v", fault))
	}
	results := map[api.LevelVersion]policy.AggregateCheckResult{}
	against := func(level api.LevelVersion) policy.AggregateCheckResult {
		if _, known := results[level]; !known {
			results[level] = policy.AggregateCheckResults(p.standard.EvaluatePod(level, meta, spec))
		}
		return results[level]
	}
	var refusal error
	if enforce {
		a.note(api.EnforcedPolicyAnnotationKey, wanted.Enforce.String())
		if r := against(wanted.Enforce); !r.Allowed {
			refusal = a.forbid("violates PodSecurity %q: %s", wanted.Enforce.String(), r.ForbiddenDetail())
		}
	}
	if r := against(wanted.Audit); !r.Allowed {
		a.note(api.AuditViolationsAnnotationKey, wouldViolate(wanted.Audit, r))
	}
	if refusal != nil {
		return refusal
	}
	if r := against(wanted.Warn); !r.Allowed {
		a.Warn(wouldViolate(wanted.Warn, r))
	}
	return nil
}

func wouldViolate(level api.LevelVersion, r policy.AggregateCheckResult) string {
	return fmt.Sprintf("would violate PodSecurity %q: %s", level.String(), r.ForbiddenDetail())
}

// note adds what the standard's modes found to the audit event.
func (a *Attributes) note(key, value string) {
	if a.Annotate != nil {
		a.Annotate(api.AuditAnnotationPrefix+key, value)
	}
}

// isOtherPod tells whether an update changes what is judged: containers come or have another image. All else that matters
// cannot be changed.
func isOtherPod(pod, old *corev1.Pod) bool {
	sameImages := func(a, b []corev1.Container) bool {
		return slices.EqualFunc(a, b, func(x, y corev1.Container) bool { return x.Image == y.Image })
	}
	if !sameImages(pod.Spec.Containers, old.Spec.Containers) || !sameImages(pod.Spec.InitContainers, old.Spec.InitContainers) {
		return true
	}
	return slices.ContainsFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool {
		return !slices.ContainsFunc(old.Spec.EphemeralContainers, func(o corev1.EphemeralContainer) bool {
			return o.Name == c.Name && o.Image == c.Image
		})
	})
}
