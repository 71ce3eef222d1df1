package auth

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	externaljwtv1 "k8s.io/externaljwt/apis/v1"
)

// ExternalSigner is a process beside this one that keeps the keys of service account tokens, in a hardware module for
// example: it signs, and says which keys verify. It is asked over a Unix socket, in gRPC (KEP 740).
type ExternalSigner struct {
	// MaxLife is the longest that its tokens live.
	MaxLife time.Duration

	connection *grpc.ClientConn
	client     externaljwtv1.ExternalJWTSignerClient
	log        *slog.Logger
	set        atomic.Pointer[KeySet]

	fetching sync.Mutex // one question at a time; guards searched
	searched time.Time  // for a key that was not known
}

const (
	fetchKeysPatience = time.Minute
	fetchKeysRetry    = 10 * time.Second
	searchPause       = time.Second // between fetches for keys that are not known
	maxKeyID          = 1024        // characters
	minTokenLife      = 10 * time.Minute
)

// DialSigner connects to the signer at a socket, and asks for its keys and bounds.
func DialSigner(ctx context.Context, socket string, log *slog.Logger) (*ExternalSigner, error) {
	connection, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()), // whoever may open the socket is trusted
		grpc.WithAuthority("localhost"), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		return nil, err
	}
	s := &ExternalSigner{connection: connection, client: externaljwtv1.NewExternalJWTSignerClient(connection), log: log}
	s.set.Store(&KeySet{})
	if err = s.open(ctx); err != nil {
		connection.Close()
		return nil, fmt.Errorf("signer at %s: %w", socket, err)
	}
	return s, nil
}

func (s *ExternalSigner) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fetchKeysPatience)
	defer cancel()
	if err := s.fetch(ctx); err != nil {
		return err
	}
	about, err := s.client.Metadata(ctx, &externaljwtv1.MetadataRequest{})
	if err != nil {
		return err
	}
	if s.MaxLife = time.Duration(about.MaxTokenExpirationSeconds) * time.Second; s.MaxLife < minTokenLife {
		return fmt.Errorf("its tokens live for %v at most, which is less than %v", s.MaxLife, minTokenLife)
	}
	return nil
}

// Run fetches keys when the signer says that it is time, until ctx ends. Keys that cannot be fetched leave the old ones.
func (s *ExternalSigner) Run(ctx context.Context) {
	defer s.connection.Close()
	due := time.NewTimer(time.Until(s.Keys().Until))
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-due.C:
		}
		patient, cancel := context.WithTimeout(ctx, fetchKeysPatience)
		if err := s.fetch(patient); err != nil {
			if ctx.Err() == nil {
				s.log.Error("fetch the keys of service account tokens", "err", err)
			}
			due.Reset(fetchKeysRetry)
		} else {
			due.Reset(time.Until(s.Keys().Until))
		}
		cancel()
	}
}

// Keys are those that were fetched last.
func (s *ExternalSigner) Keys() *KeySet { return s.set.Load() }

// Search fetches the keys again, for one that is not known; not all the time, for anybody can make up the id of a key.
func (s *ExternalSigner) Search(ctx context.Context, _ string) *KeySet {
	s.fetching.Lock()
	defer s.fetching.Unlock()
	if time.Since(s.searched) > searchPause {
		if err := s.fetchLocked(ctx); err != nil {
			s.log.Warn("fetch the keys of service account tokens", "err", err)
		}
		s.searched = time.Now()
	}
	return s.Keys()
}

func (s *ExternalSigner) fetch(ctx context.Context) error {
	s.fetching.Lock()
	defer s.fetching.Unlock()
	return s.fetchLocked(ctx)
}

// fetchLocked takes the signer's keys into use. s.fetching is held.
func (s *ExternalSigner) fetchLocked(ctx context.Context) error {
	answer, err := s.client.FetchKeys(ctx, &externaljwtv1.FetchKeysRequest{})
	if err != nil {
		return err
	}
	if answer.RefreshHintSeconds <= 0 {
		return fmt.Errorf("found invalid refresh hint (%ds)", answer.RefreshHintSeconds)
	}
	if err := answer.DataTimestamp.CheckValid(); err != nil {
		return fmt.Errorf("invalid data timestamp: %w", err)
	}
	keys, err := externalKeys(answer.Keys)
	if err != nil {
		return err
	}
	if before := s.Keys().Keys; slices.EqualFunc(before, keys, verificationKey.equal) {
		keys = before // so that nobody has to verify again what he has verified
	}
	until := time.Now().Add(time.Duration(answer.RefreshHintSeconds) * time.Second)
	s.set.Store(&KeySet{Keys: keys, Until: until})
	return nil
}

func externalKeys(told []*externaljwtv1.Key) (VerificationKeys, error) {
	if len(told) == 0 {
		return nil, errors.New("found no keys")
	}
	var keys VerificationKeys
	for _, k := range told {
		if k == nil || k.KeyId == "" || len(k.KeyId) > maxKeyID {
			return nil, errors.New("found a key without an id, or with one that is too long")
		}
		public, err := x509.ParsePKIXPublicKey(k.Key)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", k.KeyId, err)
		}
		algorithms := algorithmsOf(public)
		if algorithms == nil {
			return nil, fmt.Errorf("key %s is a %T, with which no tokens are verified", k.KeyId, public)
		}
		keys = append(keys, verificationKey{id: k.KeyId, public: public, algorithms: algorithms, hidden: k.ExcludeFromOidcDiscovery})
	}
	return keys, nil
}

// Sign has the claims signed. A token that nobody could verify is an error here, where it is made.
func (s *ExternalSigner) Sign(ctx context.Context, claims []byte) (string, error) {
	payload := base64.RawURLEncoding.EncodeToString(claims)
	answer, err := s.client.Sign(ctx, &externaljwtv1.SignJWTRequest{Claims: payload})
	if err != nil {
		return "", fmt.Errorf("while signing jwt: %w", err)
	}
	if err := s.checkHeader(answer.Header); err != nil {
		return "", fmt.Errorf("while validating header: %w", err)
	}
	if answer.Signature == "" {
		return "", errors.New("empty signature returned")
	}
	return answer.Header + "." + payload + "." + answer.Signature, nil
}

func (s *ExternalSigner) checkHeader(encoded string) error {
	text, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return fmt.Errorf("while unwrapping header: %w", err)
	}
	var header struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
		Type      string `json:"typ"`
	}
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&header); err != nil {
		return fmt.Errorf("while parsing header JSON: %w", err)
	}
	switch {
	case header.Type != "JWT":
		return errors.New("bad type")
	case header.KeyID == "":
		return errors.New("key id missing")
	case len(header.KeyID) > maxKeyID:
		return errors.New("key id longer than 1 kb")
	case !slices.Contains([]string{"RS256", "ES256", "ES384", "ES512"}, header.Algorithm):
		return fmt.Errorf("bad signing algorithm %q", header.Algorithm)
	}
	for _, k := range s.Keys().Keys.named(header.KeyID) {
		if k.hidden {
			return fmt.Errorf("key used for signing JWT (kid: %s) is excluded from OIDC discovery docs", header.KeyID)
		}
	}
	return nil
}
