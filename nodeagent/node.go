package nodeagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// register makes the nodes known, or brings what is known of them up to date.
func (a *Agent) register(ctx context.Context, runtimeVersion string) error {
	errs := make([]error, len(a.Nodes))
	var all sync.WaitGroup
	for i, name := range a.Nodes {
		if !a.say(ctx) {
			break
		}
		all.Go(func() {
			defer a.said()
			errs[i] = a.registerNode(ctx, a.node(name, runtimeVersion))
		})
	}
	all.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}

func (a *Agent) registerNode(ctx context.Context, want *corev1.Node) error {
	nodes := a.Client.CoreV1().Nodes()
	recorder := a.recorders[want.Name]
	ref := &corev1.ObjectReference{Kind: "Node", Name: want.Name, UID: types.UID(want.Name)}
	recorder.Event(ref, corev1.EventTypeNormal, "Starting", "Starting kubelet.")
	made, err := nodes.Create(ctx, want, metav1.CreateOptions{})
	if err == nil {
		recorder.Eventf(ref, corev1.EventTypeNormal, "NodeReady", "Node %s status is now: %s", made.Name, "NodeReady")
		return nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("register node %s: %w", want.Name, err)
	}
	known, err := nodes.Get(ctx, want.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if labelled := known.DeepCopy(); overlay(&labelled.Labels, want.Labels) || overlay(&labelled.Annotations, want.Annotations) {
		if known, err = nodes.Update(ctx, labelled, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	return a.patchNode(ctx, known, want.Status)
}

// overlay adds to a map what is missing or different, and reports whether anything was.
func overlay(m *map[string]string, with map[string]string) (changed bool) {
	if *m == nil {
		*m = map[string]string{}
	}
	before := maps.Clone(*m)
	maps.Copy(*m, with)
	return !maps.Equal(before, *m)
}

// patchNode changes what a node's status says. Conditions that others keep stay; the time of a transition is that at which
// the condition became what it is.
func (a *Agent) patchNode(ctx context.Context, known *corev1.Node, status corev1.NodeStatus) error {
	changed := known.DeepCopy()
	status.Conditions = slices.Clone(status.Conditions)
	for _, c := range known.Status.Conditions {
		i := slices.IndexFunc(status.Conditions, func(x corev1.NodeCondition) bool { return x.Type == c.Type })
		switch {
		case i < 0:
			status.Conditions = append(status.Conditions, c)
		case status.Conditions[i].Status == c.Status:
			status.Conditions[i].LastTransitionTime = c.LastTransitionTime
		case c.Type == corev1.NodeReady:
			a.recorders[known.Name].Eventf(&corev1.ObjectReference{Kind: "Node", Name: known.Name, UID: types.UID(known.Name)},
				corev1.EventTypeNormal, "NodeReady", "Node %s status is now: %s", known.Name, "NodeReady")
		}
	}
	status.VolumesAttached, status.VolumesInUse, status.Images = known.Status.VolumesAttached, known.Status.VolumesInUse, known.Status.Images
	changed.Status = status
	if equality.Semantic.DeepEqual(known.Status, status) {
		return nil
	}
	before, err := json.Marshal(known)
	if err != nil {
		return err
	}
	after, err := json.Marshal(changed)
	if err != nil {
		return err
	}
	body, err := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Node{})
	if err != nil {
		return err
	}
	_, err = a.Client.CoreV1().Nodes().Patch(ctx, known.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{}, "status")
	return err
}

// node is a node as it is registered: pure but for the time.
func (a *Agent) node(name, runtimeVersion string) *corev1.Node {
	now := metav1.NewTime(a.Clock.Now().Truncate(1e9))
	condition := func(of corev1.NodeConditionType, status corev1.ConditionStatus, reason, message string) corev1.NodeCondition {
		return corev1.NodeCondition{Type: of, Status: status, Reason: reason, Message: message, LastHeartbeatTime: now, LastTransitionTime: now}
	}
	addresses := []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}}
	for _, ip := range a.addresses {
		addresses = append([]corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}}, addresses...)
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: runtime.GOARCH,
			"beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": runtime.GOARCH,
		}, Annotations: map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true"}},
		Status: corev1.NodeStatus{
			Capacity: a.Capacity, Allocatable: a.Capacity, Addresses: addresses,
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(a.Port)}},
			NodeInfo: corev1.NodeSystemInfo{MachineID: name, SystemUUID: name, BootID: name, OperatingSystem: "linux", Architecture: runtime.GOARCH,
				OSImage: "knarr", KernelVersion: "simulated", ContainerRuntimeVersion: runtimeVersion, KubeletVersion: a.Version},
			Conditions: []corev1.NodeCondition{
				condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
				condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
				condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
				condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"),
			},
		},
	}
}
