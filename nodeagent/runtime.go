package nodeagent

import (
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Runtime is what the agent asks of a container runtime: the part of the Container Runtime Interface that it uses, in
// the shape of k8s.io/cri-api, so that a client of containerd or CRI-O is one.
type Runtime interface {
	Version(ctx context.Context, apiVersion string) (*cri.VersionResponse, error)
	Status(ctx context.Context, verbose bool) (*cri.StatusResponse, error)
	RunPodSandbox(ctx context.Context, config *cri.PodSandboxConfig, handler string) (string, error)
	StopPodSandbox(ctx context.Context, id string) error
	RemovePodSandbox(ctx context.Context, id string) error
	PodSandboxStatus(ctx context.Context, id string, verbose bool) (*cri.PodSandboxStatusResponse, error)
	ListPodSandbox(ctx context.Context, filter *cri.PodSandboxFilter) ([]*cri.PodSandbox, error)
	CreateContainer(ctx context.Context, sandbox string, config *cri.ContainerConfig, of *cri.PodSandboxConfig) (string, error)
	StartContainer(ctx context.Context, id string) error
	// StopContainer returns when the container has ended; after timeout seconds it is killed.
	StopContainer(ctx context.Context, id string, timeout int64) error
	RemoveContainer(ctx context.Context, id string) error
	UpdateContainerResources(ctx context.Context, id string, resources *cri.ContainerResources) error
	ListPodSandboxStats(ctx context.Context, filter *cri.PodSandboxStatsFilter) ([]*cri.PodSandboxStats, error)
	// GetContainerEvents sends what happens to containers until ctx ends.
	GetContainerEvents(ctx context.Context, to chan *cri.ContainerEventResponse, connected func(cri.RuntimeService_GetContainerEventsClient)) error

	ListImages(ctx context.Context, filter *cri.ImageFilter) ([]*cri.Image, error)
	ImageStatus(ctx context.Context, image *cri.ImageSpec, verbose bool) (*cri.ImageStatusResponse, error)
	PullImage(ctx context.Context, image *cri.ImageSpec, auth *cri.AuthConfig, sandbox *cri.PodSandboxConfig) (string, error)
}

// Prober asks a container how it is: by its own network, or by a program that runs in it.
type Prober interface {
	// Probe returns whether the container answered as it should, and what it said if it did not. An error means that
	// nobody knows: the result is thrown away.
	Probe(ctx context.Context, pod *corev1.Pod, container, id string, kind ProbeKind, p *corev1.Probe) (ok bool, output string, err error)
}

// Logs is where a container's output is read; a runtime without it writes files where the agent names them.
type Logs interface {
	// Log returns what a container has written, in its newest run or the one before, and what to wait for if it may write
	// more: a channel that is closed then.
	Log(pod *corev1.Pod, container string, previous bool) (lines []LogLine, more <-chan struct{}, err error)
}

// LogLine is a line of a log, without its end.
type LogLine struct {
	At   time.Time
	Text string
}

// Labels under which the runtime keeps whose a sandbox or a container is, as upstream's.
const (
	podNameLabel       = "io.kubernetes.pod.name"
	podNamespaceLabel  = "io.kubernetes.pod.namespace"
	podUIDLabel        = "io.kubernetes.pod.uid"
	containerNameLabel = "io.kubernetes.container.name"
)

// definitionAnnotation tells what a container was made from (definition), as upstream's.
const definitionAnnotation = "io.kubernetes.container.hash"

// sandboxConfig is a pod as the runtime sees it.
func sandboxConfig(p *corev1.Pod, attempt uint32) *cri.PodSandboxConfig {
	labels := map[string]string{podNameLabel: p.Name, podNamespaceLabel: p.Namespace, podUIDLabel: string(p.UID), nodeNameLabel: p.Spec.NodeName}
	maps.Copy(labels, p.Labels)
	c := &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: p.Name, Namespace: p.Namespace, Uid: string(p.UID), Attempt: attempt},
		Hostname: p.Name, Annotations: p.Annotations,
		Labels: labels,
		Linux:  &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: &cri.NamespaceOption{}}},
	}
	if p.Spec.Hostname != "" {
		c.Hostname = p.Spec.Hostname
	}
	if p.Spec.HostNetwork {
		c.Linux.SecurityContext.NamespaceOptions.Network = cri.NamespaceMode_NODE
	}
	return c
}

// nodeNameLabel tells the sandboxes and images of a runtime apart that serves several nodes.
const nodeNameLabel = "knarr.dev/node"

// imageOn is an image on a node, by its full name and as the pod names it.
func imageOn(node, image, named string) *cri.ImageSpec {
	return &cri.ImageSpec{Image: image, UserSpecifiedImage: named, Annotations: map[string]string{nodeNameLabel: node}}
}

// containerConfig is a container as the runtime sees it.
func containerConfig(p *corev1.Pod, c *corev1.Container, attempt int32, image string) *cri.ContainerConfig {
	config := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: c.Name, Attempt: uint32(attempt)},
		Image:    &cri.ImageSpec{Image: image, UserSpecifiedImage: c.Image},
		Command:  c.Command, Args: c.Args, WorkingDir: c.WorkingDir, Stdin: c.Stdin, Tty: c.TTY,
		Labels: map[string]string{podNameLabel: p.Name, podNamespaceLabel: p.Namespace, podUIDLabel: string(p.UID), containerNameLabel: c.Name},
		Annotations: map[string]string{messagePathAnnotation: c.TerminationMessagePath, messagePolicyAnnotation: string(c.TerminationMessagePolicy),
			definitionAnnotation: definition(c)},
	}
	if slices.ContainsFunc(p.Spec.InitContainers, func(i corev1.Container) bool { return i.Name == c.Name && !isSidecar(&i) }) {
		config.Labels[initLabel] = "true"
	}
	if restartsAfter(p, c, 0) {
		config.Labels[serverLabel] = "true"
	}
	return config
}
