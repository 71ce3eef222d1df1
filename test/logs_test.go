package test

import (
	"bytes"
	"context"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/knarr-dev/knarr/test/cluster"
)

// A log may be read over a WebSocket, too: an empty message, then the log in pieces, as it is or in base64.
func TestLogsOverWebSocket(t *testing.T) {
	c := cluster.Start(t, "up", "--simulated-nodes=1")
	pods := clientset(t, c, "application/json").CoreV1().Pods("default")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever,
		Containers: []corev1.Container{{Name: "c", Image: "x", Command: []string{"sh", "-c", "echo alive; echo and well"}}}}}
	err := wait.PollUntilContextCancel(ctx, 10*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		_, err := pods.Create(ctx, pod, metav1.CreateOptions{}) // refused until there is a service account
		return err == nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = wait.PollUntilContextCancel(ctx, 10*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		p, err := pods.Get(ctx, "p", metav1.GetOptions{})
		return err == nil && p.Status.Phase == corev1.PodSucceeded, err
	})
	if err != nil {
		t.Fatal(err)
	}
	dialer := websocket.Dialer{TLSClientConfig: adminTLS(t, c)}
	dialer.TLSClientConfig.NextProtos = []string{"http/1.1"}
	url := "wss" + strings.TrimPrefix(c.URL, "https") + "/api/v1/namespaces/default/pods/p/log"
	for protocol, kind := range map[string]int{"": websocket.BinaryMessage, "binary.k8s.io": websocket.BinaryMessage, "base64.binary.k8s.io": websocket.TextMessage} {
		dialer.Subprotocols = []string{protocol}
		if protocol == "" {
			dialer.Subprotocols = nil
		}
		socket, _, err := dialer.DialContext(ctx, url, nil)
		if err != nil {
			t.Fatalf("%q: %v", protocol, err)
		}
		defer socket.Close()
		var log bytes.Buffer
		for first := true; ; first = false {
			got, message, err := socket.ReadMessage()
			if websocket.IsCloseError(err, websocket.CloseNormalClosure) {
				break
			}
			if err != nil || got != kind || first != (len(message) == 0) {
				t.Fatalf("%q: message of type %d, %q (%v)", protocol, got, message, err)
			}
			if kind == websocket.TextMessage {
				if message, err = base64.StdEncoding.DecodeString(string(message)); err != nil {
					t.Fatal(err)
				}
			}
			log.Write(message)
		}
		if log.String() != "alive\nand well\n" {
			t.Errorf("%q: %q", protocol, &log)
		}
	}
}
