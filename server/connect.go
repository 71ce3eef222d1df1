package server

import (
	"net/http"
	"net/http/httputil"
	"net/url"

	"k8s.io/apimachinery/pkg/util/proxy"

	"github.com/knarr-dev/knarr/registry"
)

// connect streams between the client and where the sub-resource leads to: a node's kubelet API for logs, exec, attach
// and port-forward, any HTTP server for proxy.
func (c *call) connect() error {
	location, err := c.sub.Connect(c.ctx(), c.write("connect"), c.Name, c.r)
	if err != nil {
		return err
	}
	if location == nil {
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if location.Upgrade || location.Proxy {
		h := proxy.NewUpgradeAwareHandler(location.URL, location.Transport, location.Proxy, location.Upgrade, refused{})
		h.UseLocationHost = location.Upgrade
		h.ServeHTTP(c.w, c.r)
		return nil
	}
	c.forward(location)
	return nil
}

// forward passes an ordinary request on, and its answer back.
func (c *call) forward(l *registry.Location) {
	p := &httputil.ReverseProxy{
		Transport: l.Transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			target := *l.URL
			r.Out.URL = &target
			r.Out.Host = target.Host
			r.SetXForwarded()
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) { refused{}.Error(w, r, err) },
	}
	if l.Stream {
		p.FlushInterval = -1
	}
	p.ServeHTTP(c.w, c.r)
}

// refused answers when the other side cannot be reached.
type refused struct{}

func (refused) Error(w http.ResponseWriter, r *http.Request, err error) {
	if unwrapped, ok := err.(*url.Error); ok {
		err = unwrapped.Err
	}
	writeError(w, r, err)
}
