package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/server"
)

// serving is where and to whom a part answers. The flags are upstream's.
type serving struct {
	BindAddress net.IP             `flag:"bind-address" help:"address to answer on"`
	Port        int                `flag:"secure-port" help:"port on which HTTPS is served; 0 serves nothing"`
	CertFile    string             `flag:"tls-cert-file" help:"certificate to serve with (default: the data directory's pki/parts.crt, or one that nobody vouches for)"`
	KeyFile     string             `flag:"tls-private-key-file" help:"key of --tls-cert-file"`
	ClientCA    string             `flag:"client-ca-file" help:"authorities of the certificates of those who ask (default: the data directory's pki/ca.crt, or those of the kubeconfig)"`
	Proxy       server.ProxyConfig `prefix:"requestheader-"`
	Tokens      string             `flag:"authentication-kubeconfig" help:"how the API server is reached that knows tokens (default: that of --kubeconfig)"`
	Access      string             `flag:"authorization-kubeconfig" help:"how the API server is reached that knows what users may (default: that of --kubeconfig)"`
	Open        []string           `flag:"authorization-always-allow-paths" help:"paths that everybody may ask for; a * at the end stands for all that follows"`
	Profiling   bool               `flag:"profiling" help:"serve /debug/pprof"`
}

func defaultServing(port int) serving {
	return serving{Proxy: server.DefaultProxy(), BindAddress: net.IPv4zero, Port: port, Open: []string{"/healthz", "/livez", "/readyz"}, Profiling: true}
}

// check names what is wrong.
func (s *serving) check() error {
	switch {
	case s.Port < 0 || s.Port > 65535:
		return fmt.Errorf("--secure-port is %d: use 0 to 65535", s.Port)
	case (s.CertFile == "") != (s.KeyFile == ""):
		return errors.New("--tls-cert-file and --tls-private-key-file belong together")
	}
	return s.Proxy.Check()
}

// listen opens the port of a part.
func (s *serving) listen() (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(s.BindAddress.String(), strconv.Itoa(s.Port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w: stop who has it, or choose another port with --secure-port", err)
	}
	return l, err
}

// listenAnywhere opens the port, or any other if that is taken: several clusters may run on one machine.
func (s *serving) listenAnywhere() (net.Listener, error) {
	l, err := s.listen()
	if errors.Is(err, syscall.EADDRINUSE) {
		return net.Listen("tcp", net.JoinHostPort(s.BindAddress.String(), "0"))
	}
	return l, err
}

// urlOf is a listener's address for those on this machine.
func urlOf(l net.Listener) string {
	address := l.Addr().(*net.TCPAddr)
	host := address.IP
	if host.IsUnspecified() {
		host = net.IPv4(127, 0, 0, 1)
	}
	return "https://" + net.JoinHostPort(host.String(), strconv.Itoa(address.Port))
}

// door is an open port, and who is behind it.
type door struct {
	serving
	listener net.Listener
	shown    *auth.Certificate
	trust    auth.Delegation // in those who ask
	dataDir  string          // where it is noted that it is open
}

// keep answers until ctx ends.
func (d *door) keep(ctx context.Context, x *station) {
	forget, err := noteAddress(d.dataDir, x.name, urlOf(d.listener))
	if err != nil {
		x.log.Warn("`knarr status` will not find a part", "part", x.name, "err", err)
	} else {
		defer forget()
	}
	if err := d.answer(ctx, x); err != nil {
		x.log.Error("a part answers nobody", "part", x.name, "url", urlOf(d.listener), "err", err)
	}
}

func (d *door) answer(ctx context.Context, x *station) error {
	who, may, err := d.trust.Open()
	if err != nil {
		return err
	}
	web := &http.Server{
		Handler:   guard{who, may, d.Open, x.desk.handler()},
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: d.shown.Get, ClientAuth: tls.RequestClientCert},
		// A profile takes as long as it is told to.
		ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 90 * time.Second, MaxHeaderBytes: 1 << 20,
		ErrorLog: slog.NewLogLogger(x.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- web.ServeTLS(d.listener, "", "") }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := web.Shutdown(leave); err != nil {
		web.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// guard lets those through who may ask.
type guard struct {
	who  auth.Authenticator
	may  registry.Authorizer
	open []string
	next http.Handler
}

func (g guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-cache, private")
	user, err := g.who.Authenticate(r)
	if user == nil || err != nil {
		refuse(w, apierrors.NewUnauthorized("Unauthorized"))
		return
	}
	if g.isOpen(r.URL.Path) {
		g.next.ServeHTTP(w, r)
		return
	}
	asked := registry.Attributes{User: *user, Verb: strings.ToLower(r.Method), Path: r.URL.Path}
	decision, reason, err := g.may.Authorize(r.Context(), &asked)
	switch {
	case decision == registry.Allow:
		g.next.ServeHTTP(w, r)
	case err != nil:
		refuse(w, apierrors.NewInternalError(err))
	default:
		text := fmt.Sprintf("User %q cannot %s path %q", user.Name, asked.Verb, asked.Path)
		if reason != "" {
			text += ": " + reason
		}
		refuse(w, apierrors.NewForbidden(schema.GroupResource{}, "", errors.New(text)))
	}
}

func (g guard) isOpen(path string) bool {
	return slices.ContainsFunc(g.open, func(open string) bool {
		prefix, all := strings.CutSuffix(open, "*")
		return path == open || all && strings.HasPrefix(path, prefix)
	})
}

// refuse answers with a Status, as an API server does.
func refuse(w http.ResponseWriter, err *apierrors.StatusError) {
	status := err.Status()
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(int(status.Code))
	json.NewEncoder(w).Encode(status) // whoever went away gets nothing
}
