package server

import (
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/auth"
)

// authenticate finds out who sends the request. Nothing of a credential is left: neither handlers nor those to whom they
// pass the request have use for it.
func (s *Server) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		user, err := userWithin(r), error(nil)
		if user == nil {
			user, err = s.authenticator.Authenticate(r)
		}
		askedOf(r).lasted("authentication", start)
		if err != nil || user == nil {
			if err != nil {
				s.log.Debug("authentication", "path", r.URL.Path, "err", err)
			}
			s.refuseUnknown(w, r)
			return
		}
		delete(r.Header, "Authorization")
		if auth.IsAnonymous(user) {
			limitConnection(w, r)
		}
		askedOf(r).about.User = *user
		next.ServeHTTP(w, r)
	})
}

func (s *Server) refuseUnknown(w http.ResponseWriter, r *http.Request) {
	limitConnection(w, r)
	if s.config.BasicAuthFile != "" {
		w.Header().Set("WWW-Authenticate", `Basic realm="kubernetes-master"`)
	}
	writeError(s.auditRefusal(w, r), r, plain(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized"))
}

// limitConnection ends an HTTP/2 connection after the requests that are under way on it: whoever is nobody shall not
// open streams without end on one.
func limitConnection(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 2 {
		w.Header().Set("Connection", "close")
	}
}
