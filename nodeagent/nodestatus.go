package nodeagent

import (
	"cmp"
	"context"
	"crypto/sha256"
	"runtime"
	"slices"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/ptr"
)

// machine is what the agent asks of its runtime once, at its start, to tell it of its nodes.
type machine struct {
	runtimeVersion string // name://version
	boot           string // another one at each start of a runtime that forgets
	handlers       []corev1.NodeRuntimeHandler
	features       *corev1.NodeFeatures
}

func machineOf(version *cri.VersionResponse, status *cri.StatusResponse) machine {
	m := machine{runtimeVersion: version.RuntimeName + "://" + version.RuntimeVersion, boot: uuid.NewString()}
	for _, h := range status.GetRuntimeHandlers() {
		f := h.GetFeatures()
		m.handlers = append(m.handlers, corev1.NodeRuntimeHandler{Name: h.Name, Features: &corev1.NodeRuntimeHandlerFeatures{
			RecursiveReadOnlyMounts: ptr.To(f.GetRecursiveReadOnlyMounts()), UserNamespaces: ptr.To(f.GetUserNamespaces())}})
	}
	if f := status.GetFeatures(); f != nil {
		m.features = &corev1.NodeFeatures{SupplementalGroupsPolicy: ptr.To(f.SupplementalGroupsPolicy)}
	}
	return m
}

// declaredFeatures are those of 1.36 that the scheduler and admission ask a node for before a pod may need them.
func declaredFeatures() []string {
	return []string{"ExtendWebSocketsToKubelet", "InPlacePodLevelResourcesVerticalScaling", "InPlacePodVerticalScalingInitContainers", "RestartAllContainersOnContainerExits"}
}

// imagesTold is how many images a node's status names at most.
const imagesTold = 50

// node is a node as it is registered.
func (a *Agent) node(ctx context.Context, name string) *corev1.Node {
	now := metav1.NewTime(a.Clock.Now().Truncate(1e9))
	condition := func(of corev1.NodeConditionType, status corev1.ConditionStatus, reason, message string) corev1.NodeCondition {
		return corev1.NodeCondition{Type: of, Status: status, Reason: reason, Message: message, LastHeartbeatTime: now, LastTransitionTime: now}
	}
	id := uuid.NewHash(sha256.New(), uuid.NameSpaceDNS, []byte(name), 5).String()
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: nodeLabels(name), Annotations: map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true"}},
		Status: corev1.NodeStatus{
			Capacity: a.Capacity, Allocatable: a.Capacity, Addresses: a.Addresses(name),
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(a.Port)}},
			NodeInfo: corev1.NodeSystemInfo{MachineID: id, SystemUUID: id, BootID: a.machine.boot, OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH,
				OSImage: "knarr", KernelVersion: "simulated", ContainerRuntimeVersion: a.machine.runtimeVersion, KubeletVersion: a.Version},
			Conditions: []corev1.NodeCondition{
				condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
				condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
				condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
				condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"),
			},
			Images: a.images(ctx, name), RuntimeHandlers: a.machine.handlers, Features: a.machine.features, DeclaredFeatures: declaredFeatures(),
		},
	}
}

// nodeLabels are those with which a node is registered.
func nodeLabels(name string) map[string]string {
	return map[string]string{
		corev1.LabelHostname: name, corev1.LabelOSStable: runtime.GOOS, corev1.LabelArchStable: runtime.GOARCH,
		"beta.kubernetes.io/os": runtime.GOOS, "beta.kubernetes.io/arch": runtime.GOARCH,
	}
}

// images are those of a node, biggest first.
func (a *Agent) images(ctx context.Context, node string) []corev1.ContainerImage {
	list, err := a.Runtime.ListImages(ctx, &cri.ImageFilter{Image: imageOn(node, "", "")})
	if err != nil {
		a.Log.Warn("list images", "node", node, "err", err)
		return nil
	}
	slices.SortStableFunc(list, func(x, y *cri.Image) int { return cmp.Compare(y.Size, x.Size) })
	var told []corev1.ContainerImage
	for _, image := range list[:min(len(list), imagesTold)] {
		names := slices.Concat(image.RepoDigests, image.RepoTags)
		told = append(told, corev1.ContainerImage{Names: names[:min(len(names), 5)], SizeBytes: int64(image.Size)})
	}
	return told
}

// hostIPs are the addresses of a node that its pods are told.
func (a *Agent) hostIPs(node string) (ips []string) {
	for _, address := range a.Addresses(node) {
		if address.Type == corev1.NodeInternalIP {
			ips = append(ips, address.Address)
		}
	}
	return ips
}

// mergeStatus puts what an agent knows in place of what is known. Conditions that others keep stay, and so does what is
// attached; the time of a transition is that at which the condition became what it is.
func mergeStatus(known *corev1.NodeStatus, status corev1.NodeStatus) corev1.NodeStatus {
	status.Conditions = slices.Clone(status.Conditions)
	for _, c := range known.Conditions {
		i := slices.IndexFunc(status.Conditions, func(x corev1.NodeCondition) bool { return x.Type == c.Type })
		switch {
		case i < 0:
			status.Conditions = append(status.Conditions, c)
		case status.Conditions[i].Status == c.Status:
			status.Conditions[i].LastTransitionTime = c.LastTransitionTime
		}
	}
	status.Phase, status.Config = known.Phase, known.Config
	status.VolumesAttached, status.VolumesInUse = known.VolumesAttached, known.VolumesInUse
	return status
}

func becameReady(before, after *corev1.NodeStatus) bool {
	ready := func(s *corev1.NodeStatus) bool {
		return slices.ContainsFunc(s.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
	}
	told := slices.ContainsFunc(before.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady })
	return told && ready(after) && !ready(before)
}
