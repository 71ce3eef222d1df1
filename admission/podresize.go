package admission

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/resource"
)

// Causes by which clients tell why a pod could not be resized.
const (
	causeNodeCapacity metav1.CauseType = "NodeCapacity"
	causePlatform     metav1.CauseType = "UnsupportedPlatform"
)

// podResize lets a running pod become only as big as its node could ever carry, and only where nodes can resize pods.
func podResize(objects Objects) Plugin {
	return Plugin{Operations: []Operation{Update}, Validate: func(ctx context.Context, a *Attributes) error {
		pod, ok := a.Object.(*corev1.Pod)
		if !ok || a.Subresource != "resize" || !changesOnNode(pod, a.Old.(*corev1.Pod)) {
			return nil
		}
		node, err := a.nodeOf(ctx, objects, pod)
		if err != nil {
			return err
		}
		if os, known := node.Labels[corev1.LabelOSStable]; known && os != "linux" {
			return a.forbidCause(causePlatform, "pod resize is only supported on linux nodes, node %q is %q", node.Name, os)
		}
		if lacking := beyondNode(pod, node); len(lacking) > 0 {
			return a.forbidCause(causeNodeCapacity, "node didn't have enough allocatable resources: %s", strings.Join(lacking, "; "))
		}
		return nil
	}}
}

// changesOnNode reports that a pod which is bound to a node gets another specification, which shows in its generation.
func changesOnNode(pod, old *corev1.Pod) bool {
	return pod.Spec.NodeName != "" && pod.Generation != old.Generation
}

// nodeOf is the node that the pod is bound to. Where there is none, what needs to know it is refused.
func (a *Attributes) nodeOf(ctx context.Context, objects Objects, pod *corev1.Pod) (*corev1.Node, error) {
	found, err := objects.Get(ctx, "", "nodes", "", pod.Spec.NodeName)
	switch {
	case apierrors.IsNotFound(err):
		return nil, a.forbid("node %q not found", pod.Spec.NodeName)
	case err != nil:
		return nil, a.forbid("failed to get node %q: %w", pod.Spec.NodeName, err)
	}
	return found.(*corev1.Node), nil
}

// forbidCause refuses a write with a reason, and a cause for programs.
func (a *Attributes) forbidCause(cause metav1.CauseType, format string, args ...any) error {
	err := a.forbid(format, args...).(*apierrors.StatusError)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: cause})
	return err
}

// beyondNode is what the pod asks for more of than its node can allot to all pods together.
func beyondNode(pod *corev1.Pod, node *corev1.Node) []string {
	asked := resource.PodRequests(pod, resource.PodResourcesOptions{})
	var lacking []string
	if cpu, have := asked[corev1.ResourceCPU], node.Status.Allocatable.Cpu(); cpu.Cmp(*have) > 0 {
		lacking = append(lacking, fmt.Sprintf("cpu, requested: %d, allocatable: %d", cpu.MilliValue(), have.MilliValue()))
	}
	if memory, have := asked[corev1.ResourceMemory], node.Status.Allocatable.Memory(); memory.Cmp(*have) > 0 {
		lacking = append(lacking, fmt.Sprintf("memory, requested: %d, allocatable: %d", memory.Value(), have.Value()))
	}
	return lacking
}
