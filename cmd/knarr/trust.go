package main

import (
	"cmp"
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/knarr-dev/knarr/auth"
)

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
	var proxies *auth.Bundle
	if ca := own("front-proxy-ca.crt"); ca != "" {
		if proxies, err = auth.OpenBundle(ca); err != nil {
			return d, err
		}
	}
	d.Proxy, err = s.Proxy.Open(proxies)
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
