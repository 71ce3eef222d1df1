package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/knarr-dev/knarr/registry"
)

// memory is a sink that keeps batches as texts.
type memory struct {
	mu      sync.Mutex
	batches []string
	fail    error
	closed  bool
}

func (m *memory) send(_ context.Context, events [][]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail == nil {
		m.batches = append(m.batches, string(bytes.Join(events, []byte(" "))))
	}
	return m.fail
}

// sent are the batches so far.
func (m *memory) sent() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.batches
}

func (m *memory) close() error { m.closed = true; return nil }

// logOf is a Log that records everything at a level.
func logOf(level auditv1.Level, d Delivery, s sink) *Log {
	l := &Log{policy: newPolicy(&auditv1.Policy{OmitManagedFields: true, Rules: []auditv1.PolicyRule{{Level: level}}}),
		counts: newCounts(), log: slog.New(slog.DiscardHandler)}
	l.add("log", s, &d, false, 1)
	return l
}

func TestAFullBufferGivesUpItsOldestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l := logOf("Metadata", Delivery{Mode: modeBatch, BufferSize: 3, BatchSize: 10, BatchWait: time.Minute}, m)
		for i := range 5 {
			l.backends[0].buffer.put(fmt.Append(nil, i))
		}
		if len(m.sent()) != 0 {
			t.Error("sent before its time")
		}
		time.Sleep(time.Minute + time.Second)
		if fmt.Sprint(m.sent()) != "[2 3 4]" || testutil.ToFloat64(l.counts.errors.WithLabelValues("buffered")) != 2 {
			t.Errorf("%v", m.sent())
		}
		l.backends[0].buffer.put([]byte("last"))
		l.Close(t.Context())
		if fmt.Sprint(m.sent()) != "[2 3 4 last]" || !m.closed {
			t.Errorf("after Close: %v", m.sent())
		}
	})
}

func TestAWholeBatchIsSentAtOnceAndThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l := logOf("Metadata", Delivery{Mode: modeBatch, BufferSize: 9, BatchSize: 2, BatchWait: time.Hour, Throttle: true, QPS: 1, Burst: 1}, m)
		for i := range 4 {
			l.backends[0].buffer.put(fmt.Append(nil, i))
		}
		synctest.Wait()
		if len(m.sent()) != 1 {
			t.Errorf("at once: %q", m.sent())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(m.sent()) != 2 {
			t.Errorf("a second later: %q", m.sent())
		}
		l.Close(t.Context())
	})
}

func TestOnlyAStrictBackendRefusesRequests(t *testing.T) {
	for mode, refuses := range map[string]bool{modeBlocking: false, modeStrict: true} {
		l := logOf("Metadata", Delivery{Mode: mode}, &memory{fail: errors.New("disk full")})
		rec := l.Begin(httptest.NewRequest("GET", "/version", nil), time.Now(), &registry.Attributes{Path: "/version"})
		if err := rec.Receive(); (err != nil) != refuses {
			t.Errorf("%s: %v", mode, err)
		}
		if n := testutil.ToFloat64(l.counts.errors.WithLabelValues("log")); n != 1 {
			t.Errorf("%s: %v errors counted", mode, n)
		}
	}
}

func TestLargeEventsLoseTheirObjectsAndLargeBatchesAreDivided(t *testing.T) {
	m := &memory{}
	l := logOf("RequestResponse", Delivery{Mode: modeBlocking, Truncate: true, MaxEventBytes: 700, MaxBatchBytes: 1000}, m)
	rec := l.Begin(httptest.NewRequest("POST", "/api", nil), time.Now(), &registry.Attributes{ResourceRequest: true, Resource: "pods"})
	rec.Identify("id", map[string]string{"a": "b"})
	large := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "p", Annotations: map[string]string{"x": strings.Repeat("x", 700)}}}
	rec.Sent(large, func() ([]byte, error) { return json.Marshal(large) })
	if err := rec.Receive(); err != nil {
		t.Fatal(err)
	}
	var ev auditv1.Event
	if err := json.Unmarshal([]byte(m.batches[0]), &ev); err != nil {
		t.Fatal(err)
	}
	if ev.RequestObject != nil || ev.Annotations["audit.k8s.io/truncated"] != "true" || ev.Annotations["a"] != "b" || ev.ObjectRef.Name != "p" {
		t.Errorf("%+v", ev)
	}
	if _, left := rec.event.Annotations["audit.k8s.io/truncated"]; left {
		t.Error("the annotation stays for the next stage")
	}
	part := bytes.Repeat([]byte("x"), 600)
	if err := l.backends[0].deliver(t.Context(), [][]byte{part, part, part[:300]}); err != nil || len(m.batches) != 3 {
		t.Errorf("%v, %d batches", err, len(m.batches))
	}
}

func TestAWebhookIsAskedAgainUntilItTakesABatch(t *testing.T) {
	var got []auditv1.EventList
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var list auditv1.EventList
		if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
			t.Error(err)
		}
		if got = append(got, list); len(got) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer service.Close()
	config := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: '" + service.URL + "/k8s'}}]\ncontexts: [{name: x, context: {cluster: c}}]\ncurrent-context: x\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	hook, err := openWebhook(&WebhookConfig{ConfigFile: config, InitialBackoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := hook.send(t.Context(), [][]byte{[]byte(`{"auditID":"1"}`), []byte(`{"auditID":"2"}`)}); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[2].Kind != "EventList" || len(got[2].Items) != 2 || got[2].Items[1].AuditID != "2" {
		t.Errorf("%+v", got)
	}
}

func TestFilesAreRotatedAndReadableByTheirOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	f, err := openFile(&LogConfig{Path: filepath.Join(dir, "audit.log"), Format: "json", MaxSize: 1, MaxBackups: 1})
	if err != nil {
		t.Fatal(err)
	}
	event := []byte(`{"a":"` + strings.Repeat("x", 600<<10) + `"}`)
	for range 3 {
		if err := f.send(t.Context(), [][]byte{event}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 2 {
		t.Fatalf("%v %v", files, err)
	}
	for _, one := range files {
		if info, err := one.Info(); err != nil || info.Mode().Perm() != 0o600 || info.Size() > 1<<20 {
			t.Errorf("%v %v", info, err)
		}
	}
}

func TestALegacyLineHasTheMainFacts(t *testing.T) {
	ev := &auditv1.Event{AuditID: "id", Stage: "ResponseComplete", Verb: "get", RequestURI: "/x", SourceIPs: []string{"::1"}, UserAgent: "curl",
		RequestReceivedTimestamp: metav1.NewMicroTime(time.Unix(0, 0).UTC()), ObjectRef: &auditv1.ObjectReference{Namespace: "n"},
		ResponseStatus: &metav1.Status{Code: 200}}
	ev.User.Username, ev.User.Groups = "u", []string{"a", "b"}
	got := string((&rendering{event: ev}).line())
	want := `1970-01-01T00:00:00Z AUDIT: id="id" stage="ResponseComplete" ip="::1" method="get" user="u" groups="\"a\",\"b\"" as="<self>" asgroups="<lookup>" user-agent="curl" namespace="n" uri="/x" response="200"`
	if got != want {
		t.Errorf("\n%s\n%s", got, want)
	}
}

func BenchmarkMetadata(b *testing.B) {
	f, err := openFile(&LogConfig{Path: filepath.Join(b.TempDir(), "audit.log"), Format: "json"})
	if err != nil {
		b.Fatal(err)
	}
	l := logOf("Metadata", Delivery{Mode: modeBlocking}, f)
	a := &registry.Attributes{ResourceRequest: true, Resource: "pods", Namespace: "n", Name: "p", Version: "v1", Verb: "get"}
	r := httptest.NewRequest("GET", "/api/v1/namespaces/n/pods/p", nil)
	w := httptest.NewRecorder()
	for b.Loop() {
		rec := l.Begin(r, time.Now(), a)
		rec.Identify("id", map[string]string{"authorization.k8s.io/decision": "allow"})
		_ = rec.Receive()
		out := rec.Writer(w, false, true)
		out.WriteHeader(200)
		rec.Complete(out, nil)
	}
}

func TestHalfAConfigurationSaysThatNothingIsRecorded(t *testing.T) {
	half := DefaultConfig()
	half.Log.Path = filepath.Join(t.TempDir(), "audit.log")
	for _, c := range []struct {
		config Config
		want   string
	}{{half, "--audit-policy-file"}, {DefaultConfig(), ""}} {
		var said strings.Builder
		if log, err := Open(c.config, slog.New(slog.NewTextHandler(&said, nil))); log != nil || err != nil {
			t.Fatal(log, err)
		}
		if !strings.Contains(said.String(), c.want) || c.want == "" && said.Len() > 0 {
			t.Errorf("said %q, want %q", said.String(), c.want)
		}
	}
}
