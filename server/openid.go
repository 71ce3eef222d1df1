package server

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/auth"
)

// openID serves what others need to verify service account tokens: who issues them, and the public keys. An issuer that
// is no https URL has nothing to serve, for nobody could look for it.
func (s *Server) openID(r chi.Router) {
	known, err := auth.NewOpenID(s.config.ServiceAccountIssuer[0], s.config.ServiceAccountJWKSURI,
		s.config.externalAddress(s.registry.Network), s.security.accountKeys)
	if err != nil {
		s.log.Info("the issuer of service account tokens cannot be discovered by others", "reason", err)
		return
	}
	r.Handle("/.well-known/openid-configuration", publicDocument(known, mediaJSON, func(d *auth.OpenIDDocuments) []byte { return d.Configuration }))
	r.Handle(auth.KeysPath, publicDocument(known, "application/jwk-set+json", func(d *auth.OpenIDDocuments) []byte { return d.Keys }))
}

// publicDocument is one that whoever has fetched it may keep for a while.
func publicDocument(known *auth.OpenID, media string, which func(*auth.OpenIDDocuments) []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		documents, maxAge, err := known.Documents(time.Now())
		switch {
		case r.Method != http.MethodGet:
			err = errMethodNotAllowed()
		case !takes(r, media):
			err = generic(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable, "406: Not Acceptable\n\nAvailable representations: "+media)
		}
		if err != nil {
			writeError(w, r, err)
			return
		}
		w.Header()["Content-Type"] = []string{media}
		w.Header()["Cache-Control"] = []string{"public, max-age=" + strconv.Itoa(maxAge)}
		w.Write(which(documents)) // whoever went away needs no answer
	})
}

// takes says whether a client takes just this media type, or any.
func takes(r *http.Request, media string) bool {
	accept := r.Header.Get("Accept")
	for clause := range strings.SplitSeq(accept, ",") {
		typ, _, _ := strings.Cut(clause, ";")
		if typ = strings.TrimSpace(typ); typ == "*/*" || typ == media {
			return true
		}
	}
	return accept == ""
}
