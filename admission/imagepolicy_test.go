package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	imagepolicyv1alpha1 "k8s.io/api/imagepolicy/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// imageService refuses images that are bad, and counts what it is asked.
type imageService struct {
	asked  []string // images of a question, with the annotations that it came with
	broken int      // status of all answers, if it is not 0
}

func (s *imageService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var review imagepolicyv1alpha1.ImageReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Kind != "ImageReview" {
		http.Error(w, "no ImageReview", http.StatusBadRequest)
		return
	}
	review.Status = imagepolicyv1alpha1.ImageReviewStatus{Allowed: true, AuditAnnotations: map[string]string{"seen": "yes"}}
	question := fmt.Sprint(review.Spec.Namespace, review.Spec.Annotations)
	for _, c := range review.Spec.Containers {
		question += " " + c.Image
		switch c.Image {
		case "bad":
			review.Status = imagepolicyv1alpha1.ImageReviewStatus{Reason: "too old"}
		case "worse":
			review.Status = imagepolicyv1alpha1.ImageReviewStatus{}
		}
	}
	s.asked = append(s.asked, question)
	if s.broken != 0 {
		w.WriteHeader(s.broken)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

// startImagePolicy starts the service and a plugin that asks it.
func startImagePolicy(t *testing.T, settings string, now func() time.Time) (*imageService, Plugin) {
	t.Helper()
	service := &imageService{}
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	text, err := os.ReadFile("testdata/images.kubeconfig")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), "http://127.0.0.1:1", server.URL, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := imagePolicy(Host{Now: now, config: &PluginConfig{"images.yaml", fmt.Appendf(nil, "imagePolicy: {kubeConfigFile: %s, retryBackoff: 1%s}", path, settings)}})
	if err != nil {
		t.Fatal(err)
	}
	return service, p
}

// podOf writes a pod with these images, and collects what the audit event is told.
func podOf(subresource string, told map[string]string, images ...string) *Attributes {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", Annotations: map[string]string{"a": "b", "x.image-policy.k8s.io/ticket": "7"}}}
	for _, image := range images {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Image: image})
	}
	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Image: "debug"}}}
	a := &Attributes{Operation: Create, Subresource: subresource, Namespace: "n", Name: "p", Object: pod,
		Annotate: func(key, value string) { told[key] = value }}
	a.Resource.Resource = "pods"
	return a
}

func TestImagesAreWhatTheServiceAllows(t *testing.T) {
	now := time.Unix(0, 0)
	service, p := startImagePolicy(t, ", allowTTL: 10, denyTTL: 5", func() time.Time { return now })
	told := map[string]string{}
	admit := func(subresource string, images ...string) string {
		if err := p.Validate(context.Background(), podOf(subresource, told, images...)); err != nil {
			return err.Error()
		}
		return "ok"
	}
	for _, step := range []struct {
		rule  string
		after time.Duration
		sub   string
		image string
		want  string
		asks  int // questions so far
	}{
		{"what is allowed runs", 0, "", "good", "ok", 1},
		{"a yes holds", 9 * time.Second, "", "good", "ok", 1},
		{"and ends", 2 * time.Second, "", "good", "ok", 2},
		{"what is denied does not", 0, "", "bad", `pods "p" is forbidden: image policy webhook backend denied one or more images: too old`, 3},
		{"a no holds", 4 * time.Second, "", "bad", `pods "p" is forbidden: image policy webhook backend denied one or more images: too old`, 3},
		{"and ends sooner", 2 * time.Second, "", "bad", `pods "p" is forbidden: image policy webhook backend denied one or more images: too old`, 4},
		{"a no needs no reason", 0, "", "worse", `pods "p" is forbidden: one or more images rejected by webhook backend`, 5},
		{"what is attached is asked about alone", 0, "ephemeralcontainers", "bad", "ok", 6},
		{"other sub-resources bring no images", 0, "status", "bad", "ok", 6},
	} {
		now = now.Add(step.after)
		if got := admit(step.sub, step.image); got != step.want || len(service.asked) != step.asks {
			t.Errorf("%s: got %q after %d questions, want %q after %d", step.rule, got, len(service.asked), step.want, step.asks)
		}
	}
	if diff := cmp.Diff("nmap[x.image-policy.k8s.io/ticket:7] good", service.asked[0]); diff != "" {
		t.Errorf("the question holds images, namespace and the annotations that are meant for it (-want +got)\n%s", diff)
	}
	if told["imagepolicywebhook.image-policy.k8s.io/seen"] != "yes" {
		t.Errorf("the answer's annotations are told to audit: got %v", told)
	}
}

func TestBrokenImageServiceDecidesAsConfigured(t *testing.T) {
	service, closed := startImagePolicy(t, "", time.Now)
	service.broken = http.StatusInternalServerError
	told := map[string]string{}
	if err := closed.Validate(context.Background(), podOf("", told, "good")); err == nil || !strings.HasPrefix(err.Error(), `pods "p" is forbidden: `) || len(service.asked) != 5 {
		t.Errorf("without defaultAllow: got %v after %d attempts, want a refusal after 5", err, len(service.asked))
	}
	service, open := startImagePolicy(t, ", defaultAllow: true", time.Now)
	service.broken = http.StatusNotFound
	if err := open.Validate(context.Background(), podOf("", told, "good")); err != nil || len(service.asked) != 1 {
		t.Errorf("with defaultAllow: got %v after %d attempts, want none after 1", err, len(service.asked))
	}
	if told["imagepolicywebhook.image-policy.k8s.io/failed-open"] != "true" {
		t.Errorf("that nobody was asked is told to audit: got %v", told)
	}
}

func TestImagePolicyConfigIsChecked(t *testing.T) {
	for _, c := range []struct{ config, want string }{
		{"imagePolicy: {kubeConfigFile: testdata/images.kubeconfig, denyTTL: -1}", ""},
		{"imagePolicy: {kubeConfigFile: testdata/nosuch}", "testdata/nosuch: "},
		{"imagePolicy:\n  kubeConfigFile: k\n  allowTTL: 1801", "images.yaml:3: imagePolicy.allowTTL: Invalid value: 1801: valid value is between 1s and 30m0s, got 30m1s"},
		{"imagePolicy:\n  retryBackoff: 1", "images.yaml:1: imagePolicy.kubeConfigFile: Required value: it says where the service is"},
		{"imagePolicy:\n  kubeconfigfile: k", "images.yaml:2: "},
	} {
		_, err := imagePolicy(Host{config: &PluginConfig{"images.yaml", []byte(c.config)}, Now: time.Now})
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.config, err, c.want)
		}
	}
	if _, err := imagePolicy(Host{}); err == nil || !strings.HasPrefix(err.Error(), "no config specified") {
		t.Errorf("without a configuration: %v", err)
	}
}
