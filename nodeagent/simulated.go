package nodeagent

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/clock"

	"github.com/knarr-dev/knarr/nodeagent/shell"
)

// Simulated is a runtime without containers: its pods run, become ready, exit, fail and take their time as their
// annotations and commands say (see script). It forgets everything when the process ends, as a node that is rebooted.
type Simulated struct {
	clock clock.WithDelayedExecution
	pods  netip.Prefix // addresses of pods

	mu         sync.Mutex // guards the fields below
	count      uint64
	address    uint64
	sandboxes  map[string]*simulatedPod
	containers map[string]*simulatedContainer
	images     map[string]map[string]bool // by node
	taken      map[netip.Addr]bool
	files      map[string]*shell.Files // of nodes, as far as pods have mounted them
	listeners  map[chan *cri.ContainerEventResponse]context.Context
	rules      *Simulation // nil: none
	past       uint64      // nanoseconds of CPU that pods have used which are gone
}

type simulatedPod struct {
	id         string
	config     *cri.PodSandboxConfig
	created    time.Time
	stopped    bool
	ip         netip.Addr
	containers []*simulatedContainer
	past       uint64       // nanoseconds of CPU that containers have used which are gone
	volumes    *shell.Files // nil as long as nobody needs them
}

type simulatedContainer struct {
	pod     *simulatedPod
	config  *cri.ContainerConfig
	status  *cri.ContainerStatus
	manners manners
	script  script
	timer   clock.Timer // until it exits by itself
	ended   chan struct{}
	started time.Time
	spent   spent
	process *process // nil if no program runs
	// messagePath is the file for its termination message; if logMessage is set, the end of the log stands in for it.
	messagePath string
	logMessage  bool
}

// NewSimulated makes a simulated runtime whose pods have addresses of a range.
func NewSimulated(c clock.WithDelayedExecution, pods netip.Prefix) *Simulated {
	return &Simulated{clock: c, pods: pods, sandboxes: map[string]*simulatedPod{}, containers: map[string]*simulatedContainer{},
		images: map[string]map[string]bool{}, taken: map[netip.Addr]bool{}, files: map[string]*shell.Files{}, listeners: map[chan *cri.ContainerEventResponse]context.Context{}}
}

// Version names the runtime.
func (s *Simulated) Version(context.Context, string) (*cri.VersionResponse, error) {
	return &cri.VersionResponse{Version: "0.1.0", RuntimeName: "simulated", RuntimeVersion: "1", RuntimeApiVersion: "v1"}, nil
}

// Status says what the runtime can do: where there are no programs, any group of theirs is as good as another.
func (s *Simulated) Status(context.Context, bool) (*cri.StatusResponse, error) {
	return &cri.StatusResponse{RuntimeHandlers: []*cri.RuntimeHandler{{Features: &cri.RuntimeHandlerFeatures{}}},
		Features: &cri.RuntimeFeatures{SupplementalGroupsPolicy: true}}, nil
}

// newID makes an ID as runtimes do. The runtime is locked.
func (s *Simulated) newID(of string) string {
	s.count++
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(of), s.count))
	return hex.EncodeToString(sum[:])
}

// newAddress takes the next free address: one that was given back is not used again at once.
func (s *Simulated) newAddress() (netip.Addr, error) {
	size := uint64(1) << (s.pods.Addr().BitLen() - s.pods.Bits())
	first := s.pods.Masked().Addr().As4()
	for range size {
		s.address = s.address%(size-2) + 1 // neither the network's own nor the last
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(first[:])+uint32(s.address))
		if ip := netip.AddrFrom4(b); !s.taken[ip] {
			s.taken[ip] = true
			return ip, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no address of %s is left", s.pods)
}

// kept is what has to be known of a pod.
func kept(c *cri.PodSandboxConfig) *cri.PodSandboxConfig {
	return &cri.PodSandboxConfig{Metadata: c.Metadata, Hostname: c.Hostname, Labels: c.Labels, Annotations: c.Annotations}
}

// RunPodSandbox gives a pod an address.
func (s *Simulated) RunPodSandbox(_ context.Context, config *cri.PodSandboxConfig, _ string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &simulatedPod{id: s.newID(config.Metadata.Uid), config: kept(config), created: s.clock.Now()}
	if config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork() != cri.NamespaceMode_NODE {
		ip, err := s.newAddress()
		if err != nil {
			return "", err
		}
		p.ip = ip
	}
	s.sandboxes[p.id] = p
	return p.id, nil
}

// StopPodSandbox ends what runs, and gives the address back.
func (s *Simulated) StopPodSandbox(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.sandboxes[id]
	if p == nil || p.stopped {
		return nil
	}
	p.stopped = true
	delete(s.taken, p.ip)
	for _, c := range p.containers {
		s.exit(c, 137, "Error", "")
		s.past += c.spent.nanoseconds
	}
	s.past += p.past
	return nil
}

// RemovePodSandbox forgets a pod.
func (s *Simulated) RemovePodSandbox(ctx context.Context, id string) error {
	if err := s.StopPodSandbox(ctx, id); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.sandboxes[id]; p != nil {
		for _, c := range p.containers {
			delete(s.containers, c.status.Id)
		}
	}
	delete(s.sandboxes, id)
	return nil
}

// PodSandboxStatus is a pod with its containers.
func (s *Simulated) PodSandboxStatus(_ context.Context, id string, _ bool) (*cri.PodSandboxStatusResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.sandboxes[id]
	if p == nil {
		return nil, fmt.Errorf("sandbox %s is unknown", id)
	}
	answer := &cri.PodSandboxStatusResponse{Status: p.status(), Timestamp: s.clock.Now().UnixNano()}
	for _, c := range p.containers {
		answer.ContainersStatuses = append(answer.ContainersStatuses, c.report())
	}
	return answer, nil
}

func (p *simulatedPod) status() *cri.PodSandboxStatus {
	status := &cri.PodSandboxStatus{Id: p.id, Metadata: p.config.Metadata, CreatedAt: p.created.UnixNano(), Labels: p.config.Labels,
		Annotations: p.config.Annotations, Network: &cri.PodSandboxNetworkStatus{}}
	if p.ip.IsValid() {
		status.Network.Ip = p.ip.String()
	}
	if p.stopped {
		status.State = cri.PodSandboxState_SANDBOX_NOTREADY
	}
	return status
}

// ListPodSandbox is all pods.
func (s *Simulated) ListPodSandbox(_ context.Context, f *cri.PodSandboxFilter) ([]*cri.PodSandbox, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*cri.PodSandbox
	for _, id := range slices.Sorted(maps.Keys(s.sandboxes)) {
		status := s.sandboxes[id].status()
		list = append(list, &cri.PodSandbox{Id: id, Metadata: status.Metadata, State: status.State, CreatedAt: status.CreatedAt, Labels: status.Labels})
	}
	return list, nil
}

// ImageStatus has an image after it was pulled.
func (s *Simulated) ImageStatus(_ context.Context, image *cri.ImageSpec, _ bool) (*cri.ImageStatusResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.images[image.Annotations[nodeNameLabel]][image.Image] {
		return &cri.ImageStatusResponse{}, nil
	}
	return &cri.ImageStatusResponse{Image: simulatedImage(image.Image)}, nil
}

// ListImages are those of a node that were pulled.
func (s *Simulated) ListImages(_ context.Context, f *cri.ImageFilter) ([]*cri.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*cri.Image
	for _, image := range slices.Sorted(maps.Keys(s.images[f.GetImage().GetAnnotations()[nodeNameLabel]])) {
		list = append(list, simulatedImage(image))
	}
	return list, nil
}

func simulatedImage(name string) *cri.Image {
	return &cri.Image{Id: imageID(name), RepoTags: []string{name}, Size: simulatedImageSize}
}

// simulatedImageSize is that of every image, in bytes.
const simulatedImageSize = 1 << 20

func imageID(image string) string {
	sum := sha256.Sum256([]byte(image))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// PullImage has every image, save for pods that say that it has none.
func (s *Simulated) PullImage(_ context.Context, image *cri.ImageSpec, _ *cri.AuthConfig, pod *cri.PodSandboxConfig) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value, by := s.rules.about(subject{pod: pod, image: image.UserSpecifiedImage})("fail"); value == "image" {
		return "", fmt.Errorf("%s: there is no such image, says %s", image.Image, by)
	}
	node := image.Annotations[nodeNameLabel]
	if s.images[node] == nil {
		s.images[node] = map[string]bool{}
	}
	s.images[node][image.Image] = true
	return imageID(image.Image), nil
}

// GetContainerEvents tells of containers that start and end.
func (s *Simulated) GetContainerEvents(ctx context.Context, to chan *cri.ContainerEventResponse, _ func(cri.RuntimeService_GetContainerEventsClient)) error {
	s.mu.Lock()
	s.listeners[to] = ctx
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, to)
	return nil
}

// tell sends an event to those who listen. The runtime is locked, so it does not wait: the sending does.
func (s *Simulated) tell(c *simulatedContainer, kind cri.ContainerEventType) {
	e := &cri.ContainerEventResponse{ContainerId: c.status.Id, ContainerEventType: kind, CreatedAt: s.clock.Now().UnixNano(), PodSandboxStatus: c.pod.status()}
	for to, ctx := range s.listeners {
		select {
		case to <- e:
		default:
			go func() {
				select {
				case to <- e:
				case <-ctx.Done():
				}
			}()
		}
	}
}
