package registry

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	netutils "k8s.io/utils/net"
)

// podProxy leads to a port of the pod itself: the one in the name ("name:port", "scheme:name:port"), or the first that a
// container declares.
func podProxy() Subresource {
	return Subresource{
		Name: "proxy", Verbs: proxyVerbs(), Kind: corev1.SchemeGroupVersion.WithKind("PodProxyOptions"),
		StreamOptions: proxyOptions(func(path string) runtime.Object { return &corev1.PodProxyOptions{Path: path} }),
		Connect: func(ctx context.Context, w *Write, id string, _ *http.Request, options runtime.Object) (*Location, error) {
			scheme, name, port, valid := utilnet.SplitSchemeNamePort(id)
			if !valid {
				return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid pod request %q", id))
			}
			p, err := w.connectedPod(ctx, name)
			if err != nil {
				return nil, err
			}
			host, err := podHost(p, port)
			if err != nil {
				return nil, err
			}
			at := &url.URL{Scheme: scheme, Host: host, Path: options.(*corev1.PodProxyOptions).Path}
			return &Location{URL: at, Transport: w.Registry.Kubelet.Proxy, Proxy: true}, nil
		},
	}
}

// podHost is where the pod can be reached. Whoever writes its status must not lead the API server to the server's own
// machine.
func podHost(p *corev1.Pod, port string) (string, error) {
	if ip := netutils.ParseIPSloppy(p.Status.PodIP); ip == nil || !ip.IsGlobalUnicast() {
		return "", apierrors.NewBadRequest("address not allowed")
	}
	for i := 0; port == "" && i < len(p.Spec.Containers); i++ {
		if ports := p.Spec.Containers[i].Ports; len(ports) > 0 {
			port = strconv.Itoa(int(ports[0].ContainerPort))
		}
	}
	switch {
	case port != "":
		return net.JoinHostPort(p.Status.PodIP, port), nil
	case strings.Contains(p.Status.PodIP, ":"):
		return "[" + p.Status.PodIP + "]", nil
	}
	return p.Status.PodIP, nil
}
