package registry

import (
	"context"
	"encoding/json"
	"maps"
	"strings"

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
}

// EnsureTrust publishes the authorities; those that another server has published are kept beside its own.
func (r *Registry) EnsureTrust(ctx context.Context, t Trust) error {
	want := map[string]string{}
	if len(t.ClientCA) > 0 {
		want["client-ca-file"] = string(t.ClientCA)
	}
	if len(t.ProxyCA) > 0 {
		want["requestheader-client-ca-file"] = string(t.ProxyCA)
		for key, names := range map[string][]string{
			"requestheader-username-headers": {"X-Remote-User"}, "requestheader-group-headers": {"X-Remote-Group"},
			"requestheader-extra-headers-prefix": {"X-Remote-Extra-"}, "requestheader-uid-headers": {"X-Remote-Uid"},
			"requestheader-allowed-names": {"front-proxy-client"},
		} {
			j, err := json.Marshal(names)
			if err != nil {
				return err
			}
			want[key] = string(j)
		}
	}
	if len(want) == 0 {
		return nil
	}
	row, key := r.Resource("", "configmaps"), store.Key{Namespace: metav1.NamespaceSystem, Name: trustName}
	if err := r.createMissing(ctx, row, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Data: maps.Clone(want)}); err != nil {
		return err
	}
	_, err := r.Update(ctx, row, "", key, func(o Object) error {
		c := o.(*corev1.ConfigMap)
		if c.Data == nil {
			c.Data = map[string]string{}
		}
		for k, v := range want {
			if strings.HasSuffix(k, "ca-file") {
				v = joinPEM(c.Data[k], v)
			}
			c.Data[k] = v
		}
		return nil
	})
	return err
}

// joinPEM adds the certificates that are not there.
func joinPEM(have, more string) string {
	if strings.Contains(have, strings.TrimSpace(more)) {
		return have
	}
	return have + more
}
