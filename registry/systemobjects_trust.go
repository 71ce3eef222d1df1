package registry

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/registry/store"
)

// trustName is the ConfigMap in kube-system that tells whose word counts.
const trustName = "extension-apiserver-authentication"

// Trust is what servers behind the aggregation layer have to know to believe what this server says of a user.
type Trust struct {
	ClientCA []byte // authorities of client certificates, PEM
	ProxyCA  []byte // authorities of the front proxy's certificate, PEM

	// The names that certificate may have, and the headers in which the proxy tells of a user.
	ProxyNames, UserHeaders, UIDHeaders, GroupHeaders, ExtraPrefixes []string
}

// lists are the ConfigMap's keys that hold lists.
func (t Trust) lists() map[string][]string {
	return map[string][]string{
		"requestheader-username-headers": t.UserHeaders, "requestheader-group-headers": t.GroupHeaders,
		"requestheader-extra-headers-prefix": t.ExtraPrefixes, "requestheader-uid-headers": t.UIDHeaders,
		"requestheader-allowed-names": t.ProxyNames,
	}
}

// EnsureTrust publishes the authorities; those that another server has published are kept beside its own, until they
// expire.
func (r *Registry) EnsureTrust(ctx context.Context, t Trust) error {
	if len(t.ClientCA)+len(t.ProxyCA) == 0 {
		return nil
	}
	now := time.Now()
	row, key := r.Resource("", "configmaps"), store.Key{Namespace: metav1.NamespaceSystem, Name: trustName}
	first := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	if err := t.addTo(first, now); err != nil {
		return err
	}
	if err := r.createMissing(ctx, row, first); err != nil {
		return err
	}
	_, err := r.Update(ctx, row, "", key, func(o Object) error { return t.addTo(o.(*corev1.ConfigMap), now) })
	return err
}

// addTo adds to what the ConfigMap says already.
func (t Trust) addTo(c *corev1.ConfigMap, now time.Time) error {
	if c.Data == nil {
		c.Data = map[string]string{}
	}
	if len(t.ClientCA) > 0 {
		c.Data["client-ca-file"] = joinAuthorities(c.Data["client-ca-file"], t.ClientCA, now)
	}
	if len(t.ProxyCA) == 0 {
		return nil
	}
	c.Data["requestheader-client-ca-file"] = joinAuthorities(c.Data["requestheader-client-ca-file"], t.ProxyCA, now)
	for key, ours := range t.lists() {
		all, err := joinList(c.Data[key], ours)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if len(ours) > 0 || key != "requestheader-uid-headers" {
			c.Data[key] = all
		}
	}
	return nil
}

// joinList adds what is missing to a list in JSON.
func joinList(have string, more []string) (string, error) {
	all := []string{}
	if have != "" {
		if err := json.Unmarshal([]byte(have), &all); err != nil {
			return "", err
		}
	}
	for _, one := range more {
		if !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	text, err := json.Marshal(all)
	return string(text), err
}

// joinAuthorities are the certificates of both, each once, but for those that have expired.
func joinAuthorities(have string, more []byte, now time.Time) string {
	var all strings.Builder
	var seen [][]byte
	for rest := append([]byte(have+"\n"), more...); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return all.String()
		}
		known := slices.ContainsFunc(seen, func(one []byte) bool { return bytes.Equal(one, block.Bytes) })
		certificate, err := x509.ParseCertificate(block.Bytes)
		if known || err != nil || now.After(certificate.NotAfter) {
			continue
		}
		seen = append(seen, block.Bytes)
		all.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes}))
	}
}
