package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/utils/clock"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/controllers"
	"github.com/knarr-dev/knarr/server"
)

// controllersOptions are what the controllers can be told, in `knarr up` too. The flags are upstream's.
type controllersOptions struct {
	Controllers   []string      `flag:"controllers" help:"controllers to run: * is all that are on by default, NAME adds one that is not, -NAME leaves one out"`
	AllocateCIDRs bool          `flag:"allocate-node-cidrs" help:"give each node ranges of --cluster-cidr for its pods"`
	ClusterCIDR   string        `flag:"cluster-cidr" help:"range of the pods' addresses; two, of IPv4 and IPv6, separated by a comma, for dual stack"`
	NodeMask      int           `flag:"node-cidr-mask-size" help:"length of the prefix of a node's range, if there is one of --cluster-cidr (default: 24 of IPv4, 64 of IPv6)"`
	NodeMaskIPv4  int           `flag:"node-cidr-mask-size-ipv4" help:"length of the prefix of a node's IPv4 range (default: 24)"`
	NodeMaskIPv6  int           `flag:"node-cidr-mask-size-ipv6" help:"length of the prefix of a node's IPv6 range (default: 64)"`
	NodeGrace     time.Duration `flag:"node-monitor-grace-period" help:"how long a node may be silent before it is Unknown"`
	EndedPodsKept int           `flag:"terminated-pod-gc-threshold" help:"how many pods that have ended are kept; 0 or less keeps all"`
	SigningLife   time.Duration `flag:"cluster-signing-duration" help:"how long certificates live at most for which a CertificateSigningRequest asks"`
	LocalVolumes  string        `flag:"local-volumes" help:"directory, on each node, below which volumes of the storage class local-path lie; none are made if it is empty (default in knarr up: the data directory's volumes)"`
	Workers       workers       // has flags of its own

	given given
}

// workers are how many keys of a controller are worked on at a time.
type workers map[string]int

// concurrency is upstream's flags for that, and the controllers that they are about.
func concurrency() map[string]string {
	return map[string]string{
		"concurrent-cron-job-syncs": "cronjob-controller", "concurrent-daemonset-syncs": "daemonset-controller",
		"concurrent-deployment-syncs": "deployment-controller", "concurrent-endpoint-syncs": "endpoints-controller",
		"concurrent-gc-syncs": "garbage-collector-controller", "concurrent-job-syncs": "job-controller",
		"concurrent-namespace-syncs": "namespace-controller", "concurrent-replicaset-syncs": "replicaset-controller",
		"concurrent-resource-quota-syncs": "resourcequota-controller", "concurrent-service-endpoint-syncs": "endpointslice-controller",
		"concurrent-serviceaccount-token-syncs": "serviceaccount-token-controller", "concurrent-statefulset-syncs": "statefulset-controller",
		"concurrent-ttl-after-finished-syncs": "ttl-after-finished-controller", "concurrent_rc_syncs": "replicationcontroller-controller",
		"mirroring-concurrent-service-endpoint-syncs": "endpointslice-mirroring-controller",
	}
}

// flags binds one for each.
func (w workers) flags(f *pflag.FlagSet) {
	rows := controllers.All()
	flags := concurrency()
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		controller := flags[name]
		row := rows[slices.IndexFunc(rows, func(r controllers.Controller) bool { return r.Name == controller })]
		f.Var(workersFlag{w, row}, name, "objects that "+controller+" works on at a time")
	}
}

// workersFlag is one of the flags.
type workersFlag struct {
	workers
	row controllers.Controller
}

func (f workersFlag) String() string {
	if f.row.Name == "" {
		return ""
	}
	return strconv.Itoa(cmp.Or(f.workers[f.row.Name], f.row.Workers))
}

func (f workersFlag) Type() string { return "int" }

// Set takes any number of workers that do work.
func (f workersFlag) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return errors.New("use a number above 0")
	}
	f.workers[f.row.Name] = n
	return nil
}

// given is what a process with the API server inside knows, and another is told by files.
type given struct {
	SigningCertFile, SigningKeyFile string
	RootCA                          []byte
	SignToken                       func(ctx context.Context, account *corev1.ServiceAccount, secret string) (string, error)
	ServiceRanges                   []netip.Prefix
}

func defaultControllers() controllersOptions {
	return controllersOptions{Controllers: []string{"*"}, NodeGrace: 50 * time.Second, EndedPodsKept: 12_500, SigningLife: 365 * 24 * time.Hour,
		Workers: workers{}}
}

// check names what is wrong.
func (o *controllersOptions) check() error {
	ranges, err := o.clusterCIDRs()
	masks := o.NodeMask != 0 || o.NodeMaskIPv4 != 0 || o.NodeMaskIPv6 != 0
	switch {
	case err != nil:
		return err
	case o.NodeMask != 0 && (o.NodeMaskIPv4 != 0 || o.NodeMaskIPv6 != 0):
		return errors.New("--node-cidr-mask-size is for one family: use it, or --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6")
	case o.NodeMask != 0 && len(ranges) > 1:
		return errors.New("--node-cidr-mask-size is for one range: use --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6")
	case masks && len(ranges) == 0:
		return errors.New("--node-cidr-mask-size needs --cluster-cidr")
	case o.NodeGrace <= 0:
		return errors.New("--node-monitor-grace-period must be above 0")
	case o.SigningLife <= 0:
		return errors.New("--cluster-signing-duration must be above 0")
	}
	for _, p := range ranges {
		if mask := o.mask(p); mask != 0 && (mask < p.Bits() || mask > p.Addr().BitLen() || mask-p.Bits() > 16) {
			return fmt.Errorf("--node-cidr-mask-size: nodes cannot have ranges of /%d in %v: use %d to %d", mask, p, p.Bits(), min(p.Bits()+16, p.Addr().BitLen()))
		}
	}
	return controllers.CheckNames(o.Controllers)
}

// mask is the length of nodes' prefixes in a range; zero is the default.
func (o *controllersOptions) mask(p netip.Prefix) int {
	if p.Addr().Is4() {
		return cmp.Or(o.NodeMask, o.NodeMaskIPv4)
	}
	return cmp.Or(o.NodeMask, o.NodeMaskIPv6)
}

// configured is what the flags say.
func (o *controllersOptions) configured() (string, any) {
	return "kubecontrollermanager.config.k8s.io", shown(o)
}

// run runs the controllers for one term.
func (o *controllersOptions) run(ctx context.Context, t *term) error {
	meta, err := metadata.NewForConfig(t.own())
	if err != nil {
		return err
	}
	c := &controllers.Config{
		ClientFor:       func(account string) kubernetes.Interface { return kubernetes.NewForConfigOrDie(t.as(account)) },
		MetadataFor:     func(account string) metadata.Interface { return metadata.NewForConfigOrDie(t.as(account)) },
		SigningCertFile: o.given.SigningCertFile, SigningKeyFile: o.given.SigningKeyFile, RootCA: o.given.RootCA, SignToken: o.given.SignToken,
		LocalVolumes: o.LocalVolumes, ServiceRanges: o.given.ServiceRanges,
		Controllers: o.Controllers, Workers: o.Workers, NodeGrace: o.NodeGrace, EndedPodsKept: o.EndedPodsKept, CertificateLife: o.SigningLife,
		Discovery: t.client.Discovery(), Metadata: meta, Informers: t.informers, Clock: clock.RealClock{}, Log: t.log, EventsFrom: t.voice.recorder, Metrics: t.counts(), Check: t.check,
	}
	if o.EndedPodsKept <= 0 {
		c.EndedPodsKept = -1
	}
	if err := o.allocate(c); err != nil {
		return err
	}
	return controllers.Run(ctx, c)
}

// allocate has nodes get ranges, if they are to.
func (o *controllersOptions) allocate(c *controllers.Config) (err error) {
	if !o.AllocateCIDRs {
		return nil
	}
	c.ClusterCIDRs, err = o.clusterCIDRs()
	for _, p := range c.ClusterCIDRs {
		if p.Addr().Is4() {
			c.NodeMaskIPv4 = o.mask(p)
		} else {
			c.NodeMaskIPv6 = o.mask(p)
		}
	}
	return err
}

// clusterCIDRs are the ranges of pods' addresses: none, one, or one a family.
func (o *controllersOptions) clusterCIDRs() ([]netip.Prefix, error) {
	return server.ParseRanges("--cluster-cidr", o.ClusterCIDR)
}

// controllersFiles are what controllers in a process of their own read.
type controllersFiles struct {
	SigningCert string `flag:"cluster-signing-cert-file" help:"authority that signs certificates (default: the data directory's pki/ca.crt)"`
	SigningKey  string `flag:"cluster-signing-key-file" help:"key of --cluster-signing-cert-file (default: the data directory's pki/ca.key)"`
	RootCA      string `flag:"root-ca-file" help:"what pods verify the API server with (default: what the kubeconfig does)"`
	AccountKey  string `flag:"service-account-private-key-file" help:"key that signs tokens in Secrets (default: the data directory's pki/sa.key)"`
	ServiceCIDR string `flag:"service-cluster-ip-range" help:"range of the addresses of Services, which nodes do not get; two, separated by a comma, for dual stack"`
	ClusterName string `flag:"cluster-name" help:"accepted, and of no consequence: upstream calls resources of clouds by it"`
	AsAccounts  bool   `flag:"use-service-account-credentials" help:"let each controller act as its own service account, with the rights of that account only"`
}

// fill names the files of a data directory where nothing else is named.
func (f *controllersFiles) fill(dataDir string) {
	own := func(file string) string { return ifExists(filepath.Join(dataDir, "pki", file)) }
	if f.SigningCert == "" && f.SigningKey == "" {
		f.SigningCert, f.SigningKey = own("ca.crt"), own("ca.key")
	}
	f.AccountKey = cmp.Or(f.AccountKey, own("sa.key"))
}

// ifExists is the name of a file that is there, or none.
func ifExists(file string) string {
	if !exists(file) {
		return ""
	}
	return file
}

// read finds what the files hold. trusted is what the kubeconfig verifies the API server with.
func (f *controllersFiles) read(trusted []byte) (g given, err error) {
	if (f.SigningCert == "") != (f.SigningKey == "") {
		return g, fmt.Errorf("--cluster-signing-cert-file and --cluster-signing-key-file belong together")
	}
	g = given{SigningCertFile: f.SigningCert, SigningKeyFile: f.SigningKey, RootCA: trusted}
	if g.ServiceRanges, err = server.ParseRanges("--service-cluster-ip-range", f.ServiceCIDR); err != nil {
		return g, err
	}
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
