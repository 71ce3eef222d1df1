package test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/test/cluster"
)

// TestRoundTrip puts the object of every kind in which k8s.io/api has filled every field into etcd, as upstream's
// storage would, and reads it through the server in JSON, YAML and protobuf: nothing is lost and nothing is changed,
// but for what upstream's trip through its internal types changes as well.
func TestRoundTrip(t *testing.T) {
	url, etcd := cluster.StartEtcd(t)
	data := filepath.Join(moduleDir(t, "k8s.io/api"), "testdata", "HEAD")
	c := cluster.Start(t, "apiserver", "--etcd-servers="+url)
	stored := map[string]bool{}
	var kinds []storedKind
	for _, row := range registry.Builtin() {
		if row.Prefix == "" || row.StoredJSON || stored[row.Prefix] {
			continue
		}
		stored[row.Prefix] = true // the second door to Events shows the same objects
		kind := storedKind{row: row, file: filepath.Join(data, fileName(row))}
		value, err := os.ReadFile(kind.file + ".pb")
		if err != nil {
			t.Errorf("%s: %v", row.GroupResource(), err)
			continue
		}
		if _, err := etcd.Put(t.Context(), kind.key(), string(value)); err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, kind)
	}
	client := adminClient(t, c)
	for _, kind := range kinds {
		t.Run(kind.row.GroupResource().String(), func(t *testing.T) {
			var want map[string]any
			text, err := os.ReadFile(kind.file + ".json")
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			asUpstream(kind.row.Kind, want)
			want = kind.served(want)
			for media, read := range map[string]func([]byte) (map[string]any, error){
				"application/json": readJSON, "application/yaml": readYAML, "application/vnd.kubernetes.protobuf": readProtobuf,
			} {
				got, err := read(get(t, client, c.URL+kind.path(), media))
				if err != nil {
					t.Fatalf("%s: %v", media, err)
				}
				if d := cmp.Diff(want, kind.served(got)); d != "" {
					t.Errorf("%s: %s", media, d)
				}
			}
		})
	}
}

// storedKind is a kind and its filled object.
type storedKind struct {
	row  *registry.Resource
	file string // without suffix
}

// fileName is how k8s.io/api names the files of a kind, in the version in which it is stored.
func fileName(row *registry.Resource) string {
	kind := row.StoredKind()
	if kind.Group == "" {
		kind.Group = "core"
	}
	return kind.Group + "." + kind.Version + "." + kind.Kind
}

func (k storedKind) key() string {
	key := "/registry/" + k.row.Prefix
	if k.row.Namespaced {
		key += "/namespaceValue"
	}
	return key + "/nameValue"
}

func (k storedKind) path() string {
	path := "/apis/" + k.row.Group + "/" + k.row.Hub().Name
	if k.row.Group == "" {
		path = "/api/" + k.row.Hub().Name
	}
	if k.row.Namespaced {
		path += "/namespaces/namespaceValue"
	}
	return path + "/" + k.row.Plural + "/nameValue"
}

// served is the object as it is served: under the URL's version, without what belongs to the store.
func (k storedKind) served(o map[string]any) map[string]any {
	o["apiVersion"] = k.row.GroupKind().WithVersion(k.row.Hub().Name).GroupVersion().String()
	metadata := o["metadata"].(map[string]any)
	delete(metadata, "resourceVersion")
	delete(metadata, "selfLink")
	return o
}

// asUpstream changes what kube-apiserver 1.36.3 was seen to change in these objects, too.
func asUpstream(kind string, o map[string]any) {
	aliasServiceAccount(o)
	spec, _ := o["spec"].(map[string]any)
	status, _ := o["status"].(map[string]any)
	metadata := o["metadata"].(map[string]any)
	switch kind {
	case "Namespace":
		metadata["labels"].(map[string]any)["kubernetes.io/metadata.name"] = metadata["name"]
	case "Node":
		spec["podCIDRs"] = []any{spec["podCIDR"]} // the singular field is the first of the plural one
	case "Pod":
		status["podIPs"] = []any{map[string]any{"ip": status["podIP"]}}
		for _, list := range []string{"containers", "initContainers"} {
			resources := spec[list].([]any)[0].(map[string]any)["resources"].(map[string]any)
			resources["requests"].(map[string]any)["limitsKey"] = "0" // what is limited is requested
		}
	case "DaemonSet":
		metadata["annotations"].(map[string]any)["deprecated.daemonset.template.generation"] = "0"
	case "StatefulSet":
		nameClaims(o)
	case "Secret":
		for key, text := range o["stringData"].(map[string]any) {
			o["data"].(map[string]any)[key] = base64.StdEncoding.EncodeToString([]byte(text.(string)))
		}
		delete(o, "stringData")
	}
}

// aliasServiceAccount has the old name of the field say what the new one says, in every pod spec.
func aliasServiceAccount(o map[string]any) {
	if name, ok := o["serviceAccountName"]; ok && o["serviceAccount"] != nil {
		o["serviceAccount"] = name
	}
	for _, v := range o {
		if inner, ok := v.(map[string]any); ok {
			aliasServiceAccount(inner)
		}
	}
}

// nameClaims has the claim templates of a StatefulSet say their kind.
func nameClaims(o map[string]any) {
	for _, claim := range o["spec"].(map[string]any)["volumeClaimTemplates"].([]any) {
		claim.(map[string]any)["apiVersion"], claim.(map[string]any)["kind"] = "v1", "PersistentVolumeClaim"
	}
}

func readJSON(body []byte) (o map[string]any, err error) {
	return o, json.Unmarshal(body, &o)
}

func readYAML(body []byte) (o map[string]any, err error) {
	return o, yaml.Unmarshal(body, &o)
}

func readProtobuf(body []byte) (map[string]any, error) {
	codecs := serializer.NewCodecFactory(scheme.Scheme)
	object, _, err := codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	o, err := readJSON(text)
	if err == nil && o["kind"] == "StatefulSet" {
		nameClaims(o) // protobuf has no place for it
	}
	return o, err
}

// adminClient is an HTTP client that shows the admin's certificate.
func adminClient(t *testing.T, c *cluster.Cluster) *http.Client {
	t.Helper()
	admin, err := tls.LoadX509KeyPair(filepath.Join(c.DataDir, "pki", "admin.crt"), filepath.Join(c.DataDir, "pki", "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	client := c.Client()
	client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{admin}
	return client
}

func get(t *testing.T, client *http.Client, url, accept string) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v\n%s", url, answer.Status, err, body)
	}
	return body
}

// moduleDir is where the Go toolchain keeps a module's source.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
