package encryption_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"os"
	"path"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"sigs.k8s.io/yaml"

	"github.com/knarr-dev/knarr/registry/store/encryption"
	"github.com/knarr-dev/knarr/test/cluster"
)

func configOf(t *testing.T, text string) *apiserverv1.EncryptionConfiguration {
	t.Helper()
	c := &apiserverv1.EncryptionConfiguration{}
	if err := yaml.Unmarshal([]byte(text), c); err != nil {
		t.Fatal(err)
	}
	encryption.Default(c)
	return c
}

// keysOf are the Keys of a configuration's entries.
func keysOf(t *testing.T, text string) func() *encryption.Keys {
	t.Helper()
	c := configOf(t, text)
	if errs := encryption.Validate(c); len(errs) > 0 {
		t.Fatal(errs)
	}
	k, err := encryption.Open(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return func() *encryption.Keys { return k }
}

// secret is a key of 32 bytes as a file has it.
func secret(of string) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte(of), 32)) }

// TestWhatKubeAPIServerHasSealedIsOpened reads values that kube-apiserver 1.36.3 has written by each provider, and seals
// them again in the same form.
func TestWhatKubeAPIServerHasSealedIsOpened(t *testing.T) {
	kms := cluster.StartKMS(t)
	text, err := os.ReadFile("testdata/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	keys := keysOf(t, strings.ReplaceAll(string(text), "ENDPOINT", kms.Endpoint))
	resources := map[string]struct {
		schema.GroupResource
		prefix, holds string
	}{
		"/registry/secrets/default":                                {schema.GroupResource{Resource: "secrets"}, "k8s:enc:aescbc:v1:cbc1:", "in the hold"},
		"/registry/configmaps/default":                             {schema.GroupResource{Resource: "configmaps"}, "k8s:enc:aesgcm:v1:gcm1:", "in the hold"},
		"/registry/serviceaccounts/default":                        {schema.GroupResource{Resource: "serviceaccounts"}, "k8s:enc:secretbox:v1:box1:", "ServiceAccount"},
		"/registry/leases/default":                                 {schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}, "k8s:enc:kms:v2:toy:", "in the hold"},
		"/registry/deployments/default":                            {schema.GroupResource{Group: "apps", Resource: "deployments"}, "k8s:enc:kms:v2:toyall:", "in-the-hold"},
		"/registry/apiextensions.k8s.io/customresourcedefinitions": {schema.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"}, "k8s:enc:kms:v2:toyall:", `{"kind":"CustomResourceDefinition"`},
		"/registry/apiregistration.k8s.io/apiservices":             {schema.GroupResource{Group: "apiregistration.k8s.io", Resource: "apiservices"}, "k8s:enc:kms:v2:toyall:", `{"kind":"APIService"`},
	}
	found := 0
	for key, value := range fixture(t) {
		r, ok := resources[path.Dir(key)]
		if !ok {
			continue // kept in plain
		}
		found++
		at := encryption.Resource{Name: r.GroupResource, Keys: keys}
		plain, stale, err := at.Open(t.Context(), key, value)
		if err != nil || stale || !bytes.Contains(plain, []byte(r.holds)) {
			t.Errorf("%s: %q, stale %v, %v", key, plain, stale, err)
			continue
		}
		sealed, err := at.Seal(t.Context(), key, plain)
		if err != nil || !bytes.HasPrefix(sealed, []byte(r.prefix)) || bytes.Contains(sealed, []byte(r.holds)) || bytes.Equal(sealed, value) {
			t.Errorf("%s is sealed as %q, %v", key, sealed, err)
		}
		if again, _, err := at.Open(t.Context(), key, sealed); err != nil || !bytes.Equal(again, plain) {
			t.Errorf("%s: what was sealed cannot be opened: %v", key, err)
		}
		bound := strings.Contains(r.prefix, "aesgcm") || strings.Contains(r.prefix, "kms")
		if _, _, err := at.Open(t.Context(), key+"x", sealed); bound != (err != nil) {
			t.Errorf("%s, moved to another key: %v", key, err)
		}
	}
	if found != len(resources) {
		t.Errorf("%d of %d resources are in the fixture", found, len(resources))
	}
	if n := kms.Decryptions(); n != 2 {
		t.Errorf("the plugin was asked %d times for two seeds", n)
	}
}

func fixture(t *testing.T) map[string][]byte {
	t.Helper()
	f, err := os.Open("testdata/kube-apiserver-1.36.3.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string][]byte{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kept struct {
			Key   string
			Value []byte
		}
		if err := json.Unmarshal(lines.Bytes(), &kept); err != nil {
			t.Fatal(err)
		}
		all[kept.Key] = kept.Value
	}
	return all
}

func TestKeysAreRotated(t *testing.T) {
	const key, plain = "/registry/secrets/n/s", "k8s\x00plain"
	entry := func(providers string) func() *encryption.Keys {
		return keysOf(t, "resources: [{resources: [secrets], providers: ["+providers+"]}]")
	}
	cbc := func(keys ...string) string {
		var list []string
		for _, k := range keys {
			list = append(list, "{name: "+k+", secret: "+secret(k)+"}")
		}
		return "{aescbc: {keys: [" + strings.Join(list, ",") + "]}}"
	}
	sealed := map[string][]byte{"plain": []byte(plain)}
	for name, providers := range map[string]string{"a": cbc("a"), "b": cbc("b"), "box": "{secretbox: {keys: [{name: a, secret: " + secret("z") + "}]}}"} {
		var err error
		if sealed[name], err = (encryption.Resource{Name: schema.GroupResource{Resource: "secrets"}, Keys: entry(providers)}).Seal(t.Context(), key, []byte(plain)); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		providers, value string
		stale            bool
		err              string
	}{
		"the present key":                       {cbc("a"), "a", false, ""},
		"a former key of the same provider":     {cbc("b", "a"), "a", true, ""},
		"a former key in a provider of its own": {cbc("b") + "," + cbc("a"), "a", true, ""},
		"a former provider":                     {cbc("a") + ",{secretbox: {keys: [{name: a, secret: " + secret("z") + "}]}}", "box", true, ""},
		"not yet encrypted":                     {cbc("a") + ",{identity: {}}", "plain", true, ""},
		"to be decrypted":                       {"{identity: {}}," + cbc("a"), "a", true, ""},
		"not encrypted, and not to be":          {"{identity: {}}," + cbc("a"), "plain", false, ""},
		"a key that is not known":               {cbc("b"), "a", false, "no matching key was found for the provided AES transformer"},
		"a provider that is not known":          {cbc("b"), "box", false, "no matching prefix found"},
		"plain, where that is not provided for": {cbc("b"), "plain", false, "no matching prefix found"},
		"another key of the same name":          {"{aescbc: {keys: [{name: a, secret: " + secret("x") + "}]}}", "a", false, "padding"},
		"encrypted, where nothing is encrypted": {"{identity: {}}", "a", false, "no matching prefix found"},
	} {
		r := encryption.Resource{Name: schema.GroupResource{Resource: "secrets"}, Keys: entry(c.providers)}
		got, stale, err := r.Open(t.Context(), key, sealed[c.value])
		switch {
		case c.err == "padding": // by chance the padding may look right: then the text is not
			if err == nil && string(got) == plain {
				t.Errorf("%s: opened", name)
			}
		case c.err != "":
			if err == nil || err.Error() != c.err {
				t.Errorf("%s: %v, want %s", name, err, c.err)
			}
		case err != nil || string(got) != plain || stale != c.stale:
			t.Errorf("%s: %q, stale %v, %v", name, got, stale, err)
		}
	}
}

func TestTheMostSpecificEntryCounts(t *testing.T) {
	box := func(name string) string {
		return "[{secretbox: {keys: [{name: " + name + ", secret: " + secret("k") + "}]}}]"
	}
	keys := keysOf(t, `resources:
- {resources: [events], providers: [{identity: {}}]}
- {resources: [secrets, deployments.apps], providers: `+box("own")+`}
- {resources: ["*.apps"], providers: `+box("group")+`}
- {resources: ["*."], providers: `+box("core")+`}
- {resources: ["*.*"], providers: `+box("all")+`}`)
	for gr, want := range map[schema.GroupResource]string{
		{Resource: "events"}:                        "",
		{Resource: "secrets"}:                       "own",
		{Group: "apps", Resource: "deployments"}:    "own",
		{Group: "apps", Resource: "statefulsets"}:   "group",
		{Resource: "pods"}:                          "core",
		{Group: "example.com", Resource: "widgets"}: "all",
	} {
		if want != "" {
			want = "k8s:enc:secretbox:v1:" + want + ":"
		}
		sealed, err := encryption.Resource{Name: gr, Keys: keys}.Seal(t.Context(), "/k", []byte("plain"))
		if err != nil || !bytes.HasPrefix(sealed, []byte(want)) || want == "" && string(sealed) != "plain" {
			t.Errorf("%v: %q, %v", gr, sealed, err)
		}
	}
}

func TestAMalformedConfigurationIsRefusedWithoutShowingSecrets(t *testing.T) {
	key := "{name: a, secret: " + secret("k") + "}"
	providers := func(p string) string { return "[{resources: [secrets], providers: [" + p + "]}]" }
	kms := func(rest string) string {
		return providers("{kms: {apiVersion: v2, name: a, endpoint: 'unix:///x'" + rest + "}}")
	}
	for entries, want := range map[string]string{
		"[]": "resources: Required value",
		"[{resources: [], providers: [{identity: {}}]}]": "resources[0].resources: Required value",
		"[{resources: [secrets], providers: []}]":        "resources[0].providers: Required value",
		providers("{}"): "provider does not contain any of the expected providers",
		providers("{identity: {}, aescbc: {keys: [" + key + "]}}"):               "more than one provider",
		providers("{aescbc: {keys: []}}"):                                        "aescbc.keys: Required value: at least one keys is required",
		providers("{aescbc: {keys: [{secret: YWJjZA==}]}}"):                      "name is a mandatory field",
		providers("{aescbc: {keys: [{name: a}]}}"):                               "secret is a mandatory field",
		providers("{aescbc: {keys: [{name: a, secret: 'YWJjZA=!'}]}}"):           `"REDACTED": secrets must be base64 encoded`,
		providers("{aesgcm: {keys: [{name: a, secret: YWJjZA==}]}}"):             `"REDACTED": secret is not of the expected length, got 4, expected one of [16 24 32]`,
		providers("{secretbox: {keys: [{name: a, secret: YWJjZA==}]}}"):          "expected one of [32]",
		kms(", cachesize: 1"):                                                    "cachesize is not supported in v2",
		kms(", timeout: -1s"):                                                    "timeout should be a positive value",
		providers("{kms: {name: a, endpoint: 'unix:///x'}}"):                     "KMSv1 is deprecated",
		providers("{kms: {apiVersion: v3, name: a, endpoint: 'unix:///x'}}"):     "unsupported apiVersion v3",
		providers("{kms: {apiVersion: v2, name: 'a:b', endpoint: 'unix:///x'}}"): "must not contain ':'",
		providers("{kms: {apiVersion: v2, name: a, endpoint: 'tcp://x'}}"):       `unsupported scheme "tcp"`,
		providers("{kms: {apiVersion: v2, name: a, endpoint: 'unix:///x'}},{kms: {apiVersion: v2, name: a, endpoint: 'unix:///x'}}"): "duplicate KMS provider name a",
		"[{resources: ['*'], providers: [{identity: {}}]}]":                                                                          "use '*.' to encrypt",
		"[{resources: [Secrets], providers: [{identity: {}}]}]":                                                                      "capital letters",
		"[{resources: [events.events.k8s.io], providers: [{identity: {}}]}]":                                                         "stored using the 'events' API group",
		"[{resources: [a.extensions], providers: [{identity: {}}]}]":                                                                 "'extensions' group has been removed",
		"[{resources: ['pods.*'], providers: [{identity: {}}]}]":                                                                     "across groups is not supported",
		"[{resources: [serviceipallocations], providers: [{identity: {}}]}]":                                                         "do not have REST API",
		"[{resources: [secrets, secrets], providers: [{identity: {}}]}]":                                                             "specified multiple times",
		"[{resources: [secrets, '*.'], providers: [{identity: {}}]}]":                                                                "overlapping resources",
		"[{resources: ['*.*'], providers: [{identity: {}}]}, {resources: [secrets], providers: [{identity: {}}]}]":                   `resource "secrets" is masked by earlier rule "*.*"`,
		"[{resources: ['*.'], providers: [{identity: {}}]}, {resources: [pods, '*.apps'], providers: [{identity: {}}]}]":             `resource "pods" is masked by earlier rule "*."`,
	} {
		errs := encryption.Validate(configOf(t, "resources: "+entries))
		if len(errs) == 0 || !strings.Contains(errs.ToAggregate().Error(), want) || strings.Contains(errs.ToAggregate().Error(), "YWJj") {
			t.Errorf("%s:\n%v, want %s", entries, errs, want)
		}
	}
}
