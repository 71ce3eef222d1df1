package nodeagent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/knarr-dev/knarr/nodeagent/shell"
)

// CreateContainer makes a container that does what its script says once it is started.
func (s *Simulated) CreateContainer(_ context.Context, sandbox string, config *cri.ContainerConfig, _ *cri.PodSandboxConfig) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.sandboxes[sandbox]
	if p == nil || p.stopped {
		return "", fmt.Errorf("sandbox %s is not there", sandbox)
	}
	says := s.rules.about(subject{p.config, config.Metadata.Name, config.Image.UserSpecifiedImage})
	manners := mannersOf(p.config, config)
	script, err := readScript(says, config, manners)
	if err != nil {
		return "", err
	}
	if script.fail == "create" {
		return "", refusedBy(says, "container %s cannot be created", config.Metadata.Name)
	}
	// Of the configuration only that is kept which says what the container does: an environment may be big.
	kept := &cri.ContainerConfig{Metadata: config.Metadata, Image: config.Image, Command: config.Command, Args: config.Args}
	c := &simulatedContainer{pod: p, config: kept, manners: manners, script: script, ended: make(chan struct{}), status: &cri.ContainerStatus{
		Id: s.newID(config.Metadata.Name), Metadata: config.Metadata, State: cri.ContainerState_CONTAINER_CREATED, CreatedAt: s.clock.Now().UnixNano(),
		Annotations: map[string]string{definitionAnnotation: config.Annotations[definitionAnnotation]},
		Image:       &cri.ImageSpec{Image: config.Image.Image}, ImageRef: imageID(config.Image.Image)}}
	s.prepare(c, config)
	p.containers = append(p.containers, c)
	s.containers[c.status.Id] = c
	return c.status.Id, nil
}

// StartContainer starts a container, after the time that its script takes for it.
func (s *Simulated) StartContainer(ctx context.Context, id string) error {
	s.mu.Lock()
	c := s.containers[id]
	s.mu.Unlock()
	if c == nil {
		return fmt.Errorf("container %s is unknown", id)
	}
	if c.script.fail == "start" {
		return refusedBy(s.sayings(c), "container %s cannot be started", c.status.Metadata.Name)
	}
	if err := shell.Pass(ctx, s.clock, c.script.startAfter); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	c.started, c.status.StartedAt, c.status.State = now, now.UnixNano(), cri.ContainerState_CONTAINER_RUNNING
	c.spent.until = now
	s.launch(c)
	s.arm(c)
	s.tell(c, cri.ContainerEventType_CONTAINER_STARTED_EVENT)
	return nil
}

// refusedBy is why something fails that fails because somebody said so.
func refusedBy(says saying, format string, args ...any) error {
	_, by := says("fail")
	return fmt.Errorf(format+", says %s", append(args, by)...)
}

// sayings are what is said of a container now.
func (s *Simulated) sayings(c *simulatedContainer) saying {
	return s.rules.about(subject{c.pod.config, c.config.Metadata.Name, c.config.Image.UserSpecifiedImage})
}

// SetRules changes what is said of containers, also of those that run.
func (s *Simulated) SetRules(rules *Simulation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = rules
	for _, c := range s.containers {
		changed, err := readScript(s.sayings(c), c.config, c.manners)
		if err != nil || c.status.State == cri.ContainerState_CONTAINER_EXITED {
			continue
		}
		if c.status.State == cri.ContainerState_CONTAINER_RUNNING {
			s.settle(c)
		}
		c.script = changed
		if c.status.State == cri.ContainerState_CONTAINER_RUNNING {
			s.arm(c)
		}
	}
}

// arm has a running container exit when its script says so. The runtime is locked.
func (s *Simulated) arm(c *simulatedContainer) {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	if c.script.exits {
		left := c.script.exitAfter - s.clock.Since(c.started)
		c.timer = s.clock.AfterFunc(max(left, time.Millisecond), func() { s.exitByItself(c) })
	}
}

func (s *Simulated) exitByItself(c *simulatedContainer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reason := c.script.reason
	if reason == "" {
		reason = reasonOf(c.script.exitCode)
	}
	s.exit(c, c.script.exitCode, reason, c.script.message)
}

func reasonOf(code int32) string {
	if code == 0 {
		return "Completed"
	}
	return "Error"
}

// exit ends a running container. The runtime is locked.
func (s *Simulated) exit(c *simulatedContainer, code int32, reason, message string) {
	if c.status.State != cri.ContainerState_CONTAINER_RUNNING {
		return
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.process != nil {
		c.process.end()
	}
	s.settle(c)
	message = cmp.Or(message, c.lastWords(code))
	c.status.State, c.status.FinishedAt = cri.ContainerState_CONTAINER_EXITED, s.clock.Now().UnixNano()
	c.status.ExitCode, c.status.Reason, c.status.Message = code, reason, message
	close(c.ended)
	s.tell(c, cri.ContainerEventType_CONTAINER_STOPPED_EVENT)
}

// StopContainer asks a container to end, and kills it when it has not after timeout seconds.
func (s *Simulated) StopContainer(ctx context.Context, id string, timeout int64) error {
	s.mu.Lock()
	c := s.containers[id]
	s.mu.Unlock()
	if c == nil {
		return nil
	}
	grace, code := time.Duration(timeout)*time.Second, c.script.stopCode
	wait := c.script.stopAfter
	if wait > grace {
		wait, code = grace, 137
	}
	over := make(chan struct{})
	if wait > 0 {
		timer := s.clock.AfterFunc(wait, func() { close(over) })
		defer timer.Stop()
	} else {
		close(over)
	}
	select {
	case <-over:
	case <-c.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exit(c, code, reasonOf(code), "")
	return nil
}

// RemoveContainer forgets a container that does not run.
func (s *Simulated) RemoveContainer(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.containers[id]
	if c == nil {
		return nil
	}
	s.exit(c, 137, "Error", "")
	delete(s.containers, id)
	c.pod.past += c.spent.nanoseconds
	c.pod.containers = slices.DeleteFunc(c.pod.containers, func(x *simulatedContainer) bool { return x == c })
	return nil
}

// Hook takes as long as the container's script says, and fails if it says so.
func (s *Simulated) Hook(ctx context.Context, _ *corev1.Pod, container, id string, kind HookKind, _ *corev1.LifecycleHandler) (string, error) {
	s.mu.Lock()
	c := s.containers[id]
	s.mu.Unlock()
	if c == nil {
		return "", fmt.Errorf("container %s is unknown", id)
	}
	after, fails := c.script.postStartAfter, "post-start"
	if kind == PreStop {
		after, fails = c.script.preStopAfter, "pre-stop"
	}
	if err := shell.Pass(ctx, s.clock, after); err != nil {
		return "", err
	}
	if c.script.fail == fails {
		return "", refusedBy(s.sayings(c), "the hook of container %s fails", container)
	}
	return "", nil
}

// UpdateContainerResources changes nothing: a container uses what is said of it, whatever its limits are.
func (s *Simulated) UpdateContainerResources(context.Context, string, *cri.ContainerResources) error {
	return nil
}

// report is the container's status, to keep.
func (c *simulatedContainer) report() *cri.ContainerStatus {
	s := c.status
	return &cri.ContainerStatus{Id: s.Id, Metadata: s.Metadata, State: s.State, CreatedAt: s.CreatedAt, StartedAt: s.StartedAt, FinishedAt: s.FinishedAt,
		ExitCode: s.ExitCode, Image: s.Image, ImageRef: s.ImageRef, Reason: s.Reason, Message: s.Message, Annotations: s.Annotations}
}

// Probe answers for a container: by the command of the probe, if that can be run, and else as its script says.
func (s *Simulated) Probe(ctx context.Context, _ *corev1.Pod, container, id string, kind ProbeKind, probe *corev1.Probe) (bool, string, error) {
	s.mu.Lock()
	c := s.containers[id]
	if c == nil || c.status.State != cri.ContainerState_CONTAINER_RUNNING {
		s.mu.Unlock()
		return false, "container is not running", nil
	}
	if probe.Exec != nil {
		s.mu.Unlock() // a command may take its time
		if code, output, known := c.try(ctx, probe.Exec.Command); known {
			return code == 0, output, nil
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	age := s.clock.Since(c.started)
	switch {
	case kind != Liveness && age < c.script.readyAfter:
		return false, fmt.Sprintf("simulated container %s is ready after %v only", container, c.script.readyAfter), nil
	case kind == Liveness && c.script.unhealthyAfter > 0 && age >= c.script.unhealthyAfter,
		kind == Readiness && c.script.unreadyAfter > 0 && age >= c.script.unreadyAfter:
		return false, fmt.Sprintf("simulated container %s is unwell since %v", container, age.Truncate(time.Second)), nil
	}
	return true, "", nil
}
