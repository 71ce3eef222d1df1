package nodeagent

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/knarr-dev/knarr/nodeagent/shell"
)

// HookKind is when a lifecycle hook is run.
type HookKind int

// The kinds: right after a container was started, and before it is asked to end.
const (
	PostStart HookKind = iota
	PreStop
)

// Hooks runs lifecycle hooks that ask something of a container: a program in it, or its network.
type Hooks interface {
	// Hook returns what a program wrote, and why the hook failed.
	Hook(ctx context.Context, pod *corev1.Pod, container, id string, kind HookKind, h *corev1.LifecycleHandler) (output string, err error)
}

// leastGrace is how many seconds a container always has to end before it is killed.
const leastGrace = 2

// hook runs a hook, and returns why it failed, as people are told who may see the pod.
func (a *Agent) hook(ctx context.Context, pod *corev1.Pod, c *corev1.Container, id string, kind HookKind, h *corev1.LifecycleHandler) error {
	if h.Sleep != nil {
		if err := shell.Pass(ctx, a.Clock, time.Duration(h.Sleep.Seconds)*time.Second); err != nil {
			return fmt.Errorf("Sleep lifecycle hook (%d) for Container %q in Pod %q failed - error: container terminated before sleep hook finished", h.Sleep.Seconds, c.Name, podLabel(pod))
		}
		return nil
	}
	output, err := a.Hooks.Hook(ctx, pod, c.Name, id, kind, h)
	switch {
	case err == nil:
		return nil
	case h.Exec != nil:
		return fmt.Errorf("Exec lifecycle hook (%v) for Container %q in Pod %q failed - error: %w, message: %q", h.Exec.Command, c.Name, podLabel(pod), err, output)
	case h.HTTPGet != nil:
		return fmt.Errorf("HTTP lifecycle hook (%s) for Container %q in Pod %q failed - error: %w", h.HTTPGet.Path, c.Name, podLabel(pod), err)
	}
	return err
}

// postStart runs a container's hook after it was started. A container whose hook fails is stopped.
func (a *Agent) postStart(ctx context.Context, pod *corev1.Pod, c *corev1.Container, id string, grace int64) *trouble {
	if c.Lifecycle == nil || c.Lifecycle.PostStart == nil {
		return nil
	}
	err := a.hook(ctx, pod, c, id, PostStart, c.Lifecycle.PostStart)
	if err == nil || ctx.Err() != nil {
		return nil
	}
	a.containerEvent(pod, c.Name, corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
	a.containerEvent(pod, c.Name, corev1.EventTypeNormal, "Killing", "FailedPostStartHook")
	if err := a.kill(ctx, pod, c, id, grace); err != nil && ctx.Err() == nil {
		a.Log.Warn("stop a container", "pod", podLabel(pod), "id", id, "err", err)
	}
	return &trouble{reason: "PostStartHookError", message: err.Error()}
}

// kill has a container ended: after its hook, for which it has as long as for its end, it is asked to, and has what is left.
func (a *Agent) kill(ctx context.Context, pod *corev1.Pod, c *corev1.Container, id string, grace int64) error {
	if c != nil && c.Lifecycle != nil && c.Lifecycle.PreStop != nil && grace > 0 {
		grace -= a.preStop(ctx, pod, c, id, grace)
	}
	return a.Runtime.StopContainer(ctx, id, max(grace, leastGrace))
}

// preStop runs a container's hook before its end, and returns how many seconds that took. Whether it succeeds does not matter.
func (a *Agent) preStop(ctx context.Context, pod *corev1.Pod, c *corev1.Container, id string, grace int64) (seconds int64) {
	limited, stop := context.WithCancel(ctx)
	defer stop()
	defer a.Clock.AfterFunc(time.Duration(grace)*time.Second, stop).Stop()
	begun := a.Clock.Now()
	if err := a.hook(limited, pod, c, id, PreStop, c.Lifecycle.PreStop); err != nil && limited.Err() == nil {
		a.containerEvent(pod, c.Name, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
	}
	return int64(a.Clock.Since(begun) / time.Second)
}
