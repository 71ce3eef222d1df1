package nodeagent

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
)

// asking is the kubelet API of a workshop; the header User says who asks, and "may" are the sub-resources of nodes that he
// may use.
func asking(t *testing.T, w *workshop, may ...string) *httptest.Server {
	w.Who = func(r *http.Request) (*authenticationv1.UserInfo, error) {
		if name := r.Header.Get("User"); name != "" {
			return &authenticationv1.UserInfo{Username: name}, nil
		}
		return nil, nil
	}
	w.may = may
	s := httptest.NewServer(w.Handler())
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, url, user string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User", user)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestWhoMayAskWhatOfANode(t *testing.T) {
	s := asking(t, newWorkshop(t, nil), "stats", "pods")
	for path, want := range map[string]int{"/stats/summary": 200, "/pods": 200, "/runningpods/": 200, "/metrics": 403, "/configz": 403,
		"/healthz": 403, "/containerLogs/n/p/c": 403, "/exec/n/p/c": 403, "/nothing": 403} {
		if code, body := get(t, s.URL+path, "jane"); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, body, want)
		}
		if code, _ := get(t, s.URL+path, ""); code != http.StatusUnauthorized {
			t.Errorf("%s: %d for nobody", path, code)
		}
	}
	_, body := get(t, s.URL+"/configz", "jane")
	if want := "Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[configz proxy])\n"; body != want {
		t.Errorf("%q, want %q", body, want)
	}
}

func TestLogOptions(t *testing.T) {
	var lines []LogLine
	for i := range 4 {
		lines = append(lines, LogLine{noon().Add(time.Duration(i) * time.Second), fmt.Sprintf("line %d", i)})
	}
	for query, want := range map[string]string{
		"":                                 "line 0\nline 1\nline 2\nline 3\n",
		"tailLines=1":                      "line 3\n",
		"tailLines=0":                      "",
		"tail=2":                           "line 2\nline 3\n",
		"tail=all":                         "line 0\nline 1\nline 2\nline 3\n",
		"limitBytes=9":                     "line 0\nli",
		"sinceSeconds=2":                   "line 2\nline 3\n",
		"sinceTime=2026-05-01T12:00:03Z":   "line 3\n",
		"timestamps=true&tailLines=1":      "2026-05-01T12:00:03Z line 3\n",
		"limitBytes=1000&sinceSeconds=100": "line 0\nline 1\nline 2\nline 3\n",
	} {
		r := httptest.NewRequest(http.MethodGet, "/?"+query, nil)
		o, err := readLogOptions(r.URL.Query(), noon().Add(4*time.Second))
		var out bytes.Buffer
		(&logWriter{to: &out, flush: func() error { return nil }, options: o}).write(lastLines(lines, o))
		if err != nil || out.String() != want {
			t.Errorf("%s: %q, %v, want %q", query, out.String(), err, want)
		}
	}
	if _, err := readLogOptions(map[string][]string{"tailLines": {"x"}}, noon()); err == nil {
		t.Error("a number that is none is taken")
	}
}

func TestALogIsFollowedUntilItsContainerEnds(t *testing.T) {
	p := onNode("c")
	p.Annotations = map[string]string{annotationPrefix + "log": "tick", annotationPrefix + "log-every": "10s", annotationPrefix + "exit-after": "25s"}
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	w := newWorkshop(t, nil, p)
	s := asking(t, w, "proxy")
	eventually(t, "the pod runs", func() bool { return w.status(t, "p").Phase == corev1.PodRunning })
	answer := make(chan string, 1)
	go func() {
		_, body := get(t, s.URL+"/containerLogs/n/p/c?follow=true", "jane")
		answer <- body
	}()
	eventually(t, "somebody waits for the next line", w.clock.waited(10*time.Second))
	w.clock.Step(10 * time.Second)
	w.clock.Step(15 * time.Second)
	if body := <-answer; body != "tick\ntick\ntick\n" {
		t.Errorf("%q", body)
	}
	eventually(t, "it is over", func() bool { return w.status(t, "p").Phase == corev1.PodSucceeded })
	if _, body := get(t, s.URL+"/containerLogs/n/p/c", "jane"); body != "tick\ntick\ntick\n" {
		t.Errorf("afterwards: %q", body)
	}
	code, body := get(t, s.URL+"/containerLogs/n/p/c?previous=true", "jane")
	if code != http.StatusBadRequest || body != "previous terminated container \"c\" in pod \"p\" not found\n" {
		t.Errorf("%d %q", code, body)
	}
}

// Version 5 of the WebSocket protocol, in which API servers pass on what kubectl wants.
func TestExecOverWebSockets(t *testing.T) {
	w := newWorkshop(t, nil, onNode("c"))
	s := asking(t, w, "proxy")
	eventually(t, "the pod runs", func() bool { return w.status(t, "p").Phase == corev1.PodRunning })
	for command, want := range map[string][]string{
		"command=echo&command=hi":              {"1hi\n", `3{"metadata":{},"status":"Success"}`},
		"command=sh&command=-c&command=exit+3": {`3{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: exit code 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}`},
		"command=ls":                           {"2pod n/p runs on a simulated node, where no program is that could answer\n", `3{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: exit code 126","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"126"}]}}`},
	} {
		dialer := websocket.Dialer{Subprotocols: []string{webSocketV5}}
		socket, answer, err := dialer.DialContext(t.Context(), strings.Replace(s.URL, "http", "ws", 1)+"/exec/n/p/c?output=1&error=1&"+command, http.Header{"User": {"jane"}})
		if err != nil {
			body, _ := io.ReadAll(answer.Body)
			t.Fatalf("%v: %s %s", err, answer.Status, body)
		}
		var got []string
		for {
			_, message, err := socket.ReadMessage()
			if err != nil {
				break
			}
			got = append(got, string('0'+message[0])+string(message[1:]))
		}
		socket.Close()
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", command, d)
		}
	}
}
