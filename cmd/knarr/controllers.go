package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/utils/clock"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/controllers"
)

// controllersOptions are what the controllers can be told, in `knarr up` too. The flags are upstream's.
type controllersOptions struct {
	Controllers  []string `flag:"controllers" help:"controllers to run: * is all that are on by default, NAME adds one that is not, -NAME leaves one out"`
	ClusterCIDR  string   `flag:"cluster-cidr" help:"range of the pods' addresses, out of which nodes get theirs; two, of IPv4 and IPv6, separated by a comma, for dual stack"`
	LocalVolumes string   `flag:"local-volumes" help:"directory, on each node, below which volumes of the storage class local-path lie; none are made if it is empty (default in knarr up: the data directory's volumes)"`

	given given
}

// given is what a process with the API server inside knows, and another is told by files.
type given struct {
	SigningCertFile, SigningKeyFile string
	RootCA                          []byte
	SignToken                       func(ctx context.Context, account *corev1.ServiceAccount, secret string) (string, error)
}

func defaultControllers() controllersOptions { return controllersOptions{Controllers: []string{"*"}} }

// run runs the controllers for one term.
func (o *controllersOptions) run(ctx context.Context, t *term) error {
	ranges, err := o.clusterCIDRs()
	if err != nil {
		return err
	}
	meta, err := metadata.NewForConfig(t.own())
	if err != nil {
		return err
	}
	return controllers.Run(ctx, &controllers.Config{
		ClientFor:       func(account string) kubernetes.Interface { return kubernetes.NewForConfigOrDie(t.as(account)) },
		MetadataFor:     func(account string) metadata.Interface { return metadata.NewForConfigOrDie(t.as(account)) },
		SigningCertFile: o.given.SigningCertFile, SigningKeyFile: o.given.SigningKeyFile, RootCA: o.given.RootCA, SignToken: o.given.SignToken,
		ClusterCIDRs: ranges, LocalVolumes: o.LocalVolumes, Controllers: o.Controllers,
		Discovery: t.client.Discovery(), Metadata: meta, Informers: t.informers, Clock: clock.RealClock{}, Log: t.log, EventsFrom: t.voice.recorder,
	})
}

// clusterCIDRs are the ranges of pods' addresses: none, one, or one a family.
func (o *controllersOptions) clusterCIDRs() (ranges []netip.Prefix, err error) {
	for text := range strings.SplitSeq(o.ClusterCIDR, ",") {
		if text == "" {
			continue
		}
		p, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("--cluster-cidr: %q is no CIDR such as 10.244.0.0/16", text)
		}
		ranges = append(ranges, p.Masked())
	}
	if len(ranges) > 2 || len(ranges) == 2 && ranges[0].Addr().Is4() == ranges[1].Addr().Is4() {
		return nil, fmt.Errorf("--cluster-cidr: %s: give one range, or one of IPv4 and one of IPv6", o.ClusterCIDR)
	}
	return ranges, nil
}

// controllersFiles are what controllers in a process of their own read.
type controllersFiles struct {
	SigningCert string `flag:"cluster-signing-cert-file" help:"authority that signs certificates (default: the data directory's pki/ca.crt)"`
	SigningKey  string `flag:"cluster-signing-key-file" help:"key of --cluster-signing-cert-file (default: the data directory's pki/ca.key)"`
	RootCA      string `flag:"root-ca-file" help:"what pods verify the API server with (default: what the kubeconfig does)"`
	AccountKey  string `flag:"service-account-private-key-file" help:"key that signs tokens in Secrets (default: the data directory's pki/sa.key)"`
	AsAccounts  bool   `flag:"use-service-account-credentials" help:"let each controller act as its own service account, with the rights of that account only"`
}

// read finds what the files hold. trusted is what the kubeconfig verifies the API server with.
func (f *controllersFiles) read(trusted []byte) (g given, err error) {
	if (f.SigningCert == "") != (f.SigningKey == "") {
		return g, fmt.Errorf("--cluster-signing-cert-file and --cluster-signing-key-file belong together")
	}
	g = given{SigningCertFile: f.SigningCert, SigningKeyFile: f.SigningKey, RootCA: trusted}
	if f.RootCA != "" {
		if g.RootCA, err = os.ReadFile(f.RootCA); err != nil {
			return g, fmt.Errorf("--root-ca-file: %w", err)
		}
	}
	if f.AccountKey == "" {
		return g, nil
	}
	key, err := auth.ReadSigningKey(f.AccountKey)
	if err != nil {
		return g, fmt.Errorf("--service-account-private-key-file: %w", err)
	}
	signer, err := auth.SignWith(key)
	if err != nil {
		return g, fmt.Errorf("--service-account-private-key-file: %w", err)
	}
	g.SignToken = auth.NewIssuer(auth.IssuerConfig{Signer: signer}).IssueLegacy
	return g, nil
}
