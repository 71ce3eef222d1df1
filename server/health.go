package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// A Check is something of a process's health, with a path of its own below /healthz, /livez or /readyz.
type Check struct {
	Name string
	Of   []string // the end points that ask it
	Run  func(context.Context) error
}

// Checks answer /healthz, /livez and /readyz: "ok", or what is wrong. ?verbose lists every check, ?exclude=NAME leaves
// one out, /readyz/NAME asks one alone. The other parts of a cluster answer by them, too.
type Checks []Check

// health is the server's own.
type health struct {
	Checks
	kept    atomic.Bool // the objects that the server keeps exist
	leaving atomic.Bool
}

func newHealth(s *Server) *health {
	h := &health{}
	all := []string{"/healthz", "/livez", "/readyz"}
	ready := []string{"/readyz"}
	fine := func(context.Context) error { return nil }
	started := func(context.Context) error {
		if !h.kept.Load() {
			return errors.New("not finished")
		}
		return nil
	}
	etcd := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return s.storage.healthy(ctx)
	}
	kms := func(ctx context.Context) error { return s.storage.keys.healthy(ctx) }
	h.Checks = []Check{
		{"ping", all, fine},
		{"log", all, fine},
		{"etcd", all, etcd},
		{"etcd-readiness", ready, etcd},
		{"kms-providers", []string{"/healthz", "/readyz"}, kms},
		{"informer-sync", ready, started},
	}
	for _, task := range startTasks() {
		h.Checks = append(h.Checks, Check{task, all, started})
	}
	h.Checks = append(h.Checks, Check{"shutdown", ready, func(context.Context) error {
		if h.leaving.Load() {
			return errors.New("process is shutting down")
		}
		return nil
	}})
	if s.storage.keys == nil || !s.storage.keys.named {
		h.Checks = slices.DeleteFunc(h.Checks, func(c Check) bool { return c.Name == "kms-providers" })
	}
	return h
}

// startTasks are what a start has to do before the server is ready, by upstream's names, in its order. It is done as one: the
// objects that the server keeps are kept when it is.
func startTasks() []string {
	tasks := []string{"start-apiserver-admission-initializer", "generic-apiserver-start-informers", "priority-and-fairness-config-consumer",
		"priority-and-fairness-filter", "storage-object-count-tracker-hook", "start-system-namespaces-controller",
		"start-cluster-authentication-info-controller", "start-kube-apiserver-identity-lease-controller",
		"start-kube-apiserver-identity-lease-garbage-collector", "storage-readiness", "start-legacy-token-tracking-controller",
		"start-service-ip-repair-controllers", "rbac/bootstrap-roles", "scheduling/bootstrap-system-priority-classes",
		"priority-and-fairness-config-producer", "bootstrap-controller", "start-kubernetes-service-cidr-controller",
		"apiservice-registration-controller", "kube-apiserver-autoregistration"}
	for i := range tasks {
		tasks[i] = "poststarthook/" + tasks[i]
	}
	return append(tasks, "autoregister-completion")
}

// leave makes /readyz say no from now on.
func (h *health) leave() { h.leaving.Store(true) }

// awaitReady waits until the objects that the server keeps exist.
func (h *health) awaitReady(ctx context.Context) error {
	for !h.kept.Load() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// Handler serves one end point and the checks below it, and notes what came of them.
func (h Checks) Handler(point string, slis *SLIs) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "405 method not allowed", http.StatusMethodNotAllowed)
			return
		}
		asked := slices.DeleteFunc(slices.Clone(h), func(c Check) bool { return !slices.Contains(c.Of, point) })
		if name := strings.Trim(strings.TrimPrefix(r.URL.Path, point), "/"); name != "" {
			answerCheck(w, r, asked, name)
			return
		}
		answerChecks(w, r, strings.TrimPrefix(point, "/"), asked, slis)
	})
}

// answerCheck answers for a single check.
func answerCheck(w http.ResponseWriter, r *http.Request, asked []Check, name string) {
	i := slices.IndexFunc(asked, func(c Check) bool { return c.Name == name })
	if i < 0 {
		http.Error(w, "404 page not found", http.StatusNotFound)
		return
	}
	if err := asked[i].Run(r.Context()); err != nil {
		http.Error(w, fmt.Sprintf("internal server error: %v", err), http.StatusInternalServerError)
		return
	}
	fmt.Fprint(w, "ok")
}

// answerChecks runs all checks of an end point.
func answerChecks(w http.ResponseWriter, r *http.Request, point string, asked []Check, slis *SLIs) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	query := r.URL.Query()
	excluded := query["exclude"]
	var text bytes.Buffer
	failed := false
	for _, c := range asked {
		if slices.Contains(excluded, c.Name) {
			excluded = slices.DeleteFunc(slices.Clone(excluded), func(x string) bool { return x == c.Name })
			fmt.Fprintf(&text, "[+]%s excluded: ok\n", c.Name)
			continue
		}
		err := c.Run(r.Context())
		slis.note(c.Name, point, err)
		if err != nil {
			failed = true
			fmt.Fprintf(&text, "[-]%s failed: reason withheld\n", c.Name)
			continue
		}
		fmt.Fprintf(&text, "[+]%s ok\n", c.Name)
	}
	if len(excluded) > 0 {
		fmt.Fprintf(&text, "warn: some health checks cannot be excluded: no matches for %s\n", quoted(excluded))
	}
	_, verbose := query["verbose"]
	switch {
	case failed:
		http.Error(w, text.String()+point+" check failed", http.StatusInternalServerError)
	case verbose:
		fmt.Fprintf(w, "%s%s check passed\n", text.String(), point)
	default:
		fmt.Fprint(w, "ok")
	}
}

func quoted(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(out, ", ")
}
