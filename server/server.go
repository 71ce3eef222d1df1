package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"k8s.io/apimachinery/pkg/version"

	"github.com/knarr-dev/knarr/admission"
	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/registry/store"
	"github.com/knarr-dev/knarr/server/audit"
	"github.com/knarr-dev/knarr/server/fairness"
)

// Server is an API server: the table of resources over a store, behind a pipeline.
type Server struct {
	config    Config
	log       *slog.Logger
	dataDir   *os.File // held open while it is this process's
	security  *security
	storage   *storage
	db        *store.DB
	registry  *registry.Registry
	admission admission.Chain
	managers  fieldManagers
	outlines  outlines
	handovers handovers
	deflaters deflaters
	chunks    chunkPool
	streams   streams
	beat      beat
	encodings encodings
	trimmer   trimmer
	inflight  inflight
	fairness  *fairness.Gate // nil if there is none: then inflight limits
	lentBytes atomic.Int64   // of bodies that are held for requests without seats
	health    *health
	metrics   *metrics
	audit     *audit.Log // nil: nothing is recorded
	discovery *discovery
	router    http.Handler

	authenticator auth.Authenticator
	authorizer    registry.Authorizer
	impersonation *auth.Impersonation
}

// New opens the store and the PKI and puts a server together. Nothing is served before Run. The context bounds New
// alone.
func New(ctx context.Context, config Config, log *slog.Logger) (_ *Server, err error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	s := &Server{config: config, log: log}
	network, err := config.network()
	if err != nil {
		return nil, err
	}
	if s.dataDir, err = openDataDir(config.DataDir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.dataDir.Close()
		}
	}()
	if s.security, err = openSecurity(ctx, &config, network, log); err != nil {
		return nil, err
	}
	keys, err := openSealing(&config, s.security.pki, log)
	if err != nil {
		return nil, err
	}
	if s.storage, err = openStorage(ctx, &config, keys, log); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.storage.close()
		}
	}()
	s.db = s.storage.db
	rows, err := config.served()
	if err != nil {
		return nil, err
	}
	if err := s.storage.split(ctx, &config, rows, log); err != nil {
		return nil, err
	}
	s.registry = registry.New(s.db, rows)
	s.registry.Network, s.registry.ForbidPrivileged = network, !config.AllowPrivileged
	s.registry.Tokens = s.security.issuer
	if err = s.security.openAuthorizer(ctx, &config, objects{registry: s.registry}, log); err != nil {
		return nil, err
	}
	if err = s.security.openAuthenticator(&config, s.registry, log); err != nil {
		return nil, err
	}
	s.authenticator, s.authorizer = s.security.authenticator, s.security.authorizer
	s.impersonation = auth.NewImpersonation(s.authorizer)
	s.registry.Roles = s.security.policy
	s.registry.Authorizer, s.registry.Authenticator = s.authorizer, auth.Reviewed{Tokens: s.security.tokens}
	if s.registry.Kubelet, err = s.security.kubelet(&config); err != nil {
		return nil, err
	}
	s.registry.Manage, s.registry.Apply = s.manageOwn, s.applyOwn
	if err := s.openAdmission(); err != nil {
		return nil, err
	}
	s.openFairness(ctx)
	s.metrics = newMetrics(s)
	if err = s.openAudit(); err != nil {
		return nil, err
	}
	s.health = newHealth(s)
	s.discovery = newDiscovery(s.registry, net.JoinHostPort(network.AdvertiseAddress.String(), fmt.Sprint(config.SecurePort)))
	s.router = s.routes(Version(builtFrom()))
	return s, nil
}

// Handler serves the API without a listener: the whole pipeline, for clients in the same process.
func (s *Server) Handler() http.Handler { return s.router }

// PartIsAt says where a part of the control plane, by the name of its component status, tells how it is. Call it before Run.
func (s *Server) PartIsAt(name, url string) { s.registry.Parts[name] = url }

// Run serves until ctx ends, then shuts down gracefully: the port closes, watches end, requests in flight finish, the
// store is closed last. ready, if not nil, is called once the server answers.
func (s *Server) Run(ctx context.Context, ready func()) error {
	defer s.dataDir.Close()
	defer s.storage.close()
	defer s.security.close()
	defer s.closeAudit() // after the last request, and those that the server itself sends
	listener, err := s.config.listen(ctx)
	if err != nil {
		return err
	}
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	var loops sync.WaitGroup
	defer loops.Wait()
	defer stop()
	loops.Go(func() { s.keep(own) })
	if s.security.signer != nil {
		loops.Go(func() { s.security.signer.Run(own) })
	}
	loops.Go(func() { s.keepFairness(own) })
	loops.Go(func() { s.security.pki.Run(own) })
	serving, end := context.WithCancel(own)
	defer end()
	served := make(chan error, 1)
	go func() {
		served <- serve(serving, listener, s.security.tls(&s.config), s.router, s.streams.end, s.config.RequestTimeout+answerPatience, 60*time.Second, s.log)
	}()
	if err := s.health.awaitReady(ctx); err == nil && ready != nil {
		ready()
	}
	select {
	case err = <-served:
		return err
	case <-ctx.Done():
	}
	// Load balancers learn from /readyz that it is time to go elsewhere; then the port closes.
	s.health.leave()
	time.Sleep(s.config.ShutdownDelay)
	end()
	return <-served
}

// routes is the pipeline and the fixed end points; every other path is looked up in the table of resources.
func (s *Server) routes(v version.Info) http.Handler {
	r := chi.NewRouter()
	s.pipeline(r)
	openapi := newOpenAPI()
	r.Handle("/version", newVersion(v))
	r.Handle("/openapi/*", openapi)
	s.openID(r)
	slis := NewSLIs()
	r.Handle("/metrics/slis", slis)
	r.Mount("/healthz", s.health.Handler("/healthz", slis))
	r.Mount("/livez", s.health.Handler("/livez", slis))
	r.Mount("/readyz", s.health.Handler("/readyz", slis))
	r.Handle("/metrics", s.metrics)
	r.Post(WhyCanPath, s.whyCan)
	if s.config.Profiling {
		r.HandleFunc("/debug/pprof/*", pprof.Index)
		r.HandleFunc("/debug/pprof/profile", pprof.Profile)
		r.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		r.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	if s.fairness != nil {
		s.routeFairness(r)
	}
	r.Get("/", s.index(r))
	r.NotFound(s.serveAPI)
	r.MethodNotAllowed(s.serveAPI)
	return r
}

// streams are the watches under way, so that a shutdown can end them.
type streams struct {
	mu     sync.Mutex
	cancel map[*context.CancelFunc]struct{}
	ended  bool
}

// enter adds a stream; the returned function removes it.
func (s *streams) enter(cancel context.CancelFunc) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		cancel()
		return func() {}
	}
	if s.cancel == nil {
		s.cancel = map[*context.CancelFunc]struct{}{}
	}
	s.cancel[&cancel] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.cancel, &cancel)
	}
}

// end cancels every stream, and those that still come.
func (s *streams) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for c := range s.cancel {
		(*c)()
	}
}
