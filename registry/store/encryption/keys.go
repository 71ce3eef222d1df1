package encryption

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/storage/value"
)

// Keys is what an EncryptionConfiguration says, ready to use.
type Keys struct {
	rings map[schema.GroupResource]ring
	kms   []*kms
	grace time.Duration // that calls under way may take
	end   context.CancelFunc
	tasks sync.WaitGroup
}

// anything stands for all groups, or all resources of one.
const anything = "*"

// Open makes Keys of a configuration that Validate has found right. Plugins are asked once, each for its own timeout at
// most; one that does not answer is no error, but see Healthy. Close ends the Keys.
func Open(c *apiserverv1.EncryptionConfiguration, log *slog.Logger) (_ *Keys, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	k := &Keys{rings: map[schema.GroupResource]ring{}, end: cancel}
	defer func() {
		if err != nil {
			k.Close()
		}
	}()
	for _, entry := range c.Resources {
		members, err := k.providers(ctx, entry.Providers, log)
		if err != nil {
			return nil, err
		}
		for _, name := range entry.Resources {
			gr := schema.ParseGroupResource(name)
			r := k.rings[gr]
			k.rings[gr] = ring{errNoPrefix, append(r.members, members...)}
		}
	}
	return k, nil
}

// providers makes the members of a ring, in order.
func (k *Keys) providers(ctx context.Context, configs []apiserverv1.ProviderConfiguration, log *slog.Logger) ([]member, error) {
	var members []member
	for _, p := range configs {
		var m member
		var err error
		switch {
		case p.AESCBC != nil:
			m, err = keyRing("k8s:enc:aescbc:v1:", "AES", p.AESCBC.Keys, newCBC)
		case p.AESGCM != nil:
			m, err = keyRing("k8s:enc:aesgcm:v1:", "AES", p.AESGCM.Keys, newGCM)
		case p.Secretbox != nil:
			m, err = keyRing("k8s:enc:secretbox:v1:", "Secretbox", p.Secretbox.Keys, newSecretbox)
		case p.KMS != nil:
			m, err = k.plugin(ctx, p.KMS, log)
		default:
			m = member{cipher: identity{}}
		}
		if err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	return members, nil
}

// plugin makes the member of a KMS plugin, and looks after the plugin from now on.
func (k *Keys) plugin(ctx context.Context, c *apiserverv1.KMSConfiguration, log *slog.Logger) (member, error) {
	p, err := openKMS(ctx, c, log)
	if err != nil {
		return member{}, fmt.Errorf("KMS provider %s: %w", c.Name, err)
	}
	k.kms = append(k.kms, p)
	k.grace += 2 * c.Timeout.Duration
	k.tasks.Go(func() { p.keep(ctx) })
	return member{"k8s:enc:kms:v2:" + c.Name + ":", p.transformer()}, nil
}

// ringFor is the ring of a resource: its own, its group's, that of all, or the one that does not encrypt.
func (k *Keys) ringFor(gr schema.GroupResource) value.Transformer {
	for _, name := range []schema.GroupResource{gr, {Group: gr.Group, Resource: anything}, {Group: anything, Resource: anything}} {
		if r, ok := k.rings[name]; ok {
			return r
		}
	}
	return identity{}
}

// UsesKMS reports whether there is a plugin to ask.
func (k *Keys) UsesKMS() bool { return len(k.kms) > 0 }

// Healthy asks every KMS plugin how it is, unless it has said so a moment ago.
func (k *Keys) Healthy(ctx context.Context) error {
	for i, p := range k.kms {
		if err := p.check(ctx); err != nil {
			return fmt.Errorf("kms-provider-%d: %w", i, err)
		}
	}
	return nil
}

// Retire closes the Keys once calls that are under way have had their time.
func (k *Keys) Retire() { time.AfterFunc(k.grace, k.Close) }

// Close ends the connections to plugins. What is sealed or opened from now on by one of them fails.
func (k *Keys) Close() {
	k.end()
	k.tasks.Wait()
}

// Resource seals and opens the values of one resource, by the keys that are present. It is what a store holds.
type Resource struct {
	Name   schema.GroupResource
	Keys   func() *Keys
	Counts *Counts // nil counts nothing
}

// Seal is the value as etcd gets it, under an etcd key.
func (r Resource) Seal(ctx context.Context, key string, plain []byte) ([]byte, error) {
	start := time.Now()
	ring := r.Keys().ringFor(r.Name)
	sealed, err := ring.TransformToStorage(ctx, plain, value.DefaultContext(key))
	if r.Counts != nil {
		r.Counts.count(r, "to_storage", sealer(ring), start, err)
	}
	return sealed, err
}

// Open is the inverse of Seal. stale tells that the value would be sealed otherwise today.
func (r Resource) Open(ctx context.Context, key string, sealed []byte) (plain []byte, stale bool, err error) {
	start := time.Now()
	plain, stale, err = r.Keys().ringFor(r.Name).TransformFromStorage(ctx, sealed, value.DefaultContext(key))
	if r.Counts != nil {
		r.Counts.count(r, "from_storage", prefixOf(sealed, err), start, err)
	}
	return plain, stale, err
}
