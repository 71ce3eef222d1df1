package server

import (
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/auth"
)

// openID serves what others need to verify service account tokens: who issues them, and the public keys. An issuer that
// is no https URL has nothing to serve, for nobody could look for it.
func (s *Server) openID(r chi.Router) {
	documents, err := auth.NewOpenID(s.config.ServiceAccountIssuer[0], s.config.ServiceAccountJWKSURI,
		s.config.externalAddress(s.registry.Network), s.security.accountKeys)
	if err != nil {
		s.log.Info("the issuer of service account tokens cannot be discovered by others", "reason", err)
		return
	}
	r.Handle("/.well-known/openid-configuration", publicDocument(mediaJSON, documents.Configuration))
	r.Handle(auth.KeysPath, publicDocument("application/jwk-set+json", documents.Keys))
}

// publicDocument is one that may be kept by whoever fetched it, for an hour.
func publicDocument(media string, document []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodGet:
			writeError(w, r, errMethodNotAllowed())
		case !takes(r, media):
			writeError(w, r, generic(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable,
				"406: Not Acceptable\n\nAvailable representations: "+media))
		default:
			w.Header()["Content-Type"] = []string{media}
			w.Header()["Cache-Control"] = []string{"public, max-age=3600"}
			w.Write(document) // whoever went away needs no answer
		}
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
