package server

import (
	"errors"
	"net/http"
	"time"

	"github.com/knarr-dev/knarr/auth"
)

// impersonate serves the request on behalf of whom its headers name, if the sender may act as that one.
func (s *Server) impersonate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := askedOf(r)
		start := time.Now()
		as, err := s.impersonation.As(r.Context(), r.Header, &a.about)
		if as != nil || err != nil {
			a.lasted("impersonation", start)
		}
		if err != nil {
			refuse(w, r, refusedImpersonation(err))
			return
		}
		if as != nil {
			s.log.Debug("impersonation", "by", a.about.User.Name, "of", as.User.Name, "path", r.URL.Path)
			a.about.User = as.User
			a.record.Impersonated(as.User, as.Constraint)
		}
		next.ServeHTTP(w, r)
	})
}

// refusedImpersonation is the answer to headers that make no sense, or ask for what is not allowed.
func refusedImpersonation(err error) error {
	var refused *auth.Refusal
	if errors.As(err, &refused) {
		return forbidden(&refused.Attributes, refused.Reason)
	}
	return err
}
