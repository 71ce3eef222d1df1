package server

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/admission"
)

// host is this server as admission's plugins see it.
func (s *Server) host() admission.Host {
	return admission.Host{Objects: objects{s.registry}, Authorizer: s.authorizer, Now: time.Now, CreateNamespace: s.createNamespace}
}

func (s *Server) createNamespace(ctx context.Context, name string) error {
	_, err := s.registry.Create(ctx, s.registry.Resource("", "namespaces"), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	return err
}
