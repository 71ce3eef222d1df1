package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// mounting is how far a pod has come with its volumes: it has no sandbox before all are there.
type mounting struct {
	done  bool
	since time.Time // of the first try, or the last time that it took too long
	until time.Time // when it is tried again
	delay time.Duration
}

// Volumes that are not there yet are tried again, later and later.
const (
	firstMountDelay = 500 * time.Millisecond
	lastMountDelay  = 10 * time.Second
	// mountTooLong is after how long people are told that a pod still waits.
	mountTooLong = 2*time.Minute + 3*time.Second
)

// mount has a pod's volumes ready, or returns when to try again.
func (a *Agent) mount(ctx context.Context, w *work, pod *corev1.Pod) (wait time.Time) {
	m, now := &w.mounting, a.Clock.Now()
	switch {
	case m.done:
		return time.Time{}
	case m.until.After(now):
		return m.until
	case m.since.IsZero():
		m.since = now
	}
	used := usedVolumes(pod)
	around := a.surroundings(ctx, pod, nil, volumeReferences(pod, used))
	a.addClaimedVolumes(ctx, around.shelf)
	var missing, claimless, reasons []string
	for _, v := range used {
		_, err := volumeContent(pod, v, around)
		if err == nil {
			continue
		}
		missing = append(missing, v.Name)
		if claim := (claimError{}); errors.As(err, &claim) {
			claimless, reasons = append(claimless, v.Name), append(reasons, err.Error())
			continue
		}
		if ctx.Err() == nil {
			a.podEvent(pod, corev1.EventTypeWarning, "FailedMount", "%s", volumeError(v, err))
		}
	}
	if m.done = len(missing) == 0; m.done {
		return time.Time{}
	}
	if len(reasons) == 0 && now.Sub(m.since) >= mountTooLong {
		reasons, m.since = []string{"context deadline exceeded"}, now
	}
	if len(reasons) > 0 && ctx.Err() == nil {
		slices.Sort(missing)
		a.podEvent(pod, corev1.EventTypeWarning, "FailedMount", "Unable to attach or mount volumes: unmounted volumes=%v, unattached volumes=[], failed to process volumes=%v: %s",
			missing, claimless, strings.Join(reasons, "; "))
	}
	m.delay = min(max(2*m.delay, firstMountDelay), lastMountDelay)
	m.until = now.Add(m.delay)
	return m.until
}

// addClaimedVolumes reads the volumes that claims on the shelf name.
func (a *Agent) addClaimedVolumes(ctx context.Context, s shelf) {
	var refs []reference
	for r, found := range s {
		if claim, ok := found.object.(*corev1.PersistentVolumeClaim); ok && r.kind == claimReference && found.err == nil && claim.Spec.VolumeName != "" {
			refs = append(refs, reference{volumeReference, "", claim.Spec.VolumeName})
		}
	}
	for r, found := range a.library.gather(ctx, refs) {
		s[r] = found
	}
}

// surroundings are what a pod learns, with the objects that are referred to.
func (a *Agent) surroundings(ctx context.Context, pod *corev1.Pod, podIPs []string, refs []reference) *surroundings {
	around := &surroundings{shelf: a.library.gather(ctx, refs), hostIPs: a.hostIPs(pod.Spec.NodeName), podIPs: podIPs, allocatable: a.Capacity}
	if pod.Spec.HostNetwork {
		around.podIPs = around.hostIPs
	}
	return around
}

// furnish gives a container its environment, its mounts, and its command as the environment makes it.
func (a *Agent) furnish(ctx context.Context, pod *corev1.Pod, c *corev1.Container, podIPs []string, config *cri.ContainerConfig) error {
	around := a.surroundings(ctx, pod, podIPs, environmentReferences(pod, c))
	around.services = a.servicesOf(pod)
	vars, err := environment(pod, c, around)
	if err != nil {
		return err
	}
	if config.Mounts, err = mounts(pod, c, vars); err != nil {
		return err
	}
	config.Envs, config.Command, config.Args = keyValues(vars), expandAll(c.Command, vars), expandAll(c.Args, vars)
	return nil
}

// imageSecrets says which of the Secrets are missing by which a pod's images would be pulled. It is pulled without them.
func (a *Agent) imageSecrets(ctx context.Context, pod *corev1.Pod) {
	var refs []reference
	for _, s := range pod.Spec.ImagePullSecrets {
		refs = append(refs, reference{secretReference, pod.Namespace, s.Name})
	}
	var missing []string
	for r, found := range a.library.gather(ctx, refs) {
		if found.err != nil {
			missing = append(missing, r.name)
		}
	}
	if slices.Sort(missing); len(missing) > 0 && ctx.Err() == nil {
		a.podEvent(pod, corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret", "%s", fmt.Sprintf(
			"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", strings.Join(missing, ", ")))
	}
}
