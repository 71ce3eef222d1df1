package test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/knarr-dev/knarr/test/cluster"
)

// Endpoints without a Service may be somebody's own: those that are made while the controller runs are left alone. What was
// there when it started may have lost its Service while nobody looked, and goes.
func TestEndpointsWithoutService(t *testing.T) {
	c := cluster.Start(t, "apiserver")
	client := clientset(t, c, formats()["json"])
	ctx := t.Context()
	endpoints := client.CoreV1().Endpoints("default")
	create := func(name string) {
		if _, err := endpoints.Create(ctx, &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	await := func(name string, there bool) {
		err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
			_, err := endpoints.Get(ctx, name, metav1.GetOptions{})
			return (err == nil) == there && (err == nil || apierrors.IsNotFound(err)), nil
		})
		if err != nil {
			t.Fatalf("endpoints %s: there should be %t: %v", name, there, err)
		}
	}
	create("left")
	runControllers(t, c, nil, "endpoints-controller")
	await("left", false)

	// A Service that comes and goes later has had its turns: so would this one.
	create("own")
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "later"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"a": "b"}, Ports: []corev1.ServicePort{{Port: 1}}}}
	if _, err := client.CoreV1().Services("default").Create(ctx, service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	await("later", true)
	if err := client.CoreV1().Services("default").Delete(ctx, "later", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await("later", false)
	await("own", true)
}
