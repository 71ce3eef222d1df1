package nodeagent

import (
	"context"
	"fmt"
	"time"

	imagename "github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ensureImage has a container's image on the node, as its pull policy says.
func (a *Agent) ensureImage(ctx context.Context, w *work, pod *corev1.Pod, c *corev1.Container) (string, *trouble) {
	named, err := imagename.ParseDockerRef(c.Image)
	if err != nil {
		message := fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: %v", c.Image, c.Image, err)
		a.containerEvent(pod, c.Name, corev1.EventTypeWarning, "InspectFailed", "%s", message)
		a.containerEvent(pod, c.Name, corev1.EventTypeWarning, "Failed", "Error: %s", "InvalidImageName")
		return "", &trouble{reason: "InvalidImageName", message: message, until: a.Clock.Now().Add(retryAfter)}
	}
	spec := imageOn(pod.Spec.NodeName, named.String(), c.Image)
	answer, err := a.Runtime.ImageStatus(ctx, spec, false)
	present := err == nil && answer.Image != nil
	switch {
	case present && c.ImagePullPolicy != corev1.PullAlways:
		a.containerEvent(pod, c.Name, corev1.EventTypeNormal, "Pulled", "Container image %q already present on machine and can be accessed by the pod", c.Image)
		return spec.Image, nil
	case c.ImagePullPolicy == corev1.PullNever:
		message := fmt.Sprintf("Container image %q is not present with pull policy of Never", c.Image)
		a.containerEvent(pod, c.Name, corev1.EventTypeWarning, "ErrImageNeverPull", "%s", message)
		a.containerEvent(pod, c.Name, corev1.EventTypeWarning, "Failed", "Error: %s", "ErrImageNeverPull")
		return "", &trouble{reason: "ErrImageNeverPull", message: message, until: a.Clock.Now().Add(retryAfter)}
	}
	return spec.Image, a.pull(ctx, w, pod, c, spec)
}

func (a *Agent) pull(ctx context.Context, w *work, pod *corev1.Pod, c *corev1.Container, spec *cri.ImageSpec) *trouble {
	a.containerEvent(pod, c.Name, corev1.EventTypeNormal, "Pulling", "Pulling image %q", c.Image)
	begun := a.Clock.Now()
	_, err := a.Runtime.PullImage(ctx, spec, nil, sandboxConfig(pod, 0))
	now := a.Clock.Now()
	if err == nil {
		a.pulled.Store(pod.Spec.NodeName, true)
		took := now.Sub(begun).Truncate(time.Millisecond)
		size := uint64(0)
		if answer, err := a.Runtime.ImageStatus(ctx, spec, false); err == nil && answer.Image != nil {
			size = answer.Image.Size
		}
		a.containerEvent(pod, c.Name, corev1.EventTypeNormal, "Pulled", "Successfully pulled image %q in %v (%v including waiting). Image size: %v bytes.", c.Image, took, took, size)
		return nil
	}
	if ctx.Err() != nil {
		return &trouble{}
	}
	a.containerEvent(pod, c.Name, corev1.EventTypeWarning, "Failed", "Failed to pull image %q: %v", c.Image, err)
	a.containerEvent(pod, c.Name, corev1.EventTypeWarning, "Failed", "Error: %s", "ErrImagePull")
	delay := w.trouble[c.Name].delay.next(now, now)
	return &trouble{reason: "ErrImagePull", message: err.Error(), until: now.Add(delay.delay), delay: delay}
}

// putOff makes of a pull that failed one that waits.
func (a *Agent) putOff(pod *corev1.Pod, c *corev1.Container, t trouble) trouble {
	if t.reason != "ErrImagePull" {
		return t
	}
	message := fmt.Sprintf("Back-off pulling image %q", c.Image)
	a.containerEvent(pod, c.Name, corev1.EventTypeNormal, "BackOff", "%s", message)
	a.containerEvent(pod, c.Name, corev1.EventTypeWarning, "Failed", "Error: %s", "ImagePullBackOff")
	t.message = message + ": ErrImagePull: " + t.message
	t.reason = "ImagePullBackOff"
	return t
}
