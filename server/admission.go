package server

import (
	"time"

	"github.com/knarr-dev/knarr/admission"
)

// host is this server as admission's plugins see it.
func (s *Server) host() admission.Host {
	return admission.Host{Objects: objects{s.registry}, Authorizer: s.authorizer, Now: time.Now}
}
