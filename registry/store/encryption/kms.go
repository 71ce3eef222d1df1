package encryption

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
	"k8s.io/kms/pkg/service"
)

// kms looks after one plugin of the KMS API v2, which holds a key that never leaves it. Values are sealed with keys
// derived from a seed; the plugin seals the seed, and the sealed seed is stored with every value. So the plugin is called
// when the seed changes, and for each sealed seed once when it is first read.
//
// The seed lasts as long as the plugin's key: when the plugin says that it has another one, a new seed is made. Reads go
// on whatever the plugin says; writes go on for seedLife after it was last well, so that an operator who has changed
// the key can know when nothing is written under the old one any more.
type kms struct {
	name    string
	service service.Service
	log     *slog.Logger
	state   atomic.Pointer[kmsv2.State] // the seed; never nil, but without a Transformer until there is one

	mu      sync.Mutex // guards the fields below, and that the plugin is asked once at a time
	last    error      // what the last check found
	until   time.Time  // that is believed so long
	version string     // of the API, as the plugin first said
}

// How often the plugin is asked, and how long an answer is believed. The numbers are upstream's: tools for migration
// reckon with them.
const (
	checkWell  = time.Minute
	checkIll   = 10 * time.Second
	believeOK  = 20 * time.Second
	believeIll = 3 * time.Second
	seedLife   = 3 * time.Minute
)

// openKMS connects to a plugin and asks it for the first time.
func openKMS(ctx context.Context, c *apiserverv1.KMSConfiguration, log *slog.Logger) (*kms, error) {
	s, err := kmsv2.NewGRPCService(ctx, c.Endpoint, c.Name, c.Timeout.Duration)
	if err != nil {
		return nil, err
	}
	p := &kms{name: c.Name, service: s, log: log}
	p.state.Store(&kmsv2.State{KMSProviderName: c.Name})
	if err := p.check(ctx); err != nil {
		log.Warn("a KMS plugin is not ready; what it has sealed cannot be read until it is", "provider", c.Name, "err", err)
	}
	return p, nil
}

func (p *kms) transformer() value.Transformer {
	return kmsv2.NewEnvelopeTransformer(p.service, p.name, p.seed, "")
}

// keep asks the plugin now and then until ctx ends, so that its key, and its health, are known when they are needed.
func (p *kms) keep(ctx context.Context) {
	ill := false
	for {
		err := p.check(ctx)
		pause := checkWell
		if err != nil {
			pause = checkIll
		}
		if (err != nil) != ill && ctx.Err() == nil {
			if ill = err != nil; ill {
				p.log.Error("a KMS plugin is ill", "provider", p.name, "err", err)
			} else {
				p.log.Info("a KMS plugin is well again", "provider", p.name)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// check asks the plugin how it is, and follows it to a new key.
func (p *kms) check(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Before(p.until) {
		return p.last
	}
	status, err := p.service.Status(ctx)
	if err != nil {
		err = fmt.Errorf("failed to perform status section of the healthz check for KMS Provider %s, error: %w", p.name, err)
	} else if err = p.follow(ctx, status); err != nil {
		err = fmt.Errorf("kmsv2 Provider %s is not healthy, error: %w", p.name, err)
	}
	if ctx.Err() != nil {
		return err // of who asked, who did not wait: it says nothing of the plugin
	}
	believed := believeOK
	if err != nil {
		believed = believeIll
	}
	p.last, p.until = err, time.Now().Add(believed)
	return err
}

// follow judges a plugin's status, and sees to it that the seed is sealed with the plugin's present key. p.mu is held.
func (p *kms) follow(ctx context.Context, s *service.StatusResponse) error {
	var errs []error
	if s.Healthz != "ok" {
		errs = append(errs, fmt.Errorf("got unexpected healthz status: %s", s.Healthz))
	}
	if s.Version != kmsv2.KMSAPIVersionv2 && s.Version != kmsv2.KMSAPIVersionv2beta1 {
		errs = append(errs, fmt.Errorf("expected KMSv2 API version %s, got %s", kmsv2.KMSAPIVersionv2, s.Version))
	} else {
		if p.version == "" {
			p.version = s.Version
		}
		if p.version != s.Version {
			errs = append(errs, fmt.Errorf("KMSv2 API version should not change after the initial status response version %s, got %s", p.version, s.Version))
		}
	}
	if _, err := kmsv2.ValidateKeyID(s.KeyID); err != nil {
		errs = append(errs, fmt.Errorf("got invalid KMSv2 KeyID hash %q: %w", kmsv2.GetHashIfNotEmpty(s.KeyID), err))
	} else {
		errs = append(errs, p.renew(ctx, s.KeyID))
	}
	return utilerrors.Reduce(utilerrors.NewAggregate(errs))
}

// renew makes a new seed if the present one is not sealed with the plugin's key, and lets it last longer if it is.
func (p *kms) renew(ctx context.Context, keyID string) error {
	expires := time.Now().Add(seedLife) // from before the call
	if now, err := p.seed(); err == nil && now.EncryptedObjectKeyID == keyID {
		now.ExpirationTimestamp = expires
		p.state.Store(&now)
		return nil
	}
	id := uuid.NewString()
	transformer, object, cacheKey, err := kmsv2.GenerateTransformer(ctx, id, p.service, true)
	switch {
	case err != nil:
		return fmt.Errorf("make a seed: %w", err)
	case object.KeyID != keyID:
		return fmt.Errorf("make a seed: the plugin's status names key %s, but it encrypts with %s",
			kmsv2.GetHashIfNotEmpty(keyID), kmsv2.GetHashIfNotEmpty(object.KeyID))
	}
	p.state.Store(&kmsv2.State{Transformer: transformer, UID: id, CacheKey: cacheKey, ExpirationTimestamp: expires, KMSProviderName: p.name,
		EncryptedObjectKeyID: object.KeyID, EncryptedObjectEncryptedDEKSource: object.EncryptedDEKSource,
		EncryptedObjectAnnotations: object.Annotations, EncryptedObjectEncryptedDEKSourceType: kmstypes.EncryptedDEKSourceType_HKDF_SHA256_XNONCE_AES_GCM_SEED})
	return nil
}

// seed is the present one. Its expiry is the writer's to look at.
func (p *kms) seed() (kmsv2.State, error) {
	s := *p.state.Load()
	if s.Transformer == nil {
		return s, errors.New("got unexpected nil transformer")
	}
	return s, nil
}
