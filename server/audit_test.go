package server

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/server/audit"
)

// auditedBy serves one request by a handler behind the audit station and returns the last event.
func auditedBy(t *testing.T, next http.HandlerFunc) (ev auditv1.Event) {
	t.Helper()
	dir := t.TempDir()
	config := audit.DefaultConfig()
	config.PolicyFile, config.Log.Path = filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.log")
	config.Log.MaxSize = 0
	if err := os.WriteFile(config.PolicyFile, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{audit: log}
	defer s.closeAudit()
	r := httptest.NewRequest(http.MethodGet, "/version", nil)
	a := &asked{request: parseRequest(r), about: registry.Attributes{User: registry.User{Name: "u"}}, received: time.Now(), annotations: map[string]string{}, took: map[string]time.Duration{}}
	w := httptest.NewRecorder()
	w.Header().Set("Audit-Id", "id")
	func() {
		defer func() { _ = recover() }()
		s.recordAudit(next).ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, a)))
	}()
	text, err := os.ReadFile(config.Log.Path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &ev); err != nil {
		t.Fatal(err)
	}
	return ev
}

func TestAPanicIsTheLastStageOfItsRequest(t *testing.T) {
	ev := auditedBy(t, func(http.ResponseWriter, *http.Request) { panic("ahoy") })
	if ev.Stage != auditv1.StagePanic || ev.ResponseStatus.Code != 500 || ev.ResponseStatus.Message != "APIServer panic'd: ahoy" || ev.AuditID != "id" {
		t.Errorf("%+v", ev)
	}
}

func TestASlowRequestSaysWhereTheTimeWent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := auditedBy(t, func(w http.ResponseWriter, r *http.Request) {
			start := time.Now()
			time.Sleep(600 * time.Millisecond)
			askedOf(r).lasted("authorization", start)
		})
		got := slow.Annotations["apiserver.latency.k8s.io/total"] + " " + slow.Annotations["apiserver.latency.k8s.io/authorization"]
		if got != "600ms 600ms" || slow.ResponseStatus.Message != "Connection closed early" {
			t.Errorf("%s %+v", got, slow)
		}
		fast := auditedBy(t, func(w http.ResponseWriter, r *http.Request) { askedOf(r).annotate("a", "b") })
		if len(fast.Annotations) != 1 || fast.Annotations["a"] != "b" {
			t.Errorf("%v", fast.Annotations)
		}
	})
}

func TestWithoutAPolicyNothingStandsInTheWay(t *testing.T) {
	next := http.NewServeMux()
	if (&Server{}).recordAudit(next) != http.Handler(next) {
		t.Error("a station without a log")
	}
}
