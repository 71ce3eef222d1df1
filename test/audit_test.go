package test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/knarr-dev/knarr/test/cluster"
)

// audited is a request whose events are compared.
type audited struct {
	method, path string
	body         string
	header       map[string]string // besides the admin's token and a JSON body's Content-Type
}

const inDefault = "/api/v1/namespaces/default/"

// auditedRequests cover what an event can hold.
func auditedRequests() []audited {
	media := func(accept string) map[string]string { return map[string]string{"Accept": accept} }
	content := func(kind string) map[string]string { return map[string]string{"Content-Type": kind} }
	token := func(t string) map[string]string { return map[string]string{"Authorization": t} }
	merge := content("application/merge-patch+json")
	return []audited{
		{"POST", inDefault + "secrets", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s1","labels":{"a":"b"}},"stringData":{"k":"v"}}`, nil},
		{"POST", inDefault + "configmaps", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  generateName: gen-\ndata: {a: b}\n", content("application/yaml")},
		{"POST", "/api/v1/namespaces", `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n1"}}`, nil},
		{"PATCH", inDefault + "secrets/s1", `{"metadata":{"labels":{"x":"y"}}}`, merge},
		{"PATCH", inDefault + "serviceaccounts/applied?fieldManager=me", `{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"applied"}}`, content("application/apply-patch+yaml")},
		{"GET", inDefault + "secrets/s1", "", nil},
		{"GET", inDefault + "configmaps?labelSelector=none%3Dx", "", nil},
		{"GET", "/api/v1/namespaces/n1/secrets", "", media("application/json;as=Table;v=v1;g=meta.k8s.io")},
		{"GET", inDefault + "secrets", "", media("application/vnd.kubernetes.protobuf")},
		{"GET", inDefault + "secrets/none", "", media("application/vnd.kubernetes.protobuf")},
		{"GET", inDefault + "secrets/none", "", nil},
		{"GET", inDefault + "secrets/s1", "", media("application/yaml")},
		{"GET", inDefault + "secrets/s1", "", media("application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")},
		{"DELETE", inDefault + "serviceaccounts/applied?gracePeriodSeconds=3", "", nil},
		{"GET", inDefault + "secrets?watch=1&timeoutSeconds=1", "", nil},
		{"GET", inDefault + "secrets?watch=1&fieldSelector=foo%3Dbar", "", nil},
		{"GET", inDefault + "secrets", "", token("Bearer wrong")},
		{"GET", inDefault + "secrets", "", token("")},
		{"GET", inDefault + "secrets?watch=1", "", token("")},
		{"GET", inDefault + "secrets", "", map[string]string{"Impersonate-User": "alice", "Impersonate-Group": "g1", "Impersonate-Extra-Ship": "knarr"}},
		{"GET", "/apis", "", map[string]string{"Impersonate-User": "alice"}},
		{"GET", "/version", "", nil},
		{"GET", "/readyz", "", nil},
		{"GET", "/nothing", "", nil},
		{"GET", "/api/v1/nothing", "", nil},
		{"GET", inDefault + "secrets?timeout=abc", "", nil},
		{"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", `{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}`, nil},
		{"POST", inDefault + "serviceaccounts/nobody/token", `{}`, nil},
		{"GET", "/api/v1/namespaces/n1/endpoints", "", nil},
		{"POST", inDefault + "secrets", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"Bad Name"}}`, nil},
		{"POST", inDefault + "secrets", `{broken`, nil},
		{"PUT", "/api/v1/namespaces/n1", `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n1","resourceVersion":"1"}}`, nil},
		{"DELETE", inDefault + "secrets", "", nil},
		{"GET", inDefault + "secrets?limit=abc", "", nil},
		{"HEAD", inDefault + "secrets", "", nil},
		{"OPTIONS", inDefault + "secrets", "", nil},
		{"GET", "/api/v1/namespaces/n1/serviceaccounts?fieldSelector=metadata.name%3Dx", "", media("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")},
		{"POST", "/apis/apps/v1/namespaces/default/deployments", `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d1"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`, nil},
		{"PUT", "/apis/apps/v1/namespaces/default/deployments/d1/scale", `{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"d1","namespace":"default"},"spec":{"replicas":3}}`, nil},
		{"PATCH", "/apis/apps/v1/namespaces/default/deployments/d1/scale", `{"spec":{"replicas":2}}`, merge},
		{"GET", "/apis/apps/v1/namespaces/default/deployments/d1/scale", "", nil},
		{"GET", "/apis/apps/v1/namespaces/default/deployments", "", media("application/vnd.kubernetes.protobuf")},
		{"GET", "/api/v1/nodes/none/proxy/healthz", "", nil},
		{"POST", inDefault + "pods/none/exec?command=x", "", nil},
		{"GET", inDefault + "pods/none/log", "", nil},
		{"POST", "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers", `{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","metadata":{"name":"h"},"spec":{"maxReplicas":3,"scaleTargetRef":{"kind":"Deployment","name":"d","apiVersion":"apps/v1"}}}`, nil},
		{"DELETE", "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers/h", "", nil},
		{"GET", "/api/v1/namespaces/default", "", map[string]string{"User-Agent": strings.Repeat("x", 1200)}},
		{"GET", "/api/v1/namespaces/default", "", map[string]string{"X-Forwarded-For": "1.2.3.4, 5.6.7.8"}},
		{"POST", inDefault + "pods?dryRun=All&fieldManager=me", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}}`, nil},
	}
}

// TestAuditEventsAreThoseOfKubeAPIServer compares, for each request, the events of knarr with those that kube-apiserver
// 1.36.3 has recorded under the same policy. To record anew, start a reference with --audit-policy-file=testdata/audit-policy.yaml
// --audit-log-path=LOG and --disable-admission-plugins=ServiceAccount on an empty etcd, and run the test with REFERENCE=URL and REFERENCE_AUDIT_LOG=LOG.
func TestAuditEventsAreThoseOfKubeAPIServer(t *testing.T) {
	const recorded = "testdata/audit-1.36.3.jsonl.gz"
	if url := os.Getenv("REFERENCE"); url != "" {
		record(t, recorded, auditEvents(t, url, os.Getenv("REFERENCE_AUDIT_LOG")))
		return
	}
	want := readRecorded(t, recorded)
	log := filepath.Join(t.TempDir(), "audit.log")
	c := cluster.Start(t, "apiserver", "--token-auth-file=gold/tokens.csv", "--audit-policy-file=testdata/audit-policy.yaml", "--audit-log-path="+log,
		"--disable-admission-plugins=ServiceAccount") // there is nobody who makes accounts
	got := auditEvents(t, c.URL, log)
	if len(want) != len(got) {
		t.Fatalf("%d requests are recorded, %d made", len(want), len(got))
	}
	for i, r := range auditedRequests() {
		if d := cmp.Diff(want[i], got[i]); d != "" {
			t.Errorf("%s %s: - kube-apiserver, + knarr\n%s", r.method, r.path, d)
		}
	}
}

// auditEvents makes the requests and returns the events that the log has of each.
func auditEvents(t *testing.T, url, log string) [][]map[string]any {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	requests := auditedRequests()
	for i, r := range requests {
		request, err := http.NewRequestWithContext(t.Context(), r.method, url+r.path, strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range map[string]string{"Authorization": "Bearer gold-admin-token", "User-Agent": "audited", "Audit-ID": fmt.Sprint("audited-", i)} {
			request.Header.Set(k, v)
		}
		if r.body != "" {
			request.Header.Set("Content-Type", "application/json")
		}
		for k, v := range r.header {
			request.Header.Set(k, v)
			if v == "" {
				request.Header.Del(k)
			}
		}
		answer, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
	events := make([][]map[string]any, len(requests))
	eventually(t, "the last event is in the log", func() bool {
		clear(events)
		readEvents(t, log, events)
		last := events[len(events)-1]
		return len(last) > 0 && last[len(last)-1]["stage"] == "ResponseComplete"
	})
	return events
}

// readEvents reads those events of a log that are of audited requests.
func readEvents(t *testing.T, log string, into [][]map[string]any) {
	t.Helper()
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		var event map[string]any
		var i int
		if json.Unmarshal(line, &event) != nil {
			return // half a line
		}
		if _, err := fmt.Sscanf(fmt.Sprint(event["auditID"]), "audited-%d", &i); err == nil {
			into[i] = append(into[i], timeless(event))
		}
	}
}

// timeless is an event without what differs from run to run.
func timeless(event map[string]any) map[string]any {
	for _, field := range []string{"auditID", "stageTimestamp", "requestReceivedTimestamp"} {
		delete(event, field)
	}
	if object, ok := event["responseObject"].(map[string]any); ok && strings.HasPrefix(fmt.Sprint(object["kind"]), "API") {
		event["responseObject"] = object["kind"] // discovery has tests of its own
	}
	annotations, _ := event["annotations"].(map[string]any)
	maps.DeleteFunc(annotations, func(k string, _ any) bool { return strings.HasPrefix(k, "apiserver.latency.k8s.io/") })
	return masked("", event).(map[string]any)
}

func masked(key string, value any) any {
	switch v := value.(type) {
	case map[string]any:
		for k := range v {
			v[k] = masked(k, v[k])
		}
	case []any:
		for i := range v {
			v[i] = masked("", v[i])
		}
	case string:
		switch {
		case v == "":
		case key == "uid", key == "resourceVersion", key == "creationTimestamp", strings.HasPrefix(v, "kube-api-access-"):
			return "X"
		case key == "name" && strings.HasPrefix(v, "gen-"):
			return "gen-X"
		}
	}
	return value
}

func record(t *testing.T, path string, events [][]map[string]any) {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	for _, e := range events {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(z, "%s\n", line)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readRecorded(t *testing.T, path string) (events [][]map[string]any) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e []map[string]any
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

// TestEventsThatWaitAreWrittenWhenTheServerStops leaves an event in the buffer of mode batch.
func TestEventsThatWaitAreWrittenWhenTheServerStops(t *testing.T) {
	log := filepath.Join(t.TempDir(), "audit.log")
	c := cluster.Start(t, "apiserver", "--audit-policy-file=testdata/audit-policy.yaml", "--audit-log-path="+log,
		"--audit-log-mode=batch", "--audit-log-batch-max-size=1000", "--audit-log-batch-max-wait=1h")
	answer, err := c.Client().Get(c.URL + "/version?one")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	before, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	c.Stop()
	after, err := os.ReadFile(log)
	if err != nil || bytes.Contains(before, []byte("/version?one")) || !bytes.Contains(after, []byte("/version?one")) {
		t.Errorf("%v\nbefore: %s\nafter: %s", err, before, after)
	}
}

func TestABrokenAuditPolicyStopsTheStart(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	rewrite(t, policy, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Lots\n")
	out, err := exec.CommandContext(t.Context(), cluster.Binary(t, "knarr"), "apiserver", "--data-dir="+t.TempDir(), "--audit-policy-file="+policy, "--audit-log-path=-").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--audit-policy-file: "+policy+`:4: rules[0].level: Unsupported value: "Lots"`) {
		t.Errorf("%v: %s", err, out)
	}
}

// TestAWebhookGetsEvents sends events to a service that refuses the first batch.
func TestAWebhookGetsEvents(t *testing.T) {
	var refused atomic.Bool
	events := make(chan auditv1.Event, 1000)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var list auditv1.EventList
		if err := json.NewDecoder(r.Body).Decode(&list); err != nil || refused.CompareAndSwap(false, true) {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		for _, e := range list.Items {
			events <- e
		}
	}))
	defer service.Close()
	config := filepath.Join(t.TempDir(), "webhook.yaml")
	rewrite(t, config, "apiVersion: v1\nkind: Config\nclusters: [{name: s, cluster: {server: '"+service.URL+"'}}]\ncontexts: [{name: s, context: {cluster: s}}]\ncurrent-context: s\n")
	c := cluster.Start(t, "apiserver", "--audit-policy-file=testdata/audit-policy.yaml", "--audit-webhook-config-file="+config,
		"--audit-webhook-batch-max-wait=20ms", "--audit-webhook-initial-backoff=20ms")
	answer, err := c.Client().Get(c.URL + "/version?one")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	c.Stop() // which sends what waits
	for len(events) > 0 {
		if e := <-events; e.RequestURI == "/version?one" && e.Stage == auditv1.StageResponseComplete {
			return
		}
	}
	t.Errorf("the event has not arrived; refused once: %v", refused.Load())
}
