package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/client-go/tools/leaderelection"

	"github.com/knarr-dev/knarr/server"
)

// desk is where a part tells how it is: /healthz, /livez, /readyz, /metrics, /metrics/slis, /configz, /debug/pprof, and what its present
// term has to add. A part that waits for its lease is well, and ready to take it.
type desk struct {
	part
	profiles bool
	watchDog *leaderelection.HealthzAdaptor
	lasting  *prometheus.Registry
	present  atomic.Pointer[presence] // nil while the part does not work
	leaving  atomic.Bool
}

// presence is what a term shows.
type presence struct {
	term    *term
	metrics *prometheus.Registry
	handler atomic.Pointer[http.Handler] // of paths that are the part's own

	mu     sync.Mutex     // guards the field below
	checks []server.Check // of what the part consists of
}

// renewalSlack is how long after its lease has run out a leader that still thinks it leads is well, as upstream's.
const renewalSlack = 20 * time.Second

func newDesk(p part, profiles bool) *desk {
	d := &desk{part: p, profiles: profiles, watchDog: leaderelection.NewLeaderHealthzAdaptor(renewalSlack),
		lasting: prometheus.NewRegistry()}
	d.lasting.MustRegister(server.BuildInfo(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "leader_election_master_status",
			Help:        "Whether this process leads, by the name of the lease.",
			ConstLabels: prometheus.Labels{"name": p.program}}, func() float64 {
			if d.present.Load() == nil {
				return 0
			}
			return 1
		}))
	return d
}

// begin shows a term, until what it returns is called.
func (d *desk) begin(t *term) (end func()) {
	d.present.Store(&presence{term: t, metrics: prometheus.NewRegistry()})
	return func() { d.present.Store(nil) }
}

// counts takes the metrics of the present term.
func (t *term) counts() prometheus.Registerer { return t.desk.present.Load().metrics }

// show adds the paths that are the part's own.
func (t *term) show(h http.Handler) { t.desk.present.Load().handler.Store(&h) }

// check adds one of something that the part consists of.
func (t *term) check(name string, of func() error) {
	p := t.desk.present.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.checks = append(p.checks, server.Check{Name: name, Of: healthPoints(), Run: func(context.Context) error { return of() }})
}

func healthPoints() []string { return []string{"/healthz", "/livez", "/readyz"} }

// handler answers those who may ask.
func (d *desk) handler() http.Handler {
	mux := http.NewServeMux()
	slis := server.NewSLIs()
	for _, point := range healthPoints() {
		asked := func(w http.ResponseWriter, r *http.Request) { d.checks().Handler(point, slis).ServeHTTP(w, r) }
		mux.HandleFunc(point, asked)
		mux.HandleFunc(point+"/", asked)
	}
	mux.Handle("/metrics/slis", slis)
	mux.Handle("GET /metrics", promhttp.HandlerFor(prometheus.GathererFunc(d.gather), promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /configz", d.configz)
	if d.profiles {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	mux.HandleFunc("/", d.own)
	return mux
}

func (d *desk) gather() ([]*dto.MetricFamily, error) {
	all := prometheus.Gatherers{d.lasting}
	if p := d.present.Load(); p != nil {
		all = append(all, p.metrics)
	}
	return all.Gather()
}

// own are the paths of the present term.
func (d *desk) own(w http.ResponseWriter, r *http.Request) {
	p := d.present.Load()
	if p == nil {
		http.Error(w, d.program+" does not lead here: ask the replica that holds the lease", http.StatusServiceUnavailable)
		return
	}
	if h := p.handler.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	http.Error(w, "404 page not found", http.StatusNotFound)
}

func (d *desk) configz(w http.ResponseWriter, _ *http.Request) {
	name, config := d.configured()
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{name: config}) // whoever went away gets nothing
}

func (d *desk) checks() server.Checks {
	all, ready := healthPoints(), []string{"/readyz"}
	checks := server.Checks{
		{Name: "ping", Of: all, Run: func(context.Context) error { return nil }},
		{Name: "leaderElection", Of: all, Run: func(context.Context) error { return d.watchDog.Check(nil) }},
		{Name: "informer-sync", Of: ready, Run: func(context.Context) error { return d.synced() }},
		{Name: "shutdown", Of: ready, Run: func(context.Context) error {
			if d.leaving.Load() {
				return errors.New("process is shutting down")
			}
			return nil
		}},
	}
	if p := d.present.Load(); p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		checks = append(checks, p.checks...)
	}
	return checks
}

// synced reports whether the informers of the present term have all that there is.
func (d *desk) synced() error {
	p := d.present.Load()
	if p == nil {
		return nil
	}
	now, cancel := context.WithCancel(context.Background())
	cancel() // nobody waits
	return p.term.informers.WaitForCacheSyncWithContext(now).AsError()
}
