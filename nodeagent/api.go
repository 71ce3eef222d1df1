package nodeagent

import (
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
)

// Handler is the kubelet API: what kubectl logs, exec and others ask of a node, through the API server or directly. Whoever
// asks says who he is, by a certificate of the cluster's authority or a token, and the API server is asked whether he may
// (api_guard.go). An agent of several nodes answers for all of them.
func (a *Agent) Handler() http.Handler {
	mux := http.NewServeMux()
	healthy := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }
	for _, path := range []string{"/healthz", "/healthz/ping", "/healthz/log", "/healthz/syncloop"} {
		mux.HandleFunc("GET "+path, healthy)
	}
	mux.HandleFunc("GET /pods", a.servePods)
	mux.HandleFunc("GET /runningpods/{$}", a.serveRunningPods)
	mux.HandleFunc("GET /stats/summary", a.serveSummary)
	mux.HandleFunc("GET /configz", a.serveConfig)
	metrics := a.metricsHandler()
	mux.Handle("GET /metrics/resource", a.resourceMetrics())
	for _, path := range []string{"/metrics", "/metrics/probes", "/metrics/cadvisor"} {
		mux.Handle("GET "+path, metrics)
	}
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", a.serveLog)
	for _, method := range []string{"GET", "POST"} {
		for _, uid := range []string{"", "/{uid}"} {
			mux.HandleFunc(method+" /exec/{namespace}/{pod}"+uid+"/{container}", a.serveExec)
			mux.HandleFunc(method+" /attach/{namespace}/{pod}"+uid+"/{container}", a.serveAttach)
			mux.HandleFunc(method+" /portForward/{namespace}/{pod}"+uid, a.servePortForward)
		}
	}
	for _, uid := range []string{"", "/{uid}"} {
		mux.HandleFunc("POST /run/{namespace}/{pod}"+uid+"/{container}", a.serveRun)
	}
	return a.guard(mux)
}

// podOf is the pod that a path names; nil if the agent has none.
func (a *Agent) podOf(r *http.Request) *corev1.Pod {
	return a.podNamed(r.PathValue("namespace"), r.PathValue("pod"))
}

func (a *Agent) podNamed(namespace, name string) *corev1.Pod {
	a.desk.mu.Lock()
	defer a.desk.mu.Unlock()
	for _, w := range a.desk.pods {
		if w.pod.Namespace == namespace && w.pod.Name == name {
			return w.pod
		}
	}
	return nil
}
