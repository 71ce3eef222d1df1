package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/registry"
)

// Annotations of a namespace: what its pods tolerate anyhow, and what they may tolerate at all. They hold lists in
// JSON, and go before the configuration.
const (
	defaultTolerationsAnnotation = "scheduler.alpha.kubernetes.io/defaultTolerations"
	allowedTolerationsAnnotation = "scheduler.alpha.kubernetes.io/tolerationsWhitelist"
)

// tolerationFile is the Configuration of podtolerationrestriction.admission.k8s.io: the annotations' lists where a
// namespace has none.
type tolerationFile struct {
	metav1.TypeMeta `json:",inline"`
	Default         []corev1.Toleration `json:"default"`
	Allowed         []corev1.Toleration `json:"whitelist"`
}

func tolerationConfig() auth.ConfigKind[tolerationFile] {
	return auth.ConfigKind[tolerationFile]{Kind: "Configuration", Versions: []string{"podtolerationrestriction.admission.k8s.io/v1alpha1"},
		Validate: func(f *tolerationFile) field.ErrorList {
			return append(registry.ValidateTolerations(f.Default, field.NewPath("default")),
				registry.ValidateTolerations(f.Allowed, field.NewPath("whitelist"))...)
		}}
}

// podToleration gives pods the tolerations of their namespace, and one of memory pressure to those that ask for resources;
// it refuses tolerations that the namespace does not allow.
func podToleration(h Host) (Plugin, error) {
	config, err := configure(h, tolerationConfig())
	if err != nil {
		return Plugin{}, err
	}
	t := tolerationRules{h.Objects, config}
	return Plugin{
		Operations: []Operation{Create, Update},
		Mutate: func(ctx context.Context, a *Attributes) error {
			pod, ok := a.pod()
			if !ok {
				return nil
			}
			if err := t.give(ctx, a, pod); err != nil {
				return err
			}
			return t.check(ctx, a, pod)
		},
		Validate: func(ctx context.Context, a *Attributes) error {
			if pod, ok := a.pod(); ok {
				return t.check(ctx, a, pod)
			}
			return nil
		},
	}, nil
}

// tolerationRules are the namespaces' and, where they say nothing, the cluster's.
type tolerationRules struct {
	objects Objects
	cluster *tolerationFile
}

func (t tolerationRules) give(ctx context.Context, a *Attributes, pod *corev1.Pod) error {
	var more []corev1.Toleration
	if a.Operation == Create {
		own, said, err := t.annotated(ctx, a.Namespace, defaultTolerationsAnnotation)
		if err != nil {
			return err
		}
		more = own
		if !said {
			more = slices.Clone(t.cluster.Default)
		}
	}
	if registry.PodQOS(pod) != corev1.PodQOSBestEffort {
		more = append(more, corev1.Toleration{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
	}
	if len(more) > 0 {
		pod.Spec.Tolerations = mergeTolerations(pod.Spec.Tolerations, more)
	}
	return nil
}

func (t tolerationRules) check(ctx context.Context, a *Attributes, pod *corev1.Pod) error {
	if len(pod.Spec.Tolerations) == 0 {
		return nil
	}
	allowed, said, err := t.annotated(ctx, a.Namespace, allowedTolerationsAnnotation)
	if err != nil {
		return err
	}
	whose := "namespace"
	if !said {
		allowed, whose = t.cluster.Allowed, "cluster"
	}
	for _, toleration := range pod.Spec.Tolerations {
		covered := func(a corev1.Toleration) bool { return covers(a, toleration) }
		if len(allowed) > 0 && !slices.ContainsFunc(allowed, covered) {
			return fmt.Errorf("pod tolerations (possibly merged with namespace default tolerations) conflict with its %s whitelist", whose)
		}
	}
	return nil
}

// annotated reads a list from an annotation of a namespace, if it has it; the empty annotation is an empty list.
func (t tolerationRules) annotated(ctx context.Context, namespace, key string) (list []corev1.Toleration, said bool, err error) {
	found, err := t.objects.Get(ctx, "", "namespaces", "", namespace)
	if apierrors.IsNotFound(err) {
		return nil, false, err
	}
	if err != nil {
		return nil, false, apierrors.NewInternalError(err)
	}
	text, said := found.GetAnnotations()[key]
	if text != "" {
		err = json.Unmarshal([]byte(text), &list)
	}
	return list, said, err
}
