package cluster

import (
	"context"
	"encoding/base64"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"k8s.io/kms/pkg/service"
)

// KMS is a toy of a plugin of the KMS API v2: what it encrypts is base64, behind the id of its key.
type KMS struct {
	Endpoint string // unix://...

	mu    sync.Mutex
	keyID string
	ill   bool
	calls int // of Decrypt
}

// StartKMS serves a toy plugin until the test ends.
func StartKMS(t testing.TB) *KMS {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "kms.sock")
	k := &KMS{Endpoint: "unix://" + socket, keyID: "key-1"}
	server := service.NewGRPCService(socket, 10*time.Second, k)
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	t.Cleanup(func() {
		server.Close()
		<-ended
	})
	return k
}

// Rotate makes the plugin use another key from now on. It still knows the former ones.
func (k *KMS) Rotate(keyID string) { k.with(func() { k.keyID = keyID }) }

// SetIll makes every call fail, or not any more.
func (k *KMS) SetIll(ill bool) { k.with(func() { k.ill = ill }) }

// Decryptions is how often the plugin was asked to decrypt.
func (k *KMS) Decryptions() (n int) {
	k.with(func() { n = k.calls })
	return n
}

func (k *KMS) with(do func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	do()
}

var errIll = errors.New("the plugin is ill")

// Status is part of the plugin's API.
func (k *KMS) Status(context.Context) (*service.StatusResponse, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ill {
		return nil, errIll
	}
	return &service.StatusResponse{Version: "v2", Healthz: "ok", KeyID: k.keyID}, nil
}

// Encrypt is part of the plugin's API.
func (k *KMS) Encrypt(_ context.Context, _ string, plain []byte) (*service.EncryptResponse, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ill {
		return nil, errIll
	}
	return &service.EncryptResponse{KeyID: k.keyID, Ciphertext: []byte(k.keyID + ":" + base64.StdEncoding.EncodeToString(plain)),
		Annotations: map[string][]byte{"toy.example.com": []byte("1")}}, nil
}

// Decrypt is part of the plugin's API.
func (k *KMS) Decrypt(_ context.Context, _ string, r *service.DecryptRequest) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls++
	head := len(r.KeyID) + 1
	if k.ill || len(r.Ciphertext) < head || string(r.Ciphertext[:head]) != r.KeyID+":" {
		return nil, errIll
	}
	return base64.StdEncoding.DecodeString(string(r.Ciphertext[head:]))
}
