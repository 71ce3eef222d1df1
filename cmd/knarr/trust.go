package main

import (
	"cmp"
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/knarr-dev/knarr/auth"
)

// proxy is a front proxy that names the users of requests in their headers.
type proxy struct {
	CAFile        string   `flag:"client-ca-file" help:"authorities of the certificate of a front proxy (default: the data directory's pki/front-proxy-ca.crt, or none is believed)"`
	AllowedNames  []string `flag:"allowed-names" help:"common names of the front proxy's certificate; none means every name that --requestheader-client-ca-file vouches for (default, without that file: front-proxy-client)"`
	UserHeaders   []string `flag:"username-headers" help:"headers in which the front proxy names the user; the first that has a value counts"`
	UIDHeaders    []string `flag:"uid-headers" help:"headers in which the front proxy names the user's UID; the first that has a value counts"`
	GroupHeaders  []string `flag:"group-headers" help:"headers in which the front proxy names the user's groups"`
	ExtraPrefixes []string `flag:"extra-headers-prefix" help:"beginnings of the names of headers in which the front proxy tells more of the user"`
}

func defaultProxy() proxy {
	h := auth.StandardHeaders()
	return proxy{UserHeaders: h.UserHeaders, UIDHeaders: h.UIDHeaders, GroupHeaders: h.GroupHeaders, ExtraPrefixes: h.ExtraPrefixes}
}

// trusts finds out whom a part trusts. own are files of the data directory's PKI.
func (s *serving) trusts(own func(string) string, api *rest.Config) (d auth.Delegation, err error) {
	if ca := cmp.Or(s.ClientCA, own("ca.crt"), api.CAFile); ca != "" {
		d.Authorities, err = auth.OpenBundle(ca)
	} else {
		d.Authorities, err = auth.NewBundle(api.CAData)
	}
	if err != nil {
		return d, err
	}
	if d.Tokens, err = orKubeconfig(api, "authentication", s.Tokens); err != nil {
		return d, err
	}
	if d.Access, err = orKubeconfig(api, "authorization", s.Access); err != nil {
		return d, err
	}
	d.Proxy, err = s.Proxy.open(own("front-proxy-ca.crt"))
	return d, err
}

// orKubeconfig is the way that a kubeconfig leads, or that which is known.
func orKubeconfig(known *rest.Config, what, path string) (*rest.Config, error) {
	if path == "" {
		return known, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, fmt.Errorf("--%s-kubeconfig: %w", what, err)
	}
	return config, nil
}

// open is the proxy that is believed; nil if there is none. own is the authority of the data directory's PKI.
func (p *proxy) open(own string) (*auth.FrontProxy, error) {
	ca, names := p.CAFile, p.AllowedNames
	if ca == "" {
		ca = own
		if len(names) == 0 {
			names = []string{auth.ProxyName}
		}
	}
	if ca == "" {
		return nil, nil
	}
	authorities, err := auth.OpenBundle(ca)
	if err != nil {
		return nil, fmt.Errorf("--requestheader-client-ca-file: %w", err)
	}
	return &auth.FrontProxy{Authorities: authorities, AllowedNames: names, UserHeaders: p.UserHeaders, UIDHeaders: p.UIDHeaders,
		GroupHeaders: p.GroupHeaders, ExtraPrefixes: p.ExtraPrefixes}, nil
}
