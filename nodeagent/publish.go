package nodeagent

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// publish tells the API what a pod is like, if that has changed, and reports whether the pod is over. It is told at the pod
// itself, or at the mirror of a static one, as long as there is one. When many pods have something to say, each waits for its
// turn, and says then how it is by then: what came and went meanwhile is not told.
func (a *Agent) publish(ctx context.Context, w *work, pod, at *corev1.Pod, seen *observed, ending, end bool) (over bool, err error) {
	status, over := a.standing(w, pod, seen, ending, end)
	if w.known(at, status) {
		return over, nil
	}
	if !a.say(ctx) {
		return over, ctx.Err()
	}
	defer a.said()
	if *seen, err = a.observe(ctx, w, pod); err != nil {
		return over, err
	}
	if status, over = a.standing(w, pod, seen, ending, end); w.known(at, status) {
		return over, nil
	}
	body, err := statusPatch(at, w.told(at), status)
	if err != nil {
		return over, err
	}
	if finished(status.Phase) {
		a.vacate(w)
	}
	answer, err := a.Client.CoreV1().Pods(at.Namespace).Patch(ctx, at.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{}, "status")
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return over, nil // gone, or another pod has the name: the watch tells
	case err != nil:
		return over, fmt.Errorf("status: %w", err)
	}
	if w.status, w.published = status, answer.ResourceVersion; w.static {
		w.mirrored = mirrored{at.UID, status}
	}
	return over, nil
}

// mirrored is what a mirror was told last.
type mirrored struct {
	uid    types.UID
	status *corev1.PodStatus
}

// standing is a pod's status as it follows from what was seen, and whether the pod is over.
func (a *Agent) standing(w *work, pod *corev1.Pod, seen *observed, ending, end bool) (_ *corev1.PodStatus, over bool) {
	over = end && !seen.running()
	old := w.status
	if old == nil {
		old = &pod.Status
	}
	status := podStatus(&reading{pod: pod, old: old, seen: seen, health: w.health, trouble: w.trouble, verdict: w.verdict, resizing: a.resizingOf(w), resetting: w.resetting,
		ending: ending, over: over, nodeIPs: a.hostIPs(pod.Spec.NodeName), runtime: a.runtimeName}, metav1.NewTime(a.Clock.Now().Truncate(1e9)))
	return &status, over
}

// known reports whether a status need not be told: the API has it, or there is no mirror to tell it.
func (w *work) known(at *corev1.Pod, status *corev1.PodStatus) bool {
	if at == nil {
		w.status = status
		return true
	}
	return equality.Semantic.DeepEqual(w.told(at), status)
}

func (a *Agent) resizingOf(w *work) resizing {
	a.desk.mu.Lock()
	defer a.desk.mu.Unlock()
	return w.resizing
}

// settle forgets what the agent has told of a pod once the pod that the API shows has it: there is no need for two of them, and
// a status is as big as all else that is kept of a pod. The desk is locked, and nobody works on the pod.
func (w *work) settle() {
	if w.status == nil || w.static || w.pod == nil {
		return
	}
	if order, err := resourceversion.CompareResourceVersion(w.pod.ResourceVersion, w.published); err == nil && order >= 0 {
		w.status = nil
	}
}

// told is the status that the API has, with the agent's own last word where that is on its way: conditions of others may
// have changed meanwhile.
func (w *work) told(at *corev1.Pod) *corev1.PodStatus {
	switch {
	case w.static && w.mirrored.status != nil && w.mirrored.uid == at.UID:
		return w.mirrored.status
	case !w.static && w.status != nil:
		return w.status
	}
	return &at.Status
}

// statusPatch is the change of the status, for this very pod.
func statusPatch(pod *corev1.Pod, old, now *corev1.PodStatus) ([]byte, error) {
	before, err := json.Marshal(&corev1.Pod{Status: *old})
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: pod.UID}, Status: *now})
	if err != nil {
		return nil, err
	}
	return strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Pod{})
}

// release takes a pod that is over from the API: nothing holds its name any more, save finalizers.
func (a *Agent) release(ctx context.Context, w *work, pod *corev1.Pod) error {
	if !a.say(ctx) {
		return ctx.Err()
	}
	defer a.said()
	a.vacate(w)
	now := int64(0)
	err := a.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &pod.UID}})
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		w.released = true
		return nil
	}
	return err
}

// say waits until one more of the agent's pods may speak to the API: a thousand at a time would only be refused.
func (a *Agent) say(ctx context.Context) bool {
	select {
	case a.voices <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (a *Agent) said() { <-a.voices }

// podEvent tells people what happened to a pod.
func (a *Agent) podEvent(pod *corev1.Pod, kind, reason, format string, args ...any) {
	if r := a.recorders[pod.Spec.NodeName]; r != nil {
		r.Eventf(pod, kind, reason, format, args...)
	}
}

// containerEvent tells people what happened to a container of a pod.
func (a *Agent) containerEvent(pod *corev1.Pod, container, kind, reason, format string, args ...any) {
	ref := &corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
		ResourceVersion: pod.ResourceVersion, FieldPath: fieldPath(pod, container)}
	if r := a.recorders[pod.Spec.NodeName]; r != nil {
		r.Eventf(ref, kind, reason, format, args...)
	}
}

// fieldPath is where a container stands in its pod.
func fieldPath(p *corev1.Pod, name string) string {
	for role, c := range containers(p) {
		if c.Name == name {
			list := [...]string{initRole: "initContainers", sidecarRole: "initContainers", regularRole: "containers", ephemeralRole: "ephemeralContainers"}[role]
			return fmt.Sprintf("spec.%s{%s}", list, name)
		}
	}
	return ""
}
