package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/knarr-dev/knarr/server"
)

// place is the cluster that a command asks: that of the data directory if one is named, or if no other is known.
type place struct {
	dataDir, kubeconfig, context string
	chosen                       func() bool // whether the data directory has been named
}

func (p *place) flags(f *pflag.FlagSet) {
	f.StringVar(&p.dataDir, "data-dir", server.DefaultConfig().DataDir, "data directory of the cluster, if it is on this machine")
	f.StringVar(&p.kubeconfig, "kubeconfig", "", "kubeconfig to use (default: KUBECONFIG, ~/.kube/config, or the admin's in the data directory)")
	f.StringVar(&p.context, "context", "", "context of the kubeconfig to use")
	p.chosen = func() bool { return f.Changed("data-dir") }
}

// open finds the server, and the namespace of the context.
func (p *place) open() (config *rest.Config, namespace string, err error) {
	loaded := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(p.rules(), &clientcmd.ConfigOverrides{CurrentContext: p.context})
	config, err = loaded.ClientConfig()
	if clientcmd.IsEmptyConfig(err) || errors.Is(err, os.ErrNotExist) {
		return nil, "", errors.New("no cluster is known: start one with `knarr up`, or name it with --data-dir, --kubeconfig or KUBECONFIG")
	}
	if err == nil {
		namespace, _, err = loaded.Namespace()
	}
	return config, namespace, err
}

func (p *place) rules() *clientcmd.ClientConfigLoadingRules {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = p.kubeconfig
	if own := filepath.Join(p.dataDir, "admin.kubeconfig"); p.kubeconfig == "" && (p.chosen() || isWanted(own)) {
		rules.ExplicitPath = own
	}
	return rules
}

// address is where a part answers that has noted it in the data directory from which the kubeconfig is; empty if none has.
func (p *place) address(part string) string {
	for _, file := range p.rules().GetLoadingPrecedence() {
		if url, err := os.ReadFile(addressFile(filepath.Dir(file), part)); err == nil {
			return strings.TrimSpace(string(url))
		}
	}
	return ""
}
