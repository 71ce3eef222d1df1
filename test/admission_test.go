package test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/knarr-dev/knarr/test/cluster"
)

func TestConnectionsAskAdmission(t *testing.T) {
	c := cluster.Start(t, "apiserver", "--enable-admission-plugins=AlwaysDeny")
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	const denied = `forbidden: admission control is denying all modifications`
	for _, q := range []struct{ method, path, want string }{
		{"POST", "pods/p/exec?command=id", `pods \"p\" is ` + denied},
		{"GET", "pods/p/attach", `pods \"p\" is ` + denied},
		{"POST", "pods/p/portforward?ports=80", `pods \"p\" is ` + denied},
		{"DELETE", "pods/p/proxy/x", `pods \"p\" is ` + denied},
		{"GET", "services/s/proxy//x", `services \"s\" is ` + denied},
		{"POST", "pods/p/portforward?ports=http", "cannot convert to []int32"},
		{"GET", "pods/p/log", `pods \"p\" not found`}, // a read
		{"DELETE", "pods", `"items": []`},             // of none, so nothing is asked about
	} {
		request, err := http.NewRequestWithContext(t.Context(), q.method, c.URL+"/api/v1/namespaces/default/"+q.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if text := strings.ReplaceAll(string(body), `":[]`, `": []`); err != nil || !strings.Contains(text, q.want) {
			t.Errorf("%s %s: got %s, want %s", q.method, q.path, text, q.want)
		}
	}
}
