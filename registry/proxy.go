package registry

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/knarr-dev/knarr/registry/store"
)

// The proxy sub-resources of nodes and services. The API server does not dial a Service's cluster IP, for it need not
// be on a machine that knows them: it picks one of the Service's endpoints itself. An object's name may come as
// "name", "name:port" or "scheme:name:port".

// proxyVerbs are what the HTTP methods of a proxied request are authorized as.
func proxyVerbs() []string { return []string{"create", "delete", "get", "patch", "update"} }

func nodeProxy() Subresource {
	return Subresource{Name: "proxy", Verbs: proxyVerbs(), Kind: corev1.SchemeGroupVersion.WithKind("NodeProxyOptions"), Connect: connectNode,
		StreamOptions: proxyOptions(func(path string) runtime.Object { return &corev1.NodeProxyOptions{Path: path} })}
}

func serviceProxy() Subresource {
	return Subresource{Name: "proxy", Verbs: proxyVerbs(), Kind: corev1.SchemeGroupVersion.WithKind("ServiceProxyOptions"), Connect: connectService,
		StreamOptions: proxyOptions(func(path string) runtime.Object { return &corev1.ServiceProxyOptions{Path: path} })}
}

// proxyOptions are the path behind the proxy.
func proxyOptions(of func(path string) runtime.Object) func(*Write, *http.Request) (runtime.Object, error) {
	return func(w *Write, request *http.Request) (runtime.Object, error) {
		o := of(proxiedPath(w, request))
		o.GetObjectKind().SetGroupVersionKind(w.Resource.Subresource(w.Subresource).Kind)
		return o, nil
	}
}

// connectNode leads to the node's kubelet, or to the port that the name asks for.
func connectNode(ctx context.Context, w *Write, id string, _ *http.Request, options runtime.Object) (*Location, error) {
	scheme, name, port, valid := utilnet.SplitSchemeNamePort(id)
	if !valid {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid node request %q", id))
	}
	to, transport, err := w.Registry.kubeletURL(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := refuseLocalHost(ctx, to.Hostname()); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if port != "" && port != to.Port() {
		to.Scheme, to.Host = scheme, net.JoinHostPort(to.Hostname(), port)
		transport = w.Registry.Kubelet.Proxy
	}
	to.Path = options.(*corev1.NodeProxyOptions).Path
	return &Location{URL: to, Transport: transport, Proxy: true}, nil
}

// refuseLocalHost keeps nodes from leading the API server to itself: whoever writes a node's status chooses its address.
func refuseLocalHost(ctx context.Context, host string) error {
	addresses, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return err
	}
	if len(addresses) == 0 {
		return fmt.Errorf("no addresses for hostname")
	}
	for _, a := range addresses {
		if !a.IP.IsGlobalUnicast() {
			return fmt.Errorf("address not allowed")
		}
	}
	return nil
}

// connectService leads to one of the Service's ready endpoints.
func connectService(ctx context.Context, w *Write, id string, _ *http.Request, options runtime.Object) (*Location, error) {
	scheme, name, port, valid := utilnet.SplitSchemeNamePort(id)
	if !valid {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid service request %q", id))
	}
	r := w.Registry
	if number, err := strconv.ParseInt(port, 10, 64); err == nil {
		if port, err = r.servicePortName(ctx, w.Namespace, name, number); err != nil {
			return nil, err
		}
	}
	obj, err := r.read(ctx, "", "endpoints", store.Key{Namespace: w.Namespace, Name: name})
	if apierrors.IsNotFound(err) {
		err = apierrors.NewNotFound(w.Resource.GroupResource(), name) // what was asked for is the Service
	}
	if err != nil {
		return nil, err
	}
	subsets := obj.(*corev1.Endpoints).Subsets
	if len(subsets) == 0 {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
	}
	for _, i := range rand.Perm(len(subsets)) {
		if host := r.podEndpoint(ctx, w.Namespace, &subsets[i], port); host != "" {
			to := &url.URL{Scheme: scheme, Host: host, Path: options.(*corev1.ServiceProxyOptions).Path}
			return &Location{URL: to, Transport: r.Kubelet.Proxy, Proxy: true}, nil
		}
	}
	return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", id))
}

// servicePortName is the name of the Service's port of that number; endpoints know ports by name.
func (r *Registry) servicePortName(ctx context.Context, namespace, name string, number int64) (string, error) {
	obj, err := r.read(ctx, "", "services", store.Key{Namespace: namespace, Name: name})
	if err != nil {
		return "", err
	}
	for _, p := range obj.(*corev1.Service).Spec.Ports {
		if int64(p.Port) == number {
			return p.Name, nil
		}
	}
	return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", number, name))
}

// podEndpoint is host and port of one of the subset's addresses that really are a pod's of this namespace, taken at
// random; empty if there is none. Who may write Endpoints is not thereby allowed to point the API server anywhere.
func (r *Registry) podEndpoint(ctx context.Context, namespace string, s *corev1.EndpointSubset, port string) string {
	i := slices.IndexFunc(s.Ports, func(p corev1.EndpointPort) bool { return p.Name == port })
	if i < 0 {
		return ""
	}
	for _, j := range rand.Perm(len(s.Addresses)) {
		if a := &s.Addresses[j]; r.isPodAddress(ctx, namespace, a) {
			return net.JoinHostPort(a.IP, strconv.Itoa(int(s.Ports[i].Port)))
		}
	}
	return ""
}

func (r *Registry) isPodAddress(ctx context.Context, namespace string, a *corev1.EndpointAddress) bool {
	if a.TargetRef == nil || a.TargetRef.Namespace != namespace {
		return false
	}
	obj, err := r.read(ctx, "", "pods", store.Key{Namespace: namespace, Name: a.TargetRef.Name})
	if err != nil {
		return false
	}
	return slices.ContainsFunc(obj.(*corev1.Pod).Status.PodIPs, func(ip corev1.PodIP) bool { return ip.IP == a.IP })
}

// read is the object as it is now. It is shared: never change it.
func (r *Registry) read(ctx context.Context, group, plural string, k store.Key) (Object, error) {
	entry, err := r.Store(group, plural).Get(ctx, k, "")
	if err != nil {
		return nil, err
	}
	return entry.Object()
}

// proxiedPath is what follows "proxy" in the request's path, with a leading slash unless it is empty.
func proxiedPath(w *Write, request *http.Request) string {
	ahead := 5 // segments: api, v1, nodes, NAME, proxy
	if w.Resource.Namespaced {
		ahead = 7 // api, v1, namespaces, NAMESPACE, services, NAME, proxy
	}
	segments := strings.SplitN(strings.TrimPrefix(request.URL.Path, "/"), "/", ahead+1)
	if len(segments) <= ahead {
		return ""
	}
	return utilnet.JoinPreservingTrailingSlash("/", segments[ahead])
}
