package registry

import (
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/registry/store"
)

// Endpoints may be written by people who may not reach the addresses that they write: only pods are proxied to.
func TestServicesAreProxiedToPodsAlone(t *testing.T) {
	r := startCluster(t, "10.0.0.0/24")
	mustCreate(t, r, "", "services", newService("s", func(s *corev1.ServiceSpec) { s.Ports[0].Name = "web" }))
	mustCreate(t, r, "", "pods", &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "p"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	})
	_, err := r.Update(t.Context(), r.Resource("", "pods"), "status", store.Key{Namespace: metav1.NamespaceDefault, Name: "p"}, func(o Object) error {
		o.(*corev1.Pod).Status.PodIPs = []corev1.PodIP{{IP: "192.0.2.10"}}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ref := &corev1.ObjectReference{Kind: "Pod", Namespace: metav1.NamespaceDefault, Name: "p"}
	mustCreate(t, r, "", "endpoints", &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "s"},
		Subsets: []corev1.EndpointSubset{{
			Addresses: []corev1.EndpointAddress{{IP: "192.0.2.9"}, {IP: "192.0.2.11", TargetRef: ref}, {IP: "192.0.2.10", TargetRef: ref}},
			Ports:     []corev1.EndpointPort{{Name: "web", Port: 8080}},
		}},
	})
	w := r.ownWrite(r.Resource("", "services"), "connect", "proxy", metav1.NamespaceDefault)
	for _, c := range []struct{ id, rest, want string }{
		{"s:web", "/", "//192.0.2.10:8080/"},
		{"s:80", "", "//192.0.2.10:8080"},
		{"https:s:web", "/a/b/", "https://192.0.2.10:8080/a/b/"},
	} {
		for range 10 { // endpoints are picked at random
			request := httptest.NewRequest("GET", "/api/v1/namespaces/default/services/"+c.id+"/proxy"+c.rest, nil)
			options, err := serviceProxy().StreamOptions(w, request)
			if err != nil {
				t.Fatal(err)
			}
			l, err := connectService(t.Context(), w, c.id, request, options)
			if err != nil || l.URL.String() != c.want {
				t.Fatalf("%s: %v %v, want %s", c.id, l, err, c.want)
			}
		}
	}
}
