package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
)

// typedPods are the pods of the load.
type typedPods struct{ api typedcore.PodInterface }

func (p typedPods) create(ctx context.Context, i int) error {
	_, err := p.api.Create(ctx, pod(i), metav1.CreateOptions{})
	return err
}

// encodedPod is a pod as a request's body in protobuf.
func encodedPod(i int) []byte {
	p := pod(i)
	p.APIVersion, p.Kind = "v1", "Pod"
	var b bytes.Buffer
	if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(p, &b); err != nil {
		panic(err) // a pod of this program's own
	}
	return b.Bytes()
}

// annotate is a change of an annotation, the smallest of changes.
func annotate(i int, key, value string) request {
	return request{method: "PATCH", path: podsPath + "/" + podName(i), contentType: "application/merge-patch+json",
		body: fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, key, value)}
}

func podName(i int) string { return fmt.Sprintf("p-%06d", i) }

// pod is one of 3 kB: a hundredth of all has the label app=app-N, and runs on node-N.
func pod(i int) *corev1.Pod {
	var env []corev1.EnvVar
	for k := range 10 {
		env = append(env, corev1.EnvVar{Name: fmt.Sprintf("VAR_%d", k), Value: fmt.Sprintf("value-of-%d", k)})
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: podName(i), Namespace: namespace,
			Labels:      map[string]string{"app": fmt.Sprintf("app-%d", i%100), "tier": "bench", "i": fmt.Sprint(i)},
			Annotations: map[string]string{"note": noise(i)}},
		Spec: corev1.PodSpec{
			NodeName:                      fmt.Sprintf("node-%d", i%100),
			TerminationGracePeriodSeconds: new(int64),
			AutomountServiceAccountToken:  new(bool),
			Containers: []corev1.Container{{Name: "c", Image: "registry.k8s.io/pause:3.10", Env: env,
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
					corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")}}}},
		},
	}
}

// noise is 200 characters that differ from pod to pod, so that compression has work to do.
func noise(i int) string {
	sum := sha256.Sum256(fmt.Append(nil, i))
	var b strings.Builder
	for b.Len() < 200 {
		b.WriteString(hex.EncodeToString(sum[:]))
		sum = sha256.Sum256(sum[:])
	}
	return b.String()[:200]
}
