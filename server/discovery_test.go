package server

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/registry"
)

const wantsAggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer,application/json"

// virtualRows is a table of resources that are not stored, so that it needs no etcd.
func virtualRows() []*registry.Resource {
	row := func(group, plural, kind string, subs []registry.Subresource, versions ...string) *registry.Resource {
		r := &registry.Resource{Group: group, Plural: plural, Singular: strings.ToLower(kind), Kind: kind, Verbs: []string{"get", "list"}, Subresources: subs}
		for _, v := range versions {
			r.Versions = append(r.Versions, registry.Version{Name: v})
		}
		return r
	}
	return []*registry.Resource{
		row("example.com", "ships", "Ship", []registry.Subresource{{Name: "status", Verbs: []string{"get"}}}, "v1beta1", "v1"),
		row("", "pods", "Pod", []registry.Subresource{
			{Name: "binding", Verbs: []string{"create"}, Kind: schema.GroupVersionKind{Version: "v1", Kind: "Binding"}},
			{Name: "attach", Verbs: []string{"get"}},
		}, "v1"),
		row("autoscaling", "hpas", "HPA", nil, "v1", "v2"),
		row("apps", "deployments", "Deployment", []registry.Subresource{
			{Name: "scale", Verbs: []string{"get"}, Kind: autoscalingv1.SchemeGroupVersion.WithKind("Scale")},
		}, "v1"),
		row("apiregistration.k8s.io", "apiservices", "APIService", nil, "v1"),
	}
}

func ask(t *testing.T, h http.Handler, method, path, accept string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("Accept", accept)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func decode[T any](t *testing.T, w *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return v
}

func TestDiscoveryGroupsStandInOrderOfPriority(t *testing.T) {
	d := newDiscovery(registry.New(nil, virtualRows()), "127.0.0.1:6443")
	got := decode[struct {
		Groups []struct {
			Name     string
			Versions []struct{ Version string }
		}
	}](t, ask(t, d, "GET", "/apis", ""))
	var names []string
	for _, g := range got.Groups {
		for _, v := range g.Versions {
			names = append(names, g.Name+"/"+v.Version)
		}
	}
	want := []string{"apiregistration.k8s.io/v1", "apps/v1", "autoscaling/v2", "autoscaling/v1", "example.com/v1", "example.com/v1beta1"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

func TestDiscoveryListsSubresourcesByNameWithForeignKindsOnly(t *testing.T) {
	d := newDiscovery(registry.New(nil, virtualRows()), "127.0.0.1:6443")
	for path, want := range map[string]string{
		"/api/v1":       `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"pods","singularName":"pod","namespaced":false,"kind":"Pod","verbs":["get","list"]},{"name":"pods/attach","singularName":"","namespaced":false,"kind":"Pod","verbs":["get"]},{"name":"pods/binding","singularName":"","namespaced":false,"kind":"Binding","verbs":["create"]}]}`,
		"/apis/apps/v1": `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"apps/v1","resources":[{"name":"deployments","singularName":"deployment","namespaced":false,"kind":"Deployment","verbs":["get","list"]},{"name":"deployments/scale","singularName":"","namespaced":false,"group":"autoscaling","version":"v1","kind":"Scale","verbs":["get"]}]}`,
		"/api":          `{"kind":"APIVersions","versions":["v1"],"serverAddressByClientCIDRs":[{"clientCIDR":"0.0.0.0/0","serverAddress":"127.0.0.1:6443"}]}`,
	} {
		if diff := cmp.Diff(want, strings.TrimSpace(ask(t, d, "GET", path, "").Body.String())); diff != "" {
			t.Error(path, diff)
		}
	}
}

func TestAggregatedDiscoveryChangesWithTheTable(t *testing.T) {
	reg := registry.New(nil, virtualRows())
	d := newDiscovery(reg, "")
	first := ask(t, d, "GET", "/apis", wantsAggregated)
	etag := first.Header().Get("ETag")
	if again := ask(t, d, "GET", "/apis", wantsAggregated, "If-None-Match", etag); again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("unchanged: %d with %d bytes, want 304 and none", again.Code, again.Body.Len())
	}
	reg.Remove(schema.GroupResource{Group: "example.com", Resource: "ships"})
	changed := ask(t, d, "GET", "/apis", wantsAggregated, "If-None-Match", etag)
	if changed.Code != http.StatusOK || strings.Contains(changed.Body.String(), "example.com") {
		t.Errorf("after a removal: %d %s", changed.Code, changed.Body)
	}
	if got := ask(t, d, "GET", "/apis/example.com/v1", "").Code; got != http.StatusNotFound {
		t.Errorf("removed group: %d, want 404", got)
	}
}

func TestAggregatedDiscoveryNamesTheGroupOfCustomKindsOnly(t *testing.T) {
	d := newDiscovery(registry.New(nil, virtualRows()), "")
	body := ask(t, d, "GET", "/apis", wantsAggregated).Body.String()
	for _, want := range []string{
		`"resource":"deployments","responseKind":{"group":"","version":"","kind":"Deployment"}`,
		`"subresource":"scale","responseKind":{"group":"autoscaling","version":"v1","kind":"Scale"}`,
		`"subresource":"status","responseKind":{"group":"example.com","version":"v1","kind":"Ship"}`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
}

func TestDiscoveryNegotiation(t *testing.T) {
	d := newDiscovery(registry.New(nil, virtualRows()), "")
	for _, c := range []struct {
		rule, method, path, accept string
		code                       int
		contentType, contains      string
	}{
		{"the dropped beta falls back to the next clause", "GET", "/apis", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json", 200, "application/json", "APIGroupList"},
		{"the dropped beta alone is refused", "GET", "/apis", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList", 406, "application/json", `"message": "only the following media types are accepted: application/json, application/yaml`},
		{"protobuf can be aggregated", "GET", "/api", "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", 200, "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", "apidiscovery.k8s.io/v2"},
		{"lists of resources refuse unknown types in other words", "GET", "/apis/apps/v1", "text/html", 406, "application/json", `406: Not Acceptable\n\nAvailable representations: `},
		{"the list of groups answers to any method", "POST", "/apis", "", 200, "application/json", "APIGroupList"},
		{"lists of resources answer to GET", "POST", "/apis/apps/v1", "", 405, "application/json", "MethodNotAllowed"},
		{"YAML", "GET", "/api/v1/", "application/yaml", 200, "application/yaml", "kind: APIResourceList"},
	} {
		w := ask(t, d, c.method, c.path, c.accept)
		if w.Code != c.code || w.Header().Get("Content-Type") != c.contentType || !strings.Contains(w.Body.String(), c.contains) {
			t.Errorf("%s: %d %s %s", c.rule, w.Code, w.Header().Get("Content-Type"), w.Body)
		}
	}
}
