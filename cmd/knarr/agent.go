package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/nodeagent"
	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/server"
)

// agentOptions are what nodes in a process of their own can be told. Flags that kubelet has are named as there.
type agentOptions struct {
	DataDir    string            `flag:"data-dir" help:"data directory of the cluster, if it is on this machine: kubeconfigs of nodes are made there"`
	Kubeconfig string            `flag:"kubeconfig" help:"how the API server is reached, and as which node (default: one made in the data directory)"`
	Name       string            `flag:"hostname-override" help:"name of the node (default: that of the machine)"`
	Nodes      int               `flag:"simulated-nodes" help:"how many nodes to be, node-1 and so on, in place of one; more than 20 are one agent with one identity"`
	Simulation string            `flag:"simulation" help:"file of rules that say what simulated pods do; it is read again when it changes"`
	Manifests  string            `flag:"pod-manifest-path" help:"folder of manifests, or one, of pods that run on the node whether the API knows of them or not"`
	URL        string            `flag:"manifest-url" help:"URL of manifests of such pods"`
	URLHeader  []string          `flag:"manifest-url-header" help:"headers to send to it, key:value"`
	Address    net.IP            `flag:"node-ip" help:"address under which the node is reached (default: that of the interface with the default route)"`
	Bind       net.IP            `flag:"address" help:"address on which the kubelet API is served"`
	Port       int               `flag:"port" help:"port of the kubelet API; several nodes have free ones"`
	CertFile   string            `flag:"tls-cert-file" help:"certificate of the kubelet API (default: the data directory's pki/parts.crt, or one that nobody vouches for)"`
	KeyFile    string            `flag:"tls-private-key-file" help:"key of --tls-cert-file"`
	ClientCA   string            `flag:"client-ca-file" help:"authorities of the certificates of those who ask (default: those of the kubeconfig)"`
	Gates      map[string]string `flag:"feature-gates" help:"accepted at the values that Kubernetes 1.36 has by default, and at no others"`
}

func agentCommand() *cobra.Command {
	o, logs := &agentOptions{DataDir: server.DefaultConfig().DataDir, Bind: net.IPv4zero, Port: 10250}, &logging{}
	c := &cobra.Command{
		Use: "agent", Short: "Run nodes alone, against an API server elsewhere; their pods are simulated", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := logs.logger(c.ErrOrStderr())
			if err != nil {
				return err
			}
			if err := server.CheckFeatureGates(o.Gates); err != nil {
				return err
			}
			return o.run(c.Context(), log)
		},
	}
	bindFlags(c.Flags(), o)
	logs.flags(c.Flags())
	showByTopic(c)
	return c
}

// names are those of the nodes.
func (o *agentOptions) names() ([]string, error) {
	switch {
	case o.Nodes < 0:
		return nil, fmt.Errorf("--simulated-nodes=%d: use 0 or more", o.Nodes)
	case o.Nodes > 0 && o.Name != "":
		return nil, errors.New("--hostname-override is for one node: leave out --simulated-nodes")
	case o.Nodes > 1 && o.Kubeconfig != "":
		return nil, errors.New("--kubeconfig is of one node: leave out --simulated-nodes, or use --data-dir on the machine of the API server")
	case o.Nodes > 0:
		return nodeNames(o.Nodes), nil
	case o.Name != "":
		return []string{strings.ToLower(o.Name)}, nil
	}
	host, err := os.Hostname()
	return []string{strings.ToLower(host)}, err
}

// run runs the nodes until ctx ends.
func (o *agentOptions) run(ctx context.Context, log *slog.Logger) error {
	names, err := o.names()
	if err = errors.Join(err, checkSimulation(o.Simulation)); err != nil {
		return err
	}
	header, err := headerOf(o.URLHeader)
	if err != nil {
		return err
	}
	h := &nodeHost{bind: o.Bind, address: o.Address, port: o.Port, simulation: o.Simulation, dataDir: o.DataDir, log: log,
		manifests: nodeagent.Manifests{Path: o.Manifests, URL: o.URL, Header: header, Period: manifestPeriod}, reach: o.reach, admin: o.admin}
	if h.address == nil {
		if h.address, err = utilnet.ResolveBindAddress(o.Bind); utilnet.IsNoRoutesError(err) {
			h.address, err = net.IPv4(127, 0, 0, 1), nil
		}
		if err != nil {
			return err
		}
	}
	if h.authorities, err = o.authorities(); err != nil {
		return err
	}
	go auth.Reread(ctx, log, h.authorities)
	if h.shown, err = o.shown(); err != nil {
		return err
	}
	if h.shown != nil {
		go auth.Reread(ctx, log, h.shown)
	}
	h.run(ctx, names, sync.OnceFunc(func() { log.Info("nodes are registered", "nodes", nodesText(names)) }))
	return nil
}

// manifestPeriod is how often a URL is asked for manifests, as upstream's.
const manifestPeriod = 20 * time.Second

// headerOf reads headers from a command line.
func headerOf(lines []string) (http.Header, error) {
	header := http.Header{}
	for _, line := range lines {
		key, value, found := strings.Cut(line, ":")
		if !found {
			return nil, fmt.Errorf("--manifest-url-header=%s: want key:value", line)
		}
		header.Add(strings.TrimSpace(key), strings.TrimSpace(value))
	}
	return header, nil
}

// shown is the certificate of the kubelet API; nil if there is none.
func (o *agentOptions) shown() (*auth.Certificate, error) {
	pki := filepath.Join(o.DataDir, "pki")
	cert, key := o.CertFile, o.KeyFile
	if cert == "" && key == "" {
		cert, key = ifExists(filepath.Join(pki, "parts.crt")), ifExists(filepath.Join(pki, "parts.key"))
	}
	if cert == "" && key == "" {
		return nil, nil
	}
	return auth.OpenCertificate(cert, key)
}

// authorities are those of the certificates of who asks a node something.
func (o *agentOptions) authorities() (*auth.Bundle, error) {
	if file := cmp.Or(o.ClientCA, ifExists(filepath.Join(o.DataDir, "pki", "ca.crt"))); file != "" {
		return auth.OpenBundle(file)
	}
	config, err := clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig: %w", err)
	}
	pem, err := trustedBy(config)
	if err != nil {
		return nil, err
	}
	return auth.NewBundle(pem)
}

// reach is the way of a node: by the kubeconfig that was named, or by one made in the data directory.
func (o *agentOptions) reach(user registry.User) (reach, error) {
	if o.Kubeconfig != "" {
		return openOutside(o.Kubeconfig)
	}
	path, err := o.issue(user)
	if err != nil {
		return nil, fmt.Errorf("%w (--kubeconfig names another way to the API server)", err)
	}
	return openOutside(path)
}

// issue makes the kubeconfig of a node, with a certificate of the authority in the data directory. The agent keeps it up to
// date; client-go reads the files again.
func (o *agentOptions) issue(user registry.User) (string, error) {
	_, name, _ := strings.Cut(user.Name, ":")
	file := strings.ReplaceAll(name, ":", "-") // node-node-1, simulated-nodes
	file = strings.TrimPrefix(file, "node-")
	pki := filepath.Join(o.DataDir, "pki")
	if _, err := auth.IssueClient(pki, filepath.Join("nodes", file), user.Name, user.Groups, time.Now()); err != nil {
		return "", err
	}
	config, err := o.admin()
	if err != nil {
		return "", err
	}
	trusted, err := trustedBy(config)
	if err != nil {
		return "", err
	}
	path, files := filepath.Join(o.DataDir, file+".kubeconfig"), filepath.Join("pki", "nodes", file)
	return path, auth.WriteKubeconfig(path, auth.KubeconfigByFiles(config.Host, trusted, files+".crt", files+".key"))
}

// admin is the way of the cluster's administrator, where the data directory is at hand.
func (o *agentOptions) admin() (*rest.Config, error) {
	return clientcmd.BuildConfigFromFlags("", filepath.Join(o.DataDir, "admin.kubeconfig"))
}
