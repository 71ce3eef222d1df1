package server

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/admission"
	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/registry/store"
)

// openAdmission makes the chain of plugins that the configuration asks for.
func (s *Server) openAdmission() (err error) {
	host := admission.Host{Objects: objects{registry: s.registry}, Authorizer: s.authorizer, Rows: s.registry.Rows, Now: time.Now,
		CreateNamespace: s.createNamespace, ChangeQuota: s.changeQuota,
		NotReadySeconds: int64(s.config.NotReadySeconds), UnreachableSeconds: int64(s.config.UnreachableSeconds)}
	if path := s.config.AdmissionConfig; path != "" {
		if host.Config, err = admission.ReadConfig(path); err != nil {
			return fmt.Errorf("--admission-control-config-file: %w", err)
		}
	}
	s.admission, err = admission.New(host, s.config.EnableAdmission, s.config.DisableAdmission)
	return err
}

func (s *Server) createNamespace(ctx context.Context, name string) error {
	_, err := s.registry.Create(ctx, s.registry.Resource("", "namespaces"), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	return err
}

// changeQuota writes the status of a quota as it is now, if change changes it.
func (s *Server) changeQuota(ctx context.Context, namespace, name string, change func(*corev1.ResourceQuota) error) error {
	_, err := s.registry.Update(ctx, s.registry.Resource("", "resourcequotas"), "status", store.Key{Namespace: namespace, Name: name},
		func(o registry.Object) error { return change(o.(*corev1.ResourceQuota)) })
	return err
}
