package server

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/registry/store"
	"github.com/knarr-dev/knarr/registry/store/encryption"
)

// sealing is how values are kept from those who can read etcd: what --encryption-provider-config says today.
type sealing struct {
	file   *auth.File[*encryption.Keys]
	counts *encryption.Counts
	named  bool // health has a check for it
}

// openSealing reads the configuration; nil if there is none. With reload, the file is read again when it changes. A new
// configuration whose KMS plugins do not answer is not taken into use: nothing could be written.
func openSealing(c *Config, pki *auth.PKI, log *slog.Logger) (*sealing, error) {
	if c.EncryptionConfig == "" {
		return nil, nil
	}
	kind := auth.ConfigKind[apiserverv1.EncryptionConfiguration]{Kind: "EncryptionConfiguration",
		Versions: []string{apiserverv1.SchemeGroupVersion.String()}, Default: encryption.Default, Validate: encryption.Validate}
	first := true
	parse := func(path string, data []byte) (*encryption.Keys, error) {
		config, err := kind.Parse(path, data)
		if err != nil {
			return nil, err
		}
		keys, err := encryption.Open(config, log)
		if err == nil && !first {
			err = healthySoon(keys)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		first = false
		return keys, nil
	}
	file, err := auth.OpenFile(c.EncryptionConfig, parse)
	if err != nil {
		return nil, fmt.Errorf("--encryption-provider-config: %w", err)
	}
	s := &sealing{file: file, counts: encryption.NewCounts(), named: c.EncryptionReload || file.Get().UsesKMS()}
	if c.EncryptionReload {
		file.OnReplace(func(old *encryption.Keys) { old.Retire() })
		pki.Watch(file)
	}
	return s, nil
}

// healthySoon closes keys whose plugins do not answer.
func healthySoon(keys *encryption.Keys) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := keys.Healthy(ctx)
	if err != nil {
		keys.Close()
	}
	return err
}

// cipher is what the store of a resource seals with.
func (s *sealing) cipher(resource schema.GroupResource) store.Cipher {
	return encryption.Resource{Name: resource, Keys: s.file.Get, Counts: s.counts}
}

func (s *sealing) healthy(ctx context.Context) error { return s.file.Get().Healthy(ctx) }

func (s *sealing) close() {
	if s != nil {
		s.file.Get().Close()
	}
}
