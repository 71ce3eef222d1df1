package test

import (
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/knarr-dev/knarr/test/cluster"
)

// encrypted is a configuration for Secrets with keys of these names, in this order.
func encrypted(keys ...string) string {
	text := "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  - aesgcm:\n      keys:\n"
	for _, k := range keys {
		secret := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(k[len(k)-1:], 32)))
		text += "      - {name: " + k + ", secret: " + secret + "}\n"
	}
	return text + "  - identity: {}\n"
}

// rewrite replaces a file in one step, as editors and Kubernetes itself do.
func rewrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// kubectl runs the cluster's kubectl and returns what it prints.
func kubectl(t *testing.T, c *cluster.Cluster, stdin string, args ...string) (string, error) {
	t.Helper()
	run := exec.CommandContext(t.Context(), cluster.Binary(t, "kubectl"), args...)
	run.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig, "HOME="+t.TempDir())
	run.Stdin = strings.NewReader(stdin)
	out, err := run.CombinedOutput()
	return string(out), err
}

// TestKeysAreRotatedWithoutARestart follows docs/encryption.md: a new key, everything rewritten by kubectl, the old key
// removed.
func TestKeysAreRotatedWithoutARestart(t *testing.T) {
	url, etcd := cluster.StartEtcd(t)
	config := filepath.Join(t.TempDir(), "encryption.yaml")
	rewrite(t, config, encrypted("key1"))
	c := cluster.Start(t, "apiserver", "--etcd-servers="+url, "--encryption-provider-config="+config, "--encryption-provider-config-automatic-reload")
	must := func(stdin string, args ...string) string {
		t.Helper()
		out, err := kubectl(t, c, stdin, args...)
		if err != nil {
			t.Fatalf("kubectl %v: %v: %s", args, err, out)
		}
		return out
	}
	must("", "create", "secret", "generic", "cargo", "--from-literal=what=amber")
	sealedBy := func(key string) bool {
		v := valueAt(t, etcd, "/registry/secrets/default/cargo")
		return strings.HasPrefix(v, "k8s:enc:aesgcm:v1:"+key+":") && !strings.Contains(v, "amber")
	}
	if !sealedBy("key1") {
		t.Error("not sealed by key1")
	}

	rewrite(t, config, encrypted("key2", "key1"))
	eventually(t, "the file is read again", func() bool { return strings.Contains(c.Log(), "a changed file is taken into use") })
	must(must("", "get", "secrets", "-o", "json"), "replace", "-f", "-")
	if !sealedBy("key2") {
		t.Error("not sealed by key2")
	}
	rewrite(t, config, strings.Replace(encrypted("key3"), "secret:", "sekret:", 1))
	eventually(t, "the log tells of a broken file", func() bool {
		return strings.Contains(c.Log(), "encryption.yaml:8: unknown field") && strings.Contains(c.Log(), "what it said before holds")
	})
	must("", "create", "secret", "generic", "more", "--from-literal=what=furs")
	if v := valueAt(t, etcd, "/registry/secrets/default/more"); !strings.HasPrefix(v, "k8s:enc:aesgcm:v1:key2:") {
		t.Errorf("under a broken file: %q", v)
	}

	c.Stop()
	rewrite(t, config, encrypted("key2"))
	c.Restart()
	if out := must("", "get", "secret", "cargo", "-o", "jsonpath={.data.what}"); out != base64.StdEncoding.EncodeToString([]byte("amber")) {
		t.Errorf("after the rotation: %s", out)
	}
	if out := must("", "get", "--raw", "/readyz?verbose"); !strings.Contains(out, "[+]kms-providers ok") {
		t.Error(out)
	}

	c.Stop()
	rewrite(t, config, encrypted("key4"))
	c.Restart()
	if out, err := kubectl(t, c, "", "get", "secrets"); err == nil || !strings.Contains(out, `unable to transform key "/registry/secrets/default/cargo": no matching key was found for the provided AES transformer`) {
		t.Errorf("without the key: %v: %s", err, out)
	}
}

// TestAKMSPluginSealsEverything encrypts all resources, and restarts on them.
func TestAKMSPluginSealsEverything(t *testing.T) {
	url, etcd := cluster.StartEtcd(t)
	plugin := cluster.StartKMS(t)
	config := filepath.Join(t.TempDir(), "encryption.yaml")
	rewrite(t, config, "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: ['*.*']\n  providers:\n"+
		"  - kms: {apiVersion: v2, name: toy, endpoint: '"+plugin.Endpoint+"'}\n")
	c := cluster.Start(t, "apiserver", "--etcd-servers="+url, "--encryption-provider-config="+config)
	if out, err := kubectl(t, c, "", "create", "configmap", "cargo", "--from-literal=what=amber"); err != nil {
		t.Fatal(out)
	}
	all, err := etcd.Get(t.Context(), "/registry/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	plain := 0
	for _, kv := range all.Kvs {
		key := string(kv.Key)
		sealed := strings.HasPrefix(string(kv.Value), "k8s:enc:kms:v2:toy:")
		if internal := strings.HasPrefix(key, "/registry/ranges/") || strings.HasPrefix(key, "/registry/masterleases/"); internal == sealed {
			t.Errorf("%s: sealed is %v", key, sealed)
		}
		if !sealed {
			plain++
		}
	}
	if len(all.Kvs)-plain < 100 {
		t.Errorf("%d of %d values are sealed", len(all.Kvs)-plain, len(all.Kvs))
	}

	c.Stop()
	plugin.SetIll(true)
	c.Launch()
	eventually(t, "readiness tells of the plugin", func() bool {
		out, err := kubectl(t, c, "", "get", "--raw", "/readyz")
		return err != nil && strings.Contains(out, "[-]kms-providers failed")
	})
	plugin.SetIll(false)
	c.AwaitReady()
	out, err := kubectl(t, c, "", "get", "configmap", "cargo", "-o", "jsonpath={.data.what}")
	if err != nil || out != "amber" {
		t.Errorf("after a restart: %v: %s", err, out)
	}
	if out, err := kubectl(t, c, "", "get", "--raw", "/metrics"); err != nil || !strings.Contains(out,
		`apiserver_storage_transformation_operations_total{resource="configmaps",status="OK",transformation_type="from_storage",transformer_prefix="k8s:enc:kms:v2:toy:"}`) ||
		!strings.Contains(out, `apiserver_envelope_encryption_dek_source_cache_size{provider_name="toy"} `) {
		t.Errorf("metrics are missing: %v", err)
	}
	if n := plugin.Decryptions(); n > 60 {
		t.Errorf("%d decryptions for one seed", n)
	}
}

func TestAMalformedEncryptionFileStopsTheStart(t *testing.T) {
	config := filepath.Join(t.TempDir(), "encryption.yaml")
	rewrite(t, config, strings.Replace(encrypted("key1"), "secret: ", "secret: x", 1))
	out, err := exec.CommandContext(t.Context(), cluster.Binary(t, "knarr"), "apiserver", "--data-dir="+t.TempDir(), "--encryption-provider-config="+config).CombinedOutput()
	if err == nil || !strings.Contains(string(out), config+":8: ") || !strings.Contains(string(out), `"REDACTED"`) {
		t.Errorf("%v: %s", err, out)
	}
}

// valueAt is what etcd holds under a key.
func valueAt(t *testing.T, etcd *clientv3.Client, key string) string {
	t.Helper()
	r, err := etcd.Get(t.Context(), key)
	if err != nil || len(r.Kvs) != 1 {
		t.Fatalf("%s: %v", key, err)
	}
	return string(r.Kvs[0].Value)
}
