package admission

import (
	"context"
	"encoding/json"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/knarr-dev/knarr/auth"
)

// nodeSelectorAnnotation of a namespace names the nodes on which its pods run.
const nodeSelectorAnnotation = "scheduler.alpha.kubernetes.io/node-selector"

// clusterSelector is the entry of the configuration for namespaces without the annotation.
const clusterSelector = "clusterDefaultNodeSelector"

// nodeSelectorFile is the plugin's configuration, which has no version: selectors by namespace, outside of which a pod
// may select nothing.
type nodeSelectorFile struct {
	Selectors   map[string]string `json:"podNodeSelectorPluginConfig"`
	ImagePolicy json.RawMessage   `json:"imagePolicy"` // that of another plugin, which may share the file
}

func nodeSelectorConfig() auth.ConfigKind[nodeSelectorFile] {
	return auth.ConfigKind[nodeSelectorFile]{Versions: []string{""}, Validate: func(f *nodeSelectorFile) (errs field.ErrorList) {
		for namespace, selector := range f.Selectors {
			if _, err := labels.ConvertSelectorToLabelsMap(selector); err != nil {
				errs = append(errs, field.Invalid(field.NewPath("podNodeSelectorPluginConfig").Child(namespace), selector, err.Error()))
			}
		}
		return errs
	}}
}

// podNodeSelector sends the pods of a namespace to the nodes that its annotation names, or the configuration, and refuses
// those that want to go elsewhere.
func podNodeSelector(h Host) (Plugin, error) {
	config, err := configure(h, nodeSelectorConfig())
	if err != nil {
		return Plugin{}, err
	}
	s := nodeSelectors{h.Objects, config.Selectors}
	return Plugin{
		Operations: []Operation{Create},
		Mutate: func(ctx context.Context, a *Attributes) error {
			pod, ok := a.pod()
			if !ok {
				return nil
			}
			own, err := s.check(ctx, a, pod)
			if err != nil {
				return err
			}
			pod.Spec.NodeSelector = labels.Merge(own, pod.Spec.NodeSelector)
			return s.checkAllowed(a, pod)
		},
		Validate: func(ctx context.Context, a *Attributes) error {
			pod, ok := a.pod()
			if !ok {
				return nil
			}
			if _, err := s.check(ctx, a, pod); err != nil {
				return err
			}
			return s.checkAllowed(a, pod)
		},
	}, nil
}

// nodeSelectors knows the configured selectors by namespace.
type nodeSelectors struct {
	objects    Objects
	configured map[string]string
}

// check returns the selector of the pod's namespace; an error if the pod contradicts it.
func (s nodeSelectors) check(ctx context.Context, a *Attributes, pod *corev1.Pod) (labels.Set, error) {
	found, err := s.objects.Get(ctx, "", "namespaces", "", a.Namespace)
	if apierrors.IsNotFound(err) {
		return nil, apierrors.NewInternalError(errors.New("namespace " + a.Namespace + " does not exist"))
	}
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	text, annotated := found.GetAnnotations()[nodeSelectorAnnotation]
	if !annotated {
		text = s.configured[clusterSelector]
	}
	own, err := labels.ConvertSelectorToLabelsMap(text)
	if err != nil {
		return nil, err
	}
	if labels.Conflicts(own, labels.Set(pod.Spec.NodeSelector)) {
		return nil, forbidPod(a, pod, "pod node label selector conflicts with its namespace node label selector")
	}
	return own, nil
}

// checkAllowed refuses a selector beyond what the configuration allows the namespace.
func (s nodeSelectors) checkAllowed(a *Attributes, pod *corev1.Pod) error {
	allowed, err := labels.ConvertSelectorToLabelsMap(s.configured[a.Namespace])
	if err != nil || len(allowed) == 0 {
		return err
	}
	for key, value := range pod.Spec.NodeSelector {
		if allows, ok := allowed[key]; !ok || allows != value {
			return forbidPod(a, pod, "pod node label selector labels conflict with its namespace whitelist")
		}
	}
	return nil
}

// forbidPod names the pod as it is named now, which may be not at all.
func forbidPod(a *Attributes, pod *corev1.Pod, why string) error {
	return apierrors.NewForbidden(a.Resource.GroupResource(), pod.Name, errors.New(why))
}
