package admission

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
	ndf "k8s.io/component-helpers/nodedeclaredfeatures"
)

// nodeFeatures keeps a change of a bound pod from its node, if the node has not declared the features that the change
// needs (node.status.declaredFeatures): an older kubelet would not understand it.
func nodeFeatures(objects Objects) Plugin {
	release := version.MajorMinor(1, 36)
	return Plugin{Operations: []Operation{Update}, Validate: func(ctx context.Context, a *Attributes) error {
		pod, ok := a.Object.(*corev1.Pod)
		if !ok || a.Subresource != "" && a.Subresource != "resize" {
			return nil
		}
		old := a.Old.(*corev1.Pod)
		if !changesOnNode(pod, old) {
			return nil
		}
		needed, err := ndf.DefaultFramework.InferForPodUpdate(podInfo(old), podInfo(pod), release)
		if err != nil {
			return a.forbid("failed to infer pod capability requirements: %w", err)
		}
		if needed.IsEmpty() {
			return nil
		}
		node, err := a.nodeOf(ctx, objects, pod)
		if err != nil {
			return err
		}
		match, err := ndf.DefaultFramework.MatchNode(needed, node)
		switch {
		case err != nil:
			return a.forbid("failed to match pod requirements against node %q: %w", node.Name, err)
		case !match.IsMatch:
			return a.forbid("pod update requires features %s which are not available on node %q", strings.Join(match.UnsatisfiedRequirements, ", "), node.Name)
		}
		return nil
	}}
}

func podInfo(p *corev1.Pod) *ndf.PodInfo { return &ndf.PodInfo{Spec: &p.Spec, Status: &p.Status} }
