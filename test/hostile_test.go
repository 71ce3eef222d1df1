package test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/knarr-dev/knarr/test/cluster"
)

// adminTLS is how the cluster's admin connects.
func adminTLS(t *testing.T, c *cluster.Cluster) *tls.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	tc, err := rest.TLSConfigFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return tc
}

// residentMB is the resident memory of a process.
func residentMB(t *testing.T, pid int) int {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			return kb / 1024
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// bomb is YAML of a few hundred bytes that stands for billions of items.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), ","))
	}
	return b.String()
}

func TestHostileRequestsAreRefusedAndCostLittle(t *testing.T) {
	c := cluster.Start(t, "apiserver")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: adminTLS(t, c), ForceAttemptHTTP2: true}, Timeout: time.Minute}
	const maps = "/api/v1/namespaces/default/configmaps"
	deep := strings.Repeat(`{"data":`, 100_000) + "1" + strings.Repeat("}", 100_000)
	for name, r := range map[string]struct {
		method, path, media, body string
		want                      int
	}{
		"JSON that ends early":         {"POST", maps, "application/json", `{"kind":"ConfigMap","metadata":{"name":`, 400},
		"JSON nested 100,000 deep":     {"POST", maps, "application/json", deep, 400},
		"a patch nested 100,000 deep":  {"PATCH", maps + "/kube-root", "application/merge-patch+json", deep, 404},
		"YAML of billions of items":    {"POST", maps, "application/yaml", bomb(), 400},
		"an apply of billions":         {"PATCH", maps + "/x?fieldManager=m", "application/apply-patch+yaml", bomb(), 400},
		"protobuf that ends early":     {"POST", maps, "application/vnd.kubernetes.protobuf", "k8s\x00\x0a\xff\xff\xff\x7f", 400},
		"protobuf without its magic":   {"POST", maps, "application/vnd.kubernetes.protobuf", "hello", 400},
		"a body of 4 MiB":              {"POST", maps, "application/json", `{"data":{"x":"` + strings.Repeat("x", 4<<20) + `"}}`, 413},
		"an object of 1.6 MiB":         {"POST", maps, "application/json", `{"metadata":{"name":"big"},"data":{"x":"` + strings.Repeat("x", 1_600_000) + `"}}`, 422},
		"a limit beyond all numbers":   {"GET", maps + "?limit=99999999999999999999", "", "", 400},
		"a revision beyond all":        {"GET", maps + "?resourceVersion=99999999999999999999", "", "", 400},
		"a continue token made up":     {"GET", maps + "?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi8uLi8ifQ", "", "", 400},
		"a selector without an end":    {"GET", maps + "?labelSelector=" + strings.Repeat("(", 5000), "", "", 400},
		"a path that climbs":           {"GET", "/api/v1/namespaces/../../../etc/passwd", "", "", 404},
		"a path that climbs, escaped":  {"GET", "/api/v1/namespaces/%2e%2e%2f%2e%2e%2fsecrets", "", "", 404},
		"a name with a zero byte":      {"GET", maps + "/a%00b", "", "", 404},
		"a method that does not exist": {"BREW", maps, "", "", 405},
		"10,001 operations": {"PATCH", maps + "/kube-root", "application/json-patch+json",
			"[" + strings.TrimSuffix(strings.Repeat(`{"op":"test","path":"/kind","value":1},`, 10_001), ",") + "]", 404},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), r.method, c.URL+r.path, strings.NewReader(r.body))
			if err != nil {
				t.Fatal(err)
			}
			if r.media != "" {
				req.Header.Set("Content-Type", r.media)
			}
			answer, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != r.want {
				t.Errorf("%s, want %d: %.300s", answer.Status, r.want, body)
			}
			var s metav1.Status
			if strings.HasPrefix(answer.Header.Get("Content-Type"), "application/json") && (json.Unmarshal(body, &s) != nil || s.Message == "") {
				t.Errorf("no Status: %.300s", body)
			}
		})
	}
	if mb := residentMB(t, c.PID); mb > 300 {
		t.Errorf("%d MB resident afterwards", mb)
	}
}

func TestClientsThatSendNothingHoldNobodyUp(t *testing.T) {
	c := cluster.Start(t, "apiserver")
	tc := adminTLS(t, c)
	tc.NextProtos = []string{"http/1.1"}
	address := strings.TrimPrefix(c.URL, "https://")
	for range 300 { // a request whose body never comes
		conn, err := tls.Dial("tcp", address, tc)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	}
	client := clientset(t, c, "application/json")
	if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "through"}}, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
}

func TestWatchOverWebSocket(t *testing.T) {
	c := cluster.Start(t, "apiserver")
	client := clientset(t, c, "application/json")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dialer := websocket.Dialer{TLSClientConfig: adminTLS(t, c)}
	dialer.TLSClientConfig.NextProtos = []string{"http/1.1"}
	url := "wss" + strings.TrimPrefix(c.URL, "https") + "/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=30"
	for media, kind := range map[string]int{"application/json": websocket.TextMessage, "application/vnd.kubernetes.protobuf;stream=watch": websocket.BinaryMessage} {
		socket, _, err := dialer.DialContext(ctx, url, http.Header{"Accept": {media}})
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		name := "socket-" + strconv.Itoa(kind)
		if _, err := client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		for {
			got, message, err := socket.ReadMessage()
			if err != nil {
				t.Fatalf("%s: %v", media, err)
			}
			if got != kind {
				t.Fatalf("%s: message of type %d, want %d", media, got, kind)
			}
			if bytes.Contains(message, []byte(name)) && bytes.Contains(message, []byte("ADDED")) {
				break
			}
		}
	}
}

func TestRequestsEndInTime(t *testing.T) {
	c := cluster.Start(t, "apiserver")
	tc := adminTLS(t, c)
	tc.NextProtos = []string{"http/1.1"}
	conn, err := tls.Dial("tcp", strings.TrimPrefix(c.URL, "https://"), tc)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/v1/namespaces/default/configmaps?timeout=200ms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"metadata":{},"status":"Failure","message":"Timeout: request did not complete within the allotted timeout","reason":"Timeout","details":{},"code":504}` + "\n"
	if answer.StatusCode != http.StatusGatewayTimeout || answer.Header.Get("Content-Type") != "text/plain; charset=utf-8" || string(body) != want {
		t.Errorf("%s, %s: %s", answer.Status, answer.Header.Get("Content-Type"), body)
	}
}
