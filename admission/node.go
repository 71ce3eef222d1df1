package admission

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
)

// taintNodes gives a new node the taint of one that is not ready: pods come once the node's conditions say so.
func taintNodes() Plugin {
	return Plugin{Operations: []Operation{Create}, Mutate: func(_ context.Context, a *Attributes) error {
		node, ok := a.Object.(*corev1.Node)
		if !ok || !a.Is("", "nodes") {
			return nil
		}
		taint := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
		if !slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&taint) }) {
			node.Spec.Taints = append(node.Spec.Taints, taint)
		}
		return nil
	}}
}

// defaultTolerationSeconds lets a pod that says nothing else stay on a silent node for a while.
func defaultTolerationSeconds(h Host) (Plugin, error) {
	silences := []struct {
		taint   string
		seconds int64
	}{{corev1.TaintNodeNotReady, h.NotReadySeconds}, {corev1.TaintNodeUnreachable, h.UnreachableSeconds}}
	return Plugin{Operations: []Operation{Create, Update}, Mutate: func(_ context.Context, a *Attributes) error {
		pod, ok := a.pod()
		if !ok {
			return nil
		}
		for _, s := range silences {
			if !slices.ContainsFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool {
				return (t.Key == s.taint || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "")
			}) {
				pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Key: s.taint, Operator: corev1.TolerationOpExists,
					Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To(s.seconds)})
			}
		}
		return nil
	}}, nil
}

// podTopologyLabels copies the zone and region of the node that a pod is bound to onto the binding or the pod.
func podTopologyLabels(objects Objects) Plugin {
	return Plugin{Operations: []Operation{Create}, Mutate: func(ctx context.Context, a *Attributes) error {
		node := boundTo(a)
		if node == "" {
			return nil
		}
		found, err := objects.Labels(ctx, "", "nodes", "", node) // of a large object, for each pod that is bound
		if apierrors.IsNotFound(err) {
			return nil // the node may be a moment younger than the binding
		}
		if err != nil {
			return err
		}
		labels := a.Object.GetLabels()
		for _, key := range []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion} {
			if value, ok := found.Lookup(key); ok {
				if labels == nil {
					labels = map[string]string{}
				}
				labels[key] = value
			}
		}
		a.Object.SetLabels(labels)
		return nil
	}}
}

// boundTo is the node that a write binds a pod to: a new pod, or a binding posted to one; empty if it binds none.
func boundTo(a *Attributes) string {
	if a.Resource.Group != "" || a.Resource.Resource != "pods" {
		return ""
	}
	switch o := a.Object.(type) {
	case *corev1.Binding:
		if a.Subresource == "binding" && o.Target.Kind == "Node" {
			return o.Target.Name
		}
	case *corev1.Pod:
		if a.Subresource == "" {
			return o.Spec.NodeName
		}
	}
	return ""
}
