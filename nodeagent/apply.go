package nodeagent

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// apply carries a plan out. It returns when what has to wait may be tried again.
func (a *Agent) apply(ctx context.Context, w *work, s *situation, steps actions) (next time.Time, err error) {
	for _, x := range steps.stop {
		w.revive[x.run.id] = true
		a.stop(w, s.pod, x)
	}
	if steps.end {
		return time.Time{}, a.end(ctx, w, s)
	}
	if steps.reset {
		if done, err := a.reset(ctx, w, s); err != nil || !done {
			return time.Time{}, err
		}
		return a.Clock.Now(), nil
	}
	if err := a.applyResize(ctx, w, s); err != nil {
		return time.Time{}, err
	}
	for name, h := range steps.hold {
		next = sooner(next, h.until)
		a.holdContainer(w, s.pod, name, h)
	}
	if steps.sandbox {
		if wait := a.mount(ctx, w, s.pod); !wait.IsZero() {
			return sooner(next, wait), nil
		}
		if err := a.runSandbox(ctx, w, s); err != nil {
			return next, err
		}
		// What the runtime says of it: containers may want to know its address.
		if s.seen, err = a.observe(ctx, w, s.pod); err != nil {
			return next, err
		}
		steps = plan(s)
		for _, h := range steps.hold {
			next = sooner(next, h.until)
		}
	}
	for _, x := range steps.start {
		next = sooner(next, a.start(ctx, w, s, x))
	}
	return next, nil
}

// holdContainer says that a container has to wait.
func (a *Agent) holdContainer(w *work, pod *corev1.Pod, name string, h holding) {
	t := trouble{reason: "CrashLoopBackOff", until: h.until,
		message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", h.delay, name, podLabel(pod))}
	if w.trouble[name] != t {
		a.containerEvent(pod, name, corev1.EventTypeWarning, "BackOff", "Back-off restarting failed container %s in pod %s", name, podLabel(pod))
	}
	w.trouble[name] = t
}

func (a *Agent) runSandbox(ctx context.Context, w *work, s *situation) error {
	attempt := uint32(0)
	if s.seen.sandbox != nil {
		attempt = s.seen.sandbox.attempt + 1
		a.podEvent(s.pod, corev1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
	}
	a.imageSecrets(ctx, s.pod)
	id, err := a.Runtime.RunPodSandbox(ctx, sandboxConfig(s.pod, attempt), s.handler())
	if err != nil {
		a.podEvent(s.pod, corev1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: %v", err)
		return err
	}
	w.sandbox = id
	return nil
}

// handler is the runtime's own default: classes of runtimes come with real ones.
func (s *situation) handler() string { return "" }

// start pulls a container's image, creates and starts it. It returns when to try again what could not be done now.
func (a *Agent) start(ctx context.Context, w *work, s *situation, x starting) time.Time {
	c := x.container
	if t, ok := w.trouble[c.Name]; ok && t.until.After(s.now) && t.reason != "CrashLoopBackOff" {
		w.trouble[c.Name] = a.putOff(s.pod, c, t)
		return t.until
	}
	image, problem := a.ensureImage(ctx, w, s.pod, c)
	if problem == nil {
		problem = a.startContainer(ctx, w, s, x, image)
	}
	if problem == nil {
		delete(w.trouble, c.Name)
		return time.Time{}
	}
	if ctx.Err() != nil {
		return time.Time{}
	}
	w.trouble[c.Name] = *problem
	if problem.reason == "ErrImagePull" {
		return a.Clock.Now().Add(time.Second) // to say that the next try is put off
	}
	return problem.until
}

// retryAfter is how long a container that could not be created or started waits at most.
const retryAfter = 10 * time.Second

func (a *Agent) startContainer(ctx context.Context, w *work, s *situation, x starting, image string) *trouble {
	c := x.container
	fail := func(reason string, err error) *trouble {
		a.containerEvent(s.pod, c.Name, corev1.EventTypeWarning, "Failed", "Error: %v", err)
		wait := min(max(2*w.trouble[c.Name].wait, firstMountDelay), retryAfter)
		return &trouble{reason: reason, message: err.Error(), until: a.Clock.Now().Add(wait), wait: wait}
	}
	config := containerConfig(s.pod, c, x.attempt, image)
	if err := a.furnish(ctx, s.pod, c, s.seen.sandbox.ips, config); err != nil {
		return fail("CreateContainerConfigError", err)
	}
	if r := s.seen.latest(c.Name); r != nil && r.state == runExited {
		w.backoffs[c.Name] = w.backoffs[c.Name].next(r.finished, a.Clock.Now())
	}
	a.forget(ctx, w, s, c.Name)
	id, err := a.Runtime.CreateContainer(ctx, w.sandbox, config, sandboxConfig(s.pod, s.seen.sandbox.attempt))
	if err != nil {
		return fail("CreateContainerError", err)
	}
	a.containerEvent(s.pod, c.Name, corev1.EventTypeNormal, "Created", "Container created")
	if err := a.Runtime.StartContainer(ctx, id); err != nil {
		return fail("RunContainerError", err)
	}
	a.containerEvent(s.pod, c.Name, corev1.EventTypeNormal, "Started", "Container started")
	return a.postStart(ctx, s.pod, c, id, s.graceOf(c, ""))
}

// forget removes the runs of a container but the newest, which the status tells of as the last one.
func (a *Agent) forget(ctx context.Context, w *work, s *situation, name string) {
	runs := s.seen.runs[name]
	for i, r := range runs {
		if i == 0 || r.state == runRunning {
			continue
		}
		if r.recalled {
			w.recalled = slices.DeleteFunc(w.recalled, func(x run) bool { return x.name == r.name && x.attempt == r.attempt })
			continue
		}
		if err := a.Runtime.RemoveContainer(ctx, r.id); err == nil {
			delete(w.health, r.id)
			delete(w.stopping, r.id)
			delete(w.revive, r.id)
		}
	}
}

// stop asks a container to end. That takes as long as its grace, so nobody waits: the runtime tells when it has.
func (a *Agent) stop(w *work, pod *corev1.Pod, x stopping) {
	if w.stopping[x.run.id] {
		return
	}
	w.stopping[x.run.id] = true
	a.containerEvent(pod, x.run.name, corev1.EventTypeNormal, "Killing", "%s", x.message)
	c := containerNamed(pod, x.run.name)
	a.aside(pod, x.run.id, func() error { return a.kill(a.life, pod, c, x.run.id, x.grace) })
}

// aside has a container stopped beside the work on its pod.
func (a *Agent) aside(pod *corev1.Pod, id string, stop func() error) {
	a.desk.busy.Go(func() {
		if err := stop(); err != nil && a.life.Err() == nil {
			a.Log.Warn("stop a container", "pod", podLabel(pod), "id", id, "err", err)
		}
	})
}

// end stops what runs: regular and plain init containers at once, then sidecars, last one first, then the sandbox.
// A pod that is told to end faster than before is asked again.
func (a *Agent) end(ctx context.Context, w *work, s *situation) error {
	var first, sidecars []run
	for role, c := range containers(s.pod) {
		r := s.seen.latest(c.Name)
		switch {
		case r == nil || r.state != runRunning:
		case role == sidecarRole:
			sidecars = append(sidecars, *r)
		default:
			first = append(first, *r)
		}
	}
	if len(first) == 0 && len(sidecars) > 0 {
		first = sidecars[len(sidecars)-1:]
	}
	if w.ends.IsZero() {
		w.ends = s.now
	}
	for _, r := range first {
		grace := s.graceOf(containerNamed(s.pod, r.name), "")
		key := fmt.Sprint(r.id, " in ", grace)
		// A sidecar has waited for others out of the same grace.
		left := max(grace-int64(s.now.Sub(w.ends)/time.Second), min(grace, leastGrace))
		if w.stopping[r.id] && !w.stopping[key] { // its hook has been run, or is
			a.aside(s.pod, r.id, func() error { return a.Runtime.StopContainer(a.life, r.id, max(left, leastGrace)) })
		}
		w.stopping[key] = true
		a.stop(w, s.pod, stopping{r, left, "Stopping container " + r.name})
	}
	if len(first) > 0 || s.seen.sandbox == nil || !s.seen.sandbox.ready {
		return nil
	}
	return a.Runtime.StopPodSandbox(ctx, s.seen.sandbox.id)
}

// remove takes what is left of a pod from the runtime.
func (a *Agent) remove(ctx context.Context, w *work) error {
	if w.sandbox == "" {
		return nil
	}
	return a.Runtime.RemovePodSandbox(ctx, w.sandbox)
}

// adopt finds the sandboxes that the runtime has from before this agent was started.
func (a *Agent) adopt(ctx context.Context) (map[string]string, error) {
	found, err := a.Runtime.ListPodSandbox(ctx, &cri.PodSandboxFilter{})
	if err != nil {
		return nil, err
	}
	newest := map[string]*cri.PodSandbox{}
	for _, s := range found {
		if old := newest[s.Metadata.Uid]; old == nil || old.Metadata.Attempt < s.Metadata.Attempt {
			newest[s.Metadata.Uid] = s
		}
	}
	ids := map[string]string{}
	for uid, s := range newest {
		ids[uid] = s.Id
	}
	return ids, nil
}
