package encryption_test

import (
	"bytes"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/registry/store/encryption"
)

// FuzzOpen opens what nobody has sealed: whatever stands in etcd, it must not bring the server down.
func FuzzOpen(f *testing.F) {
	const providers = `
  - aescbc: {keys: [{name: a, secret: KEY}]}
  - aesgcm: {keys: [{name: a, secret: KEY}]}
  - secretbox: {keys: [{name: a, secret: KEY}]}
  - identity: {}`
	for _, prefix := range []string{"k8s:enc:aescbc:v1:a:", "k8s:enc:aesgcm:v1:a:", "k8s:enc:secretbox:v1:a:", "k8s:enc:aescbc:v1:", "k8s:enc:", "k8s\x00", ""} {
		for _, n := range []int{0, 1, 12, 15, 16, 17, 28, 32, 40, 48} {
			f.Add([]byte(prefix + strings.Repeat("x", n)))
		}
	}
	f.Fuzz(func(t *testing.T, sealed []byte) {
		r := encryption.Resource{Name: schema.GroupResource{Resource: "secrets"},
			Keys: keysOf(t, "resources:\n- resources: [secrets]\n  providers:"+strings.ReplaceAll(providers, "KEY", secret("k"))), Counts: encryption.NewCounts()}
		plain, stale, err := r.Open(t.Context(), "/k", sealed)
		if err == nil && !encryption.Marked(sealed) && (!bytes.Equal(plain, sealed) || !stale) {
			t.Errorf("%q is opened as %q, stale %v", sealed, plain, stale)
		}
	})
}
