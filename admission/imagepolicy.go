package admission

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	imagepolicyv1alpha1 "k8s.io/api/imagepolicy/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"

	"github.com/knarr-dev/knarr/auth"
)

// imagePolicy asks a service elsewhere whether the images of a pod may run. Its answers hold for a while; where it cannot
// be asked, the configuration decides. Who writes a pod can tell the service more, in annotations.
func imagePolicy(h Host) (Plugin, error) {
	config, err := readImagePolicy(h)
	if err != nil {
		return Plugin{}, err
	}
	service, err := auth.OpenWebhook(config.KubeConfigFile)
	if err != nil {
		return Plugin{}, err
	}
	gate := newImageGate(service.Backoff(config.backoff), config, h.Now)
	return Plugin{Operations: []Operation{Create, Update}, Validate: gate.admit}, nil
}

// imageReviewer posts a question and reads the answer.
type imageReviewer interface {
	Call(ctx context.Context, question, answer any) error
}

// maxImageAnswers is how many answers are kept.
const maxImageAnswers = 1024

// imageAuditPrefix begins the keys of audit annotations.
const imageAuditPrefix = "imagepolicywebhook.image-policy.k8s.io/"

type imageGate struct {
	service imageReviewer
	config  *imagePolicyConfig
	answers *cache.LRUExpireCache // ImageReviewStatus by the question
}

func newImageGate(service imageReviewer, config *imagePolicyConfig, now func() time.Time) *imageGate {
	return &imageGate{service, config, cache.NewLRUExpireCacheWithClock(maxImageAnswers, nowClock(now))}
}

// nowClock is a function as a cache wants it.
type nowClock func() time.Time

func (c nowClock) Now() time.Time { return c() }

func (g *imageGate) admit(ctx context.Context, a *Attributes) error {
	pod, ok := a.Object.(*corev1.Pod)
	if !ok || a.Subresource != "" && a.Subresource != "ephemeralcontainers" {
		return nil
	}
	status, err := g.review(ctx, imagepolicyv1alpha1.ImageReviewSpec{
		Containers: imagesOf(a.Subresource, &pod.Spec), Annotations: imageAnnotations(pod), Namespace: a.Namespace})
	switch {
	case err != nil && g.config.DefaultAllow:
		a.Annotate(imageAuditPrefix+"failed-open", "true")
		return nil
	case err != nil:
		return a.refuse(err)
	}
	for key, value := range status.AuditAnnotations {
		a.Annotate(imageAuditPrefix+key, value)
	}
	switch {
	case status.Allowed:
		return nil
	case status.Reason != "":
		return a.forbid("image policy webhook backend denied one or more images: %s", status.Reason)
	}
	return a.forbid("one or more images rejected by webhook backend")
}

// imagesOf are those that a write brings: what is attached to a running pod is asked about alone.
func imagesOf(subresource string, spec *corev1.PodSpec) (images []imagepolicyv1alpha1.ImageReviewContainerSpec) {
	add := func(image string) {
		images = append(images, imagepolicyv1alpha1.ImageReviewContainerSpec{Image: image})
	}
	if subresource != "" {
		for _, c := range spec.EphemeralContainers {
			add(c.Image)
		}
		return images
	}
	for _, c := range spec.Containers {
		add(c.Image)
	}
	for _, c := range spec.InitContainers {
		add(c.Image)
	}
	return images
}

// imageAnnotations are those of the pod's annotations that are meant for the service.
func imageAnnotations(pod *corev1.Pod) map[string]string {
	meant := map[string]string{}
	for key, value := range pod.Annotations {
		if strings.Contains(key, ".image-policy.k8s.io/") {
			meant[key] = value
		}
	}
	return meant
}

// review looks whether the question was answered lately, else asks.
func (g *imageGate) review(ctx context.Context, spec imagepolicyv1alpha1.ImageReviewSpec) (imagepolicyv1alpha1.ImageReviewStatus, error) {
	key, err := json.Marshal(spec)
	if err != nil {
		return imagepolicyv1alpha1.ImageReviewStatus{}, err
	}
	if known, ok := g.answers.Get(string(key)); ok {
		return known.(imagepolicyv1alpha1.ImageReviewStatus), nil
	}
	question := &imagepolicyv1alpha1.ImageReview{Spec: spec,
		TypeMeta: metav1.TypeMeta{APIVersion: imagepolicyv1alpha1.SchemeGroupVersion.String(), Kind: "ImageReview"}}
	var answer imagepolicyv1alpha1.ImageReview
	if err := g.service.Call(ctx, question, &answer); err != nil {
		return imagepolicyv1alpha1.ImageReviewStatus{}, err
	}
	life := g.config.deny
	if answer.Status.Allowed {
		life = g.config.allow
	}
	g.answers.Add(string(key), answer.Status, life)
	return answer.Status, nil
}
