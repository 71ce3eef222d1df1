package encryption

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/knarr-dev/knarr/test/cluster"
)

// askAgain makes the next check one that asks the plugin.
func (p *kms) askAgain(ctx context.Context) error {
	p.mu.Lock()
	p.until = time.Time{}
	p.mu.Unlock()
	return p.check(ctx)
}

func TestAPluginsKeyIsFollowedAndItsIllnessBorne(t *testing.T) {
	plugin := cluster.StartKMS(t)
	plugin.SetIll(true)
	p, err := openKMS(t.Context(), &apiserverv1.KMSConfiguration{Name: "toy", Endpoint: plugin.Endpoint, Timeout: &metav1.Duration{Duration: time.Second}},
		slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c, at := p.transformer(), value.DefaultContext("/k")
	if _, err := c.TransformToStorage(t.Context(), []byte("plain"), at); err == nil {
		t.Error("sealed without a seed")
	}
	if err := p.check(t.Context()); err == nil || !strings.Contains(err.Error(), "failed to perform status section of the healthz check for KMS Provider toy") {
		t.Errorf("ill from the start: %v", err)
	}
	plugin.SetIll(false)
	if err := p.check(t.Context()); err == nil {
		t.Error("what was found a moment ago is not believed")
	}
	if err := p.askAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, err := c.TransformToStorage(t.Context(), []byte("plain"), at)
	if err != nil {
		t.Fatal(err)
	}
	if _, stale, err := c.TransformFromStorage(t.Context(), first, at); err != nil || stale {
		t.Errorf("stale %v, %v", stale, err)
	}

	plugin.Rotate("key-2")
	if err := p.askAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, stale, err := c.TransformFromStorage(t.Context(), first, at); err != nil || !stale {
		t.Errorf("under a former key: stale %v, %v", stale, err)
	}
	if plugin.Decryptions() != 0 {
		t.Error("the plugin is asked for seeds that were made here")
	}

	impatient, leave := context.WithCancel(t.Context())
	leave()
	if err := p.askAgain(impatient); err == nil {
		t.Error("who did not wait has learned something")
	}
	if err := p.check(t.Context()); err != nil {
		t.Errorf("the plugin is taken for ill because somebody did not wait for its answer: %v", err)
	}

	plugin.SetIll(true)
	if err := p.askAgain(t.Context()); err == nil {
		t.Error("ill, and nobody knows")
	}
	if _, err := c.TransformToStorage(t.Context(), []byte("plain"), at); err != nil {
		t.Errorf("a short illness is not borne: %v", err)
	}
	late := *p.state.Load()
	late.ExpirationTimestamp = time.Now().Add(-time.Second)
	p.state.Store(&late)
	if _, err := c.TransformToStorage(t.Context(), []byte("plain"), at); err == nil {
		t.Error("a long illness is borne in writing")
	}
	if _, _, err := c.TransformFromStorage(t.Context(), first, at); err != nil {
		t.Errorf("a long illness is not borne in reading: %v", err)
	}
}
