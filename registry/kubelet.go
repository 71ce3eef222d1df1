package registry

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/knarr-dev/knarr/registry/store"
)

// Kubelet is how the API server reaches nodes, and pods and services through the proxy sub-resources.
type Kubelet struct {
	// Transport shows kubelets the API server's client certificate.
	Transport http.RoundTripper
	// Insecure is Transport without a look at the kubelet's certificate, for logs that were asked for in spite of it.
	Insecure http.RoundTripper
	// Proxy reaches pods, services and other ports of nodes; it trusts any certificate, for nobody vouches for those.
	Proxy http.RoundTripper
	// AddressTypes are the node's addresses to try, best first; nil means upstream's order.
	AddressTypes []corev1.NodeAddressType
	// Port is the kubelet's where the node does not name one; zero means 10250.
	Port int
}

// kubeletURL is where the node's kubelet listens, and how to get there.
func (r *Registry) kubeletURL(ctx context.Context, nodeName string) (*url.URL, http.RoundTripper, error) {
	obj, err := r.read(ctx, "", "nodes", store.Key{Name: nodeName})
	if err != nil {
		return nil, nil, err
	}
	node := obj.(*corev1.Node)
	host, err := r.Kubelet.address(node)
	if err != nil {
		return nil, nil, err
	}
	port := int(node.Status.DaemonEndpoints.KubeletEndpoint.Port)
	if port <= 0 {
		port = r.Kubelet.port()
	}
	return &url.URL{Scheme: "https", Host: net.JoinHostPort(host, strconv.Itoa(port))}, r.Kubelet.Transport, nil
}

func (k Kubelet) address(node *corev1.Node) (string, error) {
	types := k.AddressTypes
	if types == nil {
		types = []corev1.NodeAddressType{corev1.NodeHostName, corev1.NodeInternalDNS, corev1.NodeInternalIP,
			corev1.NodeExternalDNS, corev1.NodeExternalIP}
	}
	for _, t := range types {
		for _, a := range node.Status.Addresses {
			if a.Type == t {
				return a.Address, nil
			}
		}
	}
	return "", fmt.Errorf("no preferred addresses found; known addresses: %v", node.Status.Addresses)
}

func (k Kubelet) port() int {
	if k.Port > 0 {
		return k.Port
	}
	return 10250
}
