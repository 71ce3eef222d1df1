package test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/knarr-dev/knarr/test/cluster"
)

// users writes a file of static tokens: each user's is the name.
func users(t *testing.T, names map[string]string) (flag string) {
	t.Helper()
	var lines strings.Builder
	for name, groups := range names {
		fmt.Fprintf(&lines, "%s,%s,uid-of-%s,%q\n", name, name, name, groups)
	}
	path := filepath.Join(t.TempDir(), "tokens.csv")
	if err := os.WriteFile(path, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return "--token-auth-file=" + path
}

// openTo starts an API server on which everybody who is known may do everything.
func openTo(t *testing.T, flags ...string) *cluster.Cluster {
	t.Helper()
	c := cluster.Start(t, "apiserver", flags...)
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "open"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "system:authenticated"}}}
	if _, err := clientset(t, c, formats()["json"]).RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return c
}

// as is a client of a user from such a file.
func as(t *testing.T, c *cluster.Cluster, user string) *kubernetes.Clientset {
	t.Helper()
	return clientOf(t, &rest.Config{Host: c.URL, BearerToken: user, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAFile: c.CAFile}})
}

// fill makes so many ConfigMaps of so many bytes.
func fill(t *testing.T, c *cluster.Cluster, n, bytes int) {
	t.Helper()
	client := clientset(t, c, formats()["protobuf"])
	data := map[string]string{"x": strings.Repeat("0123456789abcdef", bytes/16)}
	many(t, n, func(i int) error {
		_, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("c-", i)}, Data: data}, metav1.CreateOptions{})
		return err
	})
}

// greed lists all ConfigMaps in so many requests at a time until ctx ends, and counts what it is answered.
func greed(ctx context.Context, c *cluster.Cluster, token string, requests int) (answers map[int]int) {
	pool := c.Client().Transport.(*http.Transport)
	pool.MaxConnsPerHost = 20
	client := &http.Client{Transport: pool}
	defer pool.CloseIdleConnections()
	answers = map[int]int{}
	var mu sync.Mutex
	var group sync.WaitGroup
	for range requests {
		group.Go(func() {
			for ctx.Err() == nil {
				code := ask(ctx, client, c.URL+"/api/v1/configmaps", token)
				mu.Lock()
				answers[code]++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return answers
}

// ask returns the status of an answer once it has come as a whole; 0 if it has not.
func ask(ctx context.Context, client *http.Client, url, token string) int {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0
	}
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := client.Do(r)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0
	}
	return answer.StatusCode
}

// steadily does something again and again until ctx ends, and counts how often. The first error is the test's.
func steadily(ctx context.Context, t *testing.T, group *sync.WaitGroup, what string, do func(context.Context) error) (times, slowest *atomic.Int64) {
	times, slowest = new(atomic.Int64), new(atomic.Int64)
	group.Go(func() {
		for ctx.Err() == nil {
			start := time.Now()
			if err := do(context.WithoutCancel(ctx)); err != nil {
				t.Errorf("%s, after %d times: %v", what, times.Load(), err)
				return
			}
			times.Add(1)
			slowest.Store(max(slowest.Load(), int64(time.Since(start))))
		}
	})
	return times, slowest
}

// TestAGreedyClientStarvesNobody floods a small server with expensive lists of one user.
func TestAGreedyClientStarvesNobody(t *testing.T) {
	c := openTo(t, "--max-requests-inflight=20", "--max-mutating-requests-inflight=10",
		users(t, map[string]string{"greedy": "readers", "modest": "readers", "system:node:n1": "system:nodes"}))
	fill(t, c, 1000, 3000)
	node, master, modest := as(t, c, "system:node:n1"), clientset(t, c, formats()["json"]), as(t, c, "modest")
	leases := node.CoordinationV1().Leases("kube-node-lease")
	now := metav1.NowMicro()
	if _, err := leases.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var group sync.WaitGroup
	var answers map[int]int
	group.Go(func() { answers = greed(ctx, c, "greedy", 500) })
	beats, slowBeat := steadily(ctx, t, &group, "a node's heartbeat", func(ctx context.Context) error {
		lease, err := leases.Get(ctx, "n1", metav1.GetOptions{})
		if err != nil {
			return err
		}
		lease.Spec.RenewTime = &now
		_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		return err
	})
	looks, slowLook := steadily(ctx, t, &group, "a master's list", func(ctx context.Context) error {
		_, err := master.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{Limit: 10})
		return err
	})
	others, slowOther := steadily(ctx, t, &group, "another user of the same level", func(ctx context.Context) error {
		_, err := modest.CoreV1().ConfigMaps("default").Get(ctx, "c-1", metav1.GetOptions{})
		return err
	})
	group.Wait()
	t.Logf("greedy: %v; heartbeats: %d, slowest %v; master: %d, %v; another user: %d, %v", answers, beats.Load(), time.Duration(slowBeat.Load()),
		looks.Load(), time.Duration(slowLook.Load()), others.Load(), time.Duration(slowOther.Load()))
	if answers[200] == 0 {
		t.Error("the greedy client itself was not served")
	}
	for what, times := range map[string]int64{"heartbeats": beats.Load(), "master's lists": looks.Load(), "requests of another user": others.Load()} {
		if times < 5 {
			t.Errorf("%d %s in 5 s", times, what)
		}
	}
}

// TestClassificationFollowsItsObjectsAtOnce changes the configuration; the next request is classified by it.
func TestClassificationFollowsItsObjectsAtOnce(t *testing.T) {
	c := openTo(t, users(t, map[string]string{"visitor": "visitors"}))
	admin, ctx := clientset(t, c, formats()["json"]).FlowcontrolV1(), t.Context()
	classified := func() [2]string {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+"/api/v1/configmaps", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer visitor")
		answer, err := c.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		return [2]string{answer.Header.Get("X-Kubernetes-Pf-Flowschema-Uid"), answer.Header.Get("X-Kubernetes-Pf-Prioritylevel-Uid")}
	}
	before := classified()
	level, err := admin.PriorityLevelConfigurations().Create(ctx, &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "visits"},
		Spec: flowcontrolv1.PriorityLevelConfigurationSpec{Type: flowcontrolv1.PriorityLevelEnablementLimited, Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
			LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	schema, err := admin.FlowSchemas().Create(ctx, &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: "visitors"}, Spec: flowcontrolv1.FlowSchemaSpec{
		PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: "visits"}, MatchingPrecedence: 50,
		Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
			Subjects: []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindGroup, Group: &flowcontrolv1.GroupSubject{Name: "visitors"}}},
			ResourceRules: []flowcontrolv1.ResourcePolicyRule{{Verbs: []string{"list"}, APIGroups: []string{""}, Resources: []string{"configmaps"},
				ClusterScope: true, Namespaces: []string{"*"}}},
		}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := classified(), [2]string{string(schema.UID), string(level.UID)}; got != want {
		t.Errorf("with a schema of its own, a request is classified as %v, want %v", got, want)
	}
	if err := admin.PriorityLevelConfigurations().Delete(ctx, "visits", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := classified(); got != before {
		t.Errorf("with a schema that leads nowhere: %v, want %v", got, before)
	}
}

// TestWatchesHoldNoSeats opens many more watches than there are seats.
func TestWatchesHoldNoSeats(t *testing.T) {
	c := openTo(t, "--max-requests-inflight=10", "--max-mutating-requests-inflight=5",
		users(t, map[string]string{"watcher": "people"}))
	fill(t, c, 100, 1000)
	client := as(t, c, "watcher")
	many(t, 200, func(i int) error {
		w, err := client.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		t.Cleanup(w.Stop)
		for range 100 {
			if _, ok := <-w.ResultChan(); !ok {
				return fmt.Errorf("watch %d ended before it had shown all there is", i)
			}
		}
		return nil
	})
	dump, err := clientset(t, c, formats()["json"]).Discovery().RESTClient().Get().AbsPath("/debug/api_priority_and_fairness/dump_requests").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(dump), "\n"); lines != 2 { // the head, and this request
		t.Errorf("beside 200 watches there are at the gate:\n%s", dump)
	}
}

// TestTheGateShowsItself reads what clients, people and metrics see of priority and fairness.
func TestTheGateShowsItself(t *testing.T) {
	c := cluster.Start(t, "apiserver", "--max-requests-inflight=400")
	client := clientset(t, c, formats()["json"])
	schemas, err := client.FlowcontrolV1().FlowSchemas().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	uids := map[string]string{}
	for _, s := range schemas.Items {
		uids[s.Name] = string(s.UID)
	}
	answer, err := c.Client().Get(c.URL + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if got := answer.Header.Get("X-Kubernetes-Pf-Flowschema-Uid"); got == "" || got != uids["probes"] {
		t.Errorf("a probe is classified as %q, want %q", got, uids["probes"])
	}
	for path, want := range map[string]string{
		"/debug/api_priority_and_fairness/dump_priority_levels": "workload-high,",
		"/debug/api_priority_and_fairness/dump_queues":          "workload-high,     127,",
		"/debug/api_priority_and_fairness/dump_requests":        "exempt,            exempt,         -1,",
		"/metrics": `apiserver_flowcontrol_nominal_limit_seats{priority_level="workload-low"} 245`,
	} {
		body, err := client.Discovery().RESTClient().Get().AbsPath(path).DoRaw(t.Context())
		if err != nil {
			t.Errorf("%s: %v", path, err)
		} else if !strings.Contains(string(body), want) {
			t.Errorf("%s does not show %q:\n%.2000s", path, want, body)
		}
	}
}

// TestLimitsWithoutPriorityAndFairness holds every seat with bodies that do not come.
func TestLimitsWithoutPriorityAndFairness(t *testing.T) {
	c := openTo(t, "--enable-priority-and-fairness=false", "--max-mutating-requests-inflight=5",
		users(t, map[string]string{"writer": "writers"}))
	tc := adminTLS(t, c)
	tc.NextProtos = []string{"http/1.1"}
	for range 5 {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(c.URL, "https://"), tc)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	}
	eventually(t, "the writers' places to be taken", func() bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL+"/api/v1/namespaces/default/configmaps", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer writer")
		answer, err := c.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		return answer.StatusCode == http.StatusTooManyRequests && answer.Header.Get("Retry-After") == "1" &&
			string(body) == "Too many requests, please try again later.\n" && answer.Header.Get("X-Kubernetes-Pf-Flowschema-Uid") == ""
	})
	if code := ask(t.Context(), c.Client(), c.URL+"/api/v1/configmaps", "writer"); code != http.StatusOK {
		t.Errorf("a reader gets %d", code)
	}
	if _, err := clientset(t, c, formats()["json"]).CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "m"}}, metav1.CreateOptions{}); err != nil {
		t.Errorf("a master's write: %v", err)
	}
}
