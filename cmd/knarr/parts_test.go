package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/server"
)

// startAPI runs an API server in this process until the test ends.
func startAPI(t *testing.T) (*server.Server, *server.Config) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := server.DefaultConfig()
	config.DataDir, config.BindAddress, config.SecurePort = t.TempDir(), net.IPv4(127, 0, 0, 1), l.Addr().(*net.TCPAddr).Port
	l.Close()
	s, err := server.New(t.Context(), config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	up, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Run(ctx, func() { close(up) }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-up:
	case <-time.After(patience):
		t.Fatalf("the API server is not up after %v", patience)
	}
	return s, &config
}

func adminOf(t *testing.T, s *server.Server) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(inside{s, registry.User{Name: "admin", Groups: []string{"system:masters"}}}.own())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// quickly is an election that a test can wait for, with leases that are renewed even where a disk takes seconds to write.
func quickly() *election {
	e := defaultElection()
	e.Duration, e.Deadline, e.Retry = 6*time.Second, 5*time.Second, 100*time.Millisecond
	return &e
}

// patience is for how long tests wait for what happens at once, or when a lease has run out.
const patience = time.Minute

// spell is one term of a part in a test.
type spell struct {
	ctx context.Context
	end chan error // what the part's run returns
}

// newSpells is a part whose terms the test takes from the channel, and ends.
func newSpells(t *testing.T, s *server.Server, p part, identity string, g *gathering) (*station, chan spell) {
	t.Helper()
	spells := make(chan spell)
	p.run = func(ctx context.Context, _ *term) error {
		one := spell{ctx, make(chan error, 1)}
		spells <- one
		return <-one.end
	}
	x, err := newStation(p, inside{s, p.user}, quickly(), identity, g, newDesk(p, false), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return x, spells
}

// keepUntil runs a part until what it returns is called.
func keepUntil(t *testing.T, x *station) (stop func(), ended chan struct{}) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		x.keep(ctx)
	}()
	return stop, ended
}

func within(t *testing.T, what string, happens <-chan struct{}) {
	t.Helper()
	select {
	case <-happens:
	case <-time.After(patience):
		t.Fatalf("not within %v: %s", patience, what)
	}
}

func next(t *testing.T, spells chan spell) spell {
	t.Helper()
	select {
	case one := <-spells:
		return one
	case <-time.After(patience):
		t.Fatalf("no term begins within %v", patience)
		return spell{}
	}
}

func TestAPartThatLosesItsLeaseStopsAndStandsAgain(t *testing.T) {
	t.Parallel()
	s, _ := startAPI(t)
	admin := adminOf(t, s)
	g := newGathering(admin, time.Minute)
	loser, losers := newSpells(t, s, controllersPart(&controllersOptions{}), "loser", g)
	other, others := newSpells(t, s, schedulerPart(&schedulerOptions{}), "other", g)
	stopLoser, loserEnded := keepUntil(t, loser)
	stopOther, otherEnded := keepUntil(t, other)
	first, undisturbed := next(t, losers), next(t, others)
	if loser.desk.present.Load().term.informers != other.desk.present.Load().term.informers {
		t.Error("parts that win at once have informers of their own")
	}
	before := loser.desk.present.Load().term.informers

	leases := admin.CoordinationV1().Leases(metav1.NamespaceSystem)
	for { // the part renews it all the while
		held, err := leases.Get(t.Context(), "kube-controller-manager", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		held.Spec.HolderIdentity, held.Spec.RenewTime = ptr.To("a thief"), &metav1.MicroTime{Time: time.Now()}
		if _, err := leases.Update(t.Context(), held, metav1.UpdateOptions{}); err == nil {
			break
		}
	}
	within(t, "the work ends that the lease was for", first.ctx.Done())
	if held, err := leases.Get(t.Context(), "kube-controller-manager", metav1.GetOptions{}); err != nil || *held.Spec.HolderIdentity != "a thief" {
		t.Errorf("%v, %v: the thief's lease is touched", held, err)
	}
	first.end <- nil
	second := next(t, losers)
	if undisturbed.ctx.Err() != nil {
		t.Error("the other part is disturbed")
	}
	if now := loser.desk.present.Load().term.informers; now == before {
		t.Error("the new term reads informers that were there before it")
	}
	stopLoser()
	stopOther()
	within(t, "the term is told to end", second.ctx.Done())
	second.end <- nil
	undisturbed.end <- nil
	within(t, "the part ends", loserEnded)
	within(t, "the other part ends", otherEnded)
}

func TestALeaseIsGivenUpWhenTheWorkHasEnded(t *testing.T) {
	t.Parallel()
	s, _ := startAPI(t)
	admin := adminOf(t, s)
	holder := func() string {
		t.Helper()
		held, err := admin.CoordinationV1().Leases(metav1.NamespaceSystem).Get(t.Context(), "kube-scheduler", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return ptr.Deref(held.Spec.HolderIdentity, "")
	}
	leader, terms := newSpells(t, s, schedulerPart(&schedulerOptions{}), "leader", newGathering(admin, time.Minute))
	waiting, later := newSpells(t, s, schedulerPart(&schedulerOptions{}), "waiting", newGathering(admin, time.Minute))
	stop, ended := keepUntil(t, leader)
	one := next(t, terms)
	stopWaiting, waitingEnded := keepUntil(t, waiting)
	stop()
	within(t, "the work is told to end", one.ctx.Done())
	select { // the work takes longer than the lease
	case <-later:
		t.Error("another leads while the first still works")
	case <-time.After(quickly().Duration + time.Second):
	}
	if h := holder(); h != "leader" {
		t.Errorf("the lease is %q's while the first still works", h)
	}
	one.end <- nil
	within(t, "the part ends", ended)
	two := next(t, later)
	if h := holder(); h != "waiting" {
		t.Errorf("the lease is %q's", h)
	}
	stopWaiting()
	two.end <- nil
	within(t, "the second ends", waitingEnded)
}

func TestAPartThatEndsIsStartedAgain(t *testing.T) {
	t.Parallel()
	s, _ := startAPI(t)
	x, terms := newSpells(t, s, schedulerPart(&schedulerOptions{}), "x", newGathering(adminOf(t, s), time.Minute))
	stop, ended := keepUntil(t, x)
	next(t, terms).end <- errors.New("something broke")
	two := next(t, terms)
	if two.ctx.Err() != nil {
		t.Error("the second term is told to end at once")
	}
	stop()
	two.end <- nil
	within(t, "the part ends", ended)
}

func TestIdentityIsForOneProcess(t *testing.T) {
	dir, quiet := t.TempDir(), slog.New(slog.DiscardHandler)
	first, err := identify(dir, "kube-scheduler", quiet)
	if err != nil {
		t.Fatal(err)
	}
	other, err := identify(dir, "kube-controller-manager", quiet)
	if err != nil || other == first {
		t.Errorf("%q, %v: parts have one identity", other, err)
	}
	second, err := identify(dir, "kube-scheduler", quiet)
	if err != nil || second == first {
		t.Errorf("%q, %v: the lock is this process's, and nobody else may have its identity", second, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if third, err := identify(file, "kube-scheduler", quiet); err != nil || third == "" {
		t.Errorf("%q, %v: a part works where nothing can be kept, too", third, err)
	}
}

func TestElectionsThatCannotBe(t *testing.T) {
	for rule, change := range map[string]func(*election){
		"a lock that is no lease":          func(e *election) { e.Lock = "configmaps" },
		"a deadline after the lease's end": func(e *election) { e.Deadline = e.Duration },
		"a retry that misses the deadline": func(e *election) { e.Retry = e.Deadline },
		"a retry without a pause":          func(e *election) { e.Retry = 0 },
		"a lease that ends before it is known": func(e *election) {
			e.Duration, e.Deadline, e.Retry = 900*time.Millisecond, 500*time.Millisecond, time.Millisecond
		},
	} {
		e := defaultElection()
		change(&e)
		if e.check() == nil {
			t.Errorf("%s is accepted", rule)
		}
		if e.Elect = false; e.check() != nil {
			t.Errorf("%s is refused though nobody stands", rule)
		}
	}
}

// TestAPartTellsOfWhatItConsists: controllers are checks below their names, while they run, and what comes of them is counted.
func TestAPartTellsOfWhatItConsists(t *testing.T) {
	d := newDesk(controllersPart(&controllersOptions{}), false)
	h := d.handler()
	ask := func(method, path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Code, w.Body.String()
	}
	x := &term{station: &station{desk: d}}
	end := d.begin(x)
	broken := errors.New("it has ended")
	var state error
	x.check("job-controller", func() error { return state })
	x.check("cronjob-controller", func() error { return nil })
	for _, c := range []struct {
		rule, method, path string
		state              error
		code               int
		says               string
	}{
		{"one of them", "GET", "/healthz/job-controller", nil, 200, "ok"},
		{"all of them", "GET", "/livez?verbose", nil, 200, "[+]job-controller ok\n[+]cronjob-controller ok\nlivez check passed"},
		{"one that has ended", "GET", "/healthz/job-controller", broken, 500, "it has ended"},
		{"all, of which one has ended", "GET", "/livez", broken, 500, "[-]job-controller failed: reason withheld\n[+]cronjob-controller ok\nlivez check failed"},
		{"what nobody runs", "GET", "/healthz/made-up", nil, 404, ""},
		{"how it was the last time", "GET", "/metrics/slis", nil, 200, `kubernetes_healthcheck{name="job-controller",type="livez"} 0`},
		{"and how often before", "GET", "/metrics/slis", nil, 200, `kubernetes_healthchecks_total{name="job-controller",status="success",type="livez"} 1`},
		{"counted anew", "DELETE", "/metrics/slis", nil, 200, "metrics reset"},
	} {
		state = c.state
		if code, text := ask(c.method, c.path); code != c.code || !strings.Contains(text, c.says) {
			t.Errorf("%s: %d, want %d and %q:\n%s", c.rule, code, c.code, c.says, text)
		}
	}
	if _, text := ask("GET", "/metrics/slis"); strings.Contains(text, "job-controller") {
		t.Errorf("after the reset: %s", text)
	}
	if _, text := ask("GET", "/metrics"); !strings.Contains(text, `git_version="v1.36.3"`) {
		t.Error("nothing says what it was built from")
	}
	end()
	if code, _ := ask("GET", "/healthz/job-controller"); code != 404 {
		t.Errorf("%d: a controller is told of that does not run here", code)
	}
}
