package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/server"
)

func TestWhoMayAskAPart(t *testing.T) {
	t.Parallel()
	s, config := startAPI(t)
	admin := adminOf(t, s)
	x, terms := newSpells(t, s, schedulerPart(&schedulerOptions{}), "x", newGathering(admin, time.Minute))
	front := defaultServing(0)
	front.BindAddress = net.IPv4(127, 0, 0, 1)
	listener, err := front.listen()
	if err != nil {
		t.Fatal(err)
	}
	shown, authorities := s.Parts()
	x.door = &door{serving: front, listener: listener, shown: shown,
		trust: auth.Delegation{Tokens: x.own(), Access: x.own(), Authorities: authorities}}
	pki := filepath.Join(config.DataDir, "pki")
	proxies, err := auth.OpenBundle(filepath.Join(pki, "front-proxy-ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	believed := server.DefaultProxy()
	if x.door.trust.Proxy, err = believed.Open(proxies); err != nil {
		t.Fatal(err)
	}
	stop, ended := keepUntil(t, x)
	one := next(t, terms)
	t.Cleanup(func() {
		stop()
		one.end <- nil
		within(t, "the part ends", ended)
	})

	token := func(account string) string {
		t.Helper()
		accounts := admin.CoreV1().ServiceAccounts(metav1.NamespaceDefault)
		if _, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		made, err := accounts.CreateToken(t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return made.Status.Token
	}
	anybody, monitor := token("anybody"), token("monitor")
	_, err = admin.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "monitor"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:monitoring"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: metav1.NamespaceDefault, Name: "monitor"}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	frontProxy, err := tls.LoadX509KeyPair(filepath.Join(pki, "front-proxy-client.crt"), filepath.Join(pki, "front-proxy-client.key"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := tls.LoadX509KeyPair(filepath.Join(pki, "admin.crt"), filepath.Join(pki, "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := auth.SelfSigned("kubernetes-admin")
	if err != nil {
		t.Fatal(err)
	}
	stranger, _ := foreign.Get(nil) // it has one

	for _, c := range []struct {
		rule, path, token string
		names             string // whom a header names
		certificate       *tls.Certificate
		code              int
		says              string
	}{
		{rule: "anybody may ask for its health", path: "/healthz", code: 200, says: "ok"},
		{rule: "and whether it lives", path: "/livez", code: 200, says: "ok"},
		{rule: "and whether it is ready, with the checks", path: "/readyz?verbose", code: 200, says: "[+]leaderElection ok\n[+]informer-sync ok\n"},
		{rule: "but not for one check", path: "/healthz/ping", code: 403},
		{rule: "nor for metrics", path: "/metrics", code: 403, says: `"message":"forbidden: User \"system:anonymous\" cannot get path \"/metrics\""`},
		{rule: "a token that nobody knows", path: "/metrics", token: "made up", code: 401, says: `"reason":"Unauthorized"`},
		{rule: "a wrong token does not get what none gets", path: "/healthz", token: "made up", code: 401},
		{rule: "a user without the right", path: "/metrics", token: anybody, code: 403, says: "system:serviceaccount:default:anybody"},
		{rule: "a user with the right", path: "/metrics", token: monitor, code: 200, says: `leader_election_master_status{name="kube-scheduler"} 1`},
		{rule: "and what came of the checks", path: "/metrics/slis", token: monitor, code: 200, says: `kubernetes_healthcheck{name="leaderElection",type="readyz"} 1`},
		{rule: "and with that one only", path: "/configz", token: monitor, code: 403},
		{rule: "a certificate of the cluster's authority", path: "/configz", certificate: &own, code: 200, says: `{"componentconfig":`},
		{rule: "whom the front proxy names", path: "/configz", certificate: &frontProxy, names: "somebody", code: 403, says: `User \"somebody\"`},
		{rule: "and nobody else is believed", path: "/configz", names: "kubernetes-admin", code: 403, says: `User \"system:anonymous\"`},
		{rule: "a check by its name", path: "/readyz/informer-sync", certificate: &own, code: 200, says: "ok"},
		{rule: "a path that there is not", path: "/nothing", certificate: &own, code: 404},
		{rule: "profiles, where they are not served", path: "/debug/pprof/", certificate: &own, code: 404},
		{rule: "a certificate of somebody else", path: "/healthz", certificate: stranger, code: 401},
	} {
		t.Run(c.rule, func(t *testing.T) {
			tlsConfig := &tls.Config{RootCAs: authorities.Pool()}
			if c.certificate != nil {
				tlsConfig.Certificates = []tls.Certificate{*c.certificate}
			}
			transport := &http.Transport{TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true}
			defer transport.CloseIdleConnections()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, urlOf(listener)+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.token != "" {
				r.Header.Set("Authorization", "Bearer "+c.token)
			}
			if c.names != "" {
				r.Header.Set("X-Remote-User", c.names)
			}
			answer, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != c.code || !strings.Contains(string(body), c.says) {
				t.Errorf("%d, want %d and %q:\n%s", answer.StatusCode, c.code, c.says, body)
			}
		})
	}
}

// TestInformersBeginAfterTheLease is about who shares informers with whom.
func TestInformersBeginAfterTheLease(t *testing.T) {
	t.Parallel()
	s, _ := startAPI(t)
	g := newGathering(adminOf(t, s), time.Minute)
	type joined struct {
		informers any
		leave     func()
	}
	join := func(part string) <-chan joined {
		got := make(chan joined, 1)
		go func() {
			i, leave := g.join(t.Context(), part)
			got <- joined{i, leave}
		}()
		return got
	}
	take := func(from <-chan joined) joined {
		t.Helper()
		select {
		case j := <-from:
			return j
		case <-time.After(patience):
			t.Fatalf("nobody begins within %v", patience)
			return joined{}
		}
	}
	g.stands("a")
	g.stands("b")
	first := join("a")
	select {
	case <-first:
		t.Error("who has won does not wait for who is about to")
	case <-time.After(50 * time.Millisecond):
	}
	guest := make(chan joined, 2)
	attend := func() {
		i, leave := g.attend(t.Context())
		guest <- joined{i, leave}
	}
	go attend() // beside those who wait
	second := join("b")
	a, b := take(first), take(second)
	if a.informers != b.informers {
		t.Error("two that come at once do not share")
	}
	go attend() // beside those who work
	for range 2 {
		reader := take(guest)
		if reader.informers != a.informers {
			t.Error("who holds no lease does not take what there is")
		}
		reader.leave()
	}
	late := take(join("c")) // a and b are at work
	if late.informers == a.informers {
		t.Error("who comes late reads what was there before")
	}
	g.stands("d")
	g.stands("e")
	waiting := join("d")
	g.passes("e") // another replica leads
	alone := take(waiting)
	alone.leave()
	g.limit = time.Millisecond
	g.stands("e")
	take(join("d")).leave() // e does not come
	g.passes("e")
	informers := a.informers.(*gathered)
	a.leave()
	if informers.life.Err() != nil {
		t.Error("informers end although they are read")
	}
	b.leave()
	if informers.life.Err() == nil {
		t.Error("informers go on although nobody reads them")
	}
	late.leave()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, leave := g.join(gone, "a")
	leave()
	if g.next != nil {
		t.Error("who did not wait is waited for")
	}
}

func TestAPortThatIsTaken(t *testing.T) {
	front := defaultServing(0)
	front.BindAddress = net.IPv4(127, 0, 0, 1)
	taken, err := front.listen()
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	front.Port = taken.Addr().(*net.TCPAddr).Port
	if _, err := front.listen(); err == nil || !strings.Contains(err.Error(), "--secure-port") {
		t.Errorf("%v, want a word on what to do", err)
	}
	other, err := front.listenAnywhere()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if urlOf(other) == urlOf(taken) {
		t.Error("two listen on one port")
	}
}

func TestServingIsChecked(t *testing.T) {
	for rule, change := range map[string]func(*serving){
		"a port that cannot be":       func(s *serving) { s.Port = 70000 },
		"a certificate without a key": func(s *serving) { s.CertFile = "x.crt" },
	} {
		front := defaultServing(10259)
		change(&front)
		if front.check() == nil {
			t.Errorf("%s is accepted", rule)
		}
	}
}
