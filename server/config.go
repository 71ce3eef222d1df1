package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/knarr-dev/knarr/admission"
	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/server/audit"
)

// Config is what an API server can be told. Every field is a flag of `knarr apiserver`, whose name and help are the
// field's tags; a flag that kube-apiserver has is named as there.
type Config struct {
	DataDir string `flag:"data-dir" help:"directory of everything that is kept: the embedded etcd, keys, certificates and admin.kubeconfig"`

	// Serving.
	BindAddress         net.IP        `flag:"bind-address" help:"address to listen on; the unspecified one (0.0.0.0 or ::) means all"`
	SecurePort          int           `flag:"secure-port" help:"port on which HTTPS is served"`
	AdvertiseAddress    net.IP        `flag:"advertise-address" help:"address under which pods and other members of the cluster reach this server (default: that of the interface with the default route)"`
	ExternalHostname    string        `flag:"external-hostname" help:"host name to show to clients, in discovery for example"`
	TLSCertFile         string        `flag:"tls-cert-file" help:"certificate to serve with, followed by its intermediates (default: one issued by the cluster's own authority)"`
	TLSPrivateKeyFile   string        `flag:"tls-private-key-file" help:"key of --tls-cert-file"`
	TLSMinVersion       string        `flag:"tls-min-version" help:"lowest version of TLS to speak: VersionTLS12 or VersionTLS13"`
	RequestTimeout      time.Duration `flag:"request-timeout" help:"how long a request that is not a stream may take"`
	MinRequestTimeout   int           `flag:"min-request-timeout" help:"seconds that a watch lasts at least, if the client names no time; watches end at a random time between this and twice this"`
	MaxInFlight         int           `flag:"max-requests-inflight" help:"reading requests that are served at a time; more are told to come again. 0 sets no limit. With priority and fairness the two limits together are the seats of all levels"`
	MaxMutating         int           `flag:"max-mutating-requests-inflight" help:"writing requests that are served at a time; more are told to come again. 0 sets no limit"`
	PriorityAndFairness bool          `flag:"enable-priority-and-fairness" help:"share the server among its clients by FlowSchemas and PriorityLevelConfigurations"`
	ShutdownDelay       time.Duration `flag:"shutdown-delay-duration" help:"how long to serve on after the signal to stop, while /readyz already says no"`
	Profiling           bool          `flag:"profiling" help:"serve /debug/pprof"`

	// Storage.
	EtcdServers         []string      `flag:"etcd-servers" help:"addresses of an external etcd cluster (scheme://host:port), separated by commas (default: an etcd embedded in this process)"`
	EtcdServersOverride []string      `flag:"etcd-servers-overrides" help:"resources with an etcd cluster of their own: group/resource#server;server, separated by commas"`
	EtcdCAFile          string        `flag:"etcd-cafile" help:"authorities of the etcd servers' certificates"`
	EtcdCertFile        string        `flag:"etcd-certfile" help:"certificate to show to the etcd servers"`
	EtcdKeyFile         string        `flag:"etcd-keyfile" help:"key of --etcd-certfile"`
	EtcdPrefix          string        `flag:"etcd-prefix" help:"prefix of all keys in etcd"`
	EtcdCompaction      time.Duration `flag:"etcd-compaction-interval" help:"how often old revisions are dropped; 0 never drops any"`
	EncryptionConfig    string        `flag:"encryption-provider-config" help:"file that says with which keys which resources are encrypted in etcd (EncryptionConfiguration)"`
	EncryptionReload    bool          `flag:"encryption-provider-config-automatic-reload" help:"read --encryption-provider-config again when it changes"`
	EventTTL            time.Duration `flag:"event-ttl" help:"how long Events are kept"`

	// Network.
	ServiceClusterIPRange string            `flag:"service-cluster-ip-range" help:"range of the addresses of Services, in CIDR notation; two ranges, of IPv4 and IPv6, separated by a comma, for dual stack"`
	ServiceNodePortRange  utilnet.PortRange `flag:"service-node-port-range" help:"range of the ports that Services open on nodes"`

	// Nodes.
	KubeletAddressTypes []string `flag:"kubelet-preferred-address-types" help:"which of a node's addresses to try, best first"`
	KubeletCAFile       string   `flag:"kubelet-certificate-authority" help:"authorities of the nodes' serving certificates (default: any certificate will do)"`
	KubeletCertFile     string   `flag:"kubelet-client-certificate" help:"certificate to show to nodes (default: one issued by the cluster's own authority)"`
	KubeletKeyFile      string   `flag:"kubelet-client-key" help:"key of --kubelet-client-certificate"`

	// Who asks.
	ClientCAFile         string             `flag:"client-ca-file" help:"authorities of clients' certificates, beside the cluster's own"`
	TokenAuthFile        string             `flag:"token-auth-file" help:"file of static tokens: lines of token, user, UID and, optionally, groups in quotes"`
	BasicAuthFile        string             `flag:"basic-auth-file" help:"DEPRECATED, use another way: file of users of HTTP's basic authentication: lines of password, user, UID and, optionally, groups in quotes"`
	AnonymousAuth        bool               `flag:"anonymous-auth" help:"let requests without credentials in, as system:anonymous"`
	AuthenticationConfig string             `flag:"authentication-config" help:"file of OpenID Connect issuers whose tokens are accepted, and of the paths that anonymous requests may have (AuthenticationConfiguration); may change while the server runs"`
	Proxy                ProxyConfig        `prefix:"requestheader-"`
	OIDC                 OIDCConfig         `prefix:"oidc-"`
	TokenWebhook         TokenWebhookConfig `prefix:"authentication-token-webhook-"`

	// Who may.
	Authorization AuthorizationConfig `prefix:"authorization-"`

	// Tokens of service accounts and nodes.
	ServiceAccountIssuer  []string      `flag:"service-account-issuer" help:"issuer of service account tokens; further ones are accepted only"`
	ServiceAccountKeys    []string      `flag:"service-account-key-file" help:"files of public or private keys, in PEM, that verify service account tokens (default: that of --service-account-signing-key-file)"`
	APIAudiences          []string      `flag:"api-audiences" help:"audiences of service account tokens that are for this API (default: the issuers)"`
	ServiceAccountSigning string        `flag:"service-account-signing-key-file" help:"key that signs service account tokens (default: the cluster's own)"`
	ServiceAccountSigner  string        `flag:"service-account-signing-endpoint" help:"Unix socket of a process that signs service account tokens in place of a key file, and says which keys verify them"`
	ServiceAccountJWKSURI string        `flag:"service-account-jwks-uri" help:"where others find the keys that verify service account tokens, to be shown in /.well-known/openid-configuration (default: this server's own /openid/v1/jwks)"`
	ServiceAccountLookup  bool          `flag:"service-account-lookup" help:"accept service account tokens of Secrets only as long as their Secret is there"`
	ServiceAccountExtend  bool          `flag:"service-account-extend-token-expiration" help:"give tokens that are mounted into pods a year to live, for clients that read them once; their use after the time asked for is noted"`
	BootstrapTokenAuth    bool          `flag:"enable-bootstrap-token-auth" help:"accept the tokens in Secrets of type bootstrap.kubernetes.io/token in kube-system, with which nodes introduce themselves"`
	ServiceAccountMaxLife time.Duration `flag:"service-account-max-token-expiration" help:"longest life of service account tokens, 1h at least; more is shortened with a warning. 0 sets no limit"`

	// Who did what.
	Audit audit.Config `prefix:"audit-"`

	// What is served.
	EnableAdmission    []string          `flag:"enable-admission-plugins" help:"admission plugins to run beside those that run by default"`
	DisableAdmission   []string          `flag:"disable-admission-plugins" help:"admission plugins not to run"`
	AdmissionConfig    string            `flag:"admission-control-config-file" help:"file of the admission plugins' configuration (AdmissionConfiguration)"`
	NotReadySeconds    int               `flag:"default-not-ready-toleration-seconds" help:"seconds that a pod which says nothing else stays on a node that is not ready"`
	UnreachableSeconds int               `flag:"default-unreachable-toleration-seconds" help:"seconds that a pod which says nothing else stays on a node that cannot be reached"`
	RuntimeConfig      map[string]string `flag:"runtime-config" help:"versions and resources to serve or not: apps/v1=false, api/all=true"`
	FeatureGates       map[string]string `flag:"feature-gates" help:"accepted at the values that Kubernetes 1.36 has by default, and at no others"`
	AllowPrivileged    bool              `flag:"allow-privileged" help:"allow privileged containers"`
}

// DefaultConfig is what holds where nothing else is said.
func DefaultConfig() Config {
	return Config{
		DataDir:     defaultDataDir(os.Geteuid(), os.Getenv),
		BindAddress: net.IPv4zero, SecurePort: 6443, TLSMinVersion: "VersionTLS12",
		RequestTimeout: time.Minute, MinRequestTimeout: 1800, MaxInFlight: 400, MaxMutating: 200, PriorityAndFairness: true, Profiling: true,
		EtcdPrefix: "/registry", EtcdCompaction: 5 * time.Minute, EventTTL: time.Hour,
		ServiceClusterIPRange: "10.0.0.0/24", ServiceNodePortRange: utilnet.PortRange{Base: 30000, Size: 2768},
		KubeletAddressTypes: []string{"Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP"},
		AnonymousAuth:       true, Authorization: defaultAuthorization(),
		ServiceAccountIssuer: []string{"https://kubernetes.default.svc.cluster.local"}, ServiceAccountLookup: true, ServiceAccountExtend: true,
		Proxy: DefaultProxy(), OIDC: defaultOIDC(), TokenWebhook: defaultTokenWebhook(),
		NotReadySeconds: 300, UnreachableSeconds: 300, AllowPrivileged: true,
		Audit: audit.DefaultConfig(),
	}
}

// defaultDataDir is the system's place for root, and the user's own for others (the XDG base directories).
func defaultDataDir(uid int, env func(string) string) string {
	if uid == 0 {
		return "/var/lib/knarr"
	}
	if data := env("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "knarr")
	}
	if home := env("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "share", "knarr")
	}
	return "" // who is nowhere at home has to say where
}

// Validate names everything that is wrong at once.
func (c *Config) Validate() error {
	_, rangesErr := c.serviceRanges()
	_, overridesErr := c.storageOverrides()
	checks := []struct {
		bad  bool
		word string
	}{
		{c.DataDir == "", "--data-dir is empty: name the directory to keep everything in"},
		{c.SecurePort < 1 || c.SecurePort > 65535, fmt.Sprintf("--secure-port is %d: use 1 to 65535", c.SecurePort)},
		{c.AdvertiseAddress != nil && c.AdvertiseAddress.IsUnspecified(), "--advertise-address names no address: use one that others can reach"},
		{(c.TLSCertFile == "") != (c.TLSPrivateKeyFile == ""), "--tls-cert-file and --tls-private-key-file belong together"},
		{c.TLSMinVersion != "VersionTLS12" && c.TLSMinVersion != "VersionTLS13", fmt.Sprintf("--tls-min-version is %q: use VersionTLS12 or VersionTLS13", c.TLSMinVersion)},
		{c.RequestTimeout <= 0, "--request-timeout must be above 0"},
		{c.MinRequestTimeout < 0, "--min-request-timeout must not be below 0"},
		{c.MaxInFlight < 0, "--max-requests-inflight must not be below 0"},
		{c.MaxMutating < 0, "--max-mutating-requests-inflight must not be below 0"},
		{c.PriorityAndFairness && c.MaxInFlight+c.MaxMutating == 0, "--max-requests-inflight and --max-mutating-requests-inflight are both 0: priority and fairness needs seats to share; set one, or --enable-priority-and-fairness=false"},
		{(c.EtcdCertFile == "") != (c.EtcdKeyFile == ""), "--etcd-certfile and --etcd-keyfile belong together"},
		{len(c.EtcdServers) == 0 && (c.EtcdCAFile != "" || c.EtcdCertFile != ""), "--etcd-cafile and --etcd-certfile need --etcd-servers: the embedded etcd has no listener"},
		{!strings.HasPrefix(c.EtcdPrefix, "/"), fmt.Sprintf("--etcd-prefix is %q: it begins with a slash", c.EtcdPrefix)},
		{c.EtcdCompaction < 0, "--etcd-compaction-interval must not be below 0"},
		{c.EncryptionReload && c.EncryptionConfig == "", "--encryption-provider-config-automatic-reload needs --encryption-provider-config"},
		{c.EventTTL <= 0, "--event-ttl must be above 0"},
		{c.ServiceNodePortRange.Size < 1, "--service-node-port-range is empty"},
		{(c.KubeletCertFile == "") != (c.KubeletKeyFile == ""), "--kubelet-client-certificate and --kubelet-client-key belong together"},
		{c.ServiceAccountMaxLife != 0 && (c.ServiceAccountMaxLife < time.Hour || c.ServiceAccountMaxLife > 1<<32*time.Second),
			"--service-account-max-token-expiration must be 0 or from 1h to 2^32 seconds"},
		{c.ServiceAccountSigner != "" && (c.ServiceAccountSigning != "" || len(c.ServiceAccountKeys) > 0),
			"--service-account-signing-endpoint takes the place of --service-account-signing-key-file and --service-account-key-file"},
		{len(c.ServiceAccountKeys) > 0 && c.ServiceAccountSigning == "" && c.ServiceAccountSigner == "", "--service-account-key-file needs --service-account-signing-key-file"},
	}
	errs := []error{rangesErr, overridesErr, CheckFeatureGates(c.FeatureGates), c.Audit.Validate(), c.checkTokenIssuers(), c.checkAuthentication(), c.Authorization.check()}
	if err := admission.CheckNames(c.EnableAdmission, c.DisableAdmission); err != nil {
		errs = append(errs, fmt.Errorf("--enable-admission-plugins, --disable-admission-plugins: %w", err))
	}
	for _, check := range checks {
		if check.bad {
			errs = append(errs, errors.New(check.word))
		}
	}
	return errors.Join(errs...)
}

// serviceRanges are the ranges of Services' addresses: one, or one a family.
func (c *Config) serviceRanges() ([]netip.Prefix, error) {
	const flag = "--service-cluster-ip-range"
	ranges, err := ParseRanges(flag, c.ServiceClusterIPRange)
	if err != nil {
		return nil, err
	}
	if len(ranges) == 0 {
		return nil, errors.New(flag + " is empty: Services need addresses")
	}
	for _, r := range ranges {
		if free := r.Addr().BitLen() - r.Bits(); free < 3 {
			return nil, fmt.Errorf("%s: %s has fewer than 8 addresses", flag, r)
		}
	}
	return ranges, nil
}

// ParseRanges reads what a flag says of addresses: one range, or one a family, separated by a comma. An empty text is none.
func ParseRanges(flag, text string) (ranges []netip.Prefix, err error) {
	if text == "" {
		return nil, nil
	}
	for one := range strings.SplitSeq(text, ",") {
		r, err := netip.ParsePrefix(strings.TrimSpace(one))
		if err != nil {
			return nil, fmt.Errorf("%s: %q is no CIDR such as 10.0.0.0/16", flag, one)
		}
		ranges = append(ranges, r.Masked())
	}
	if len(ranges) > 2 || len(ranges) == 2 && ranges[0].Addr().Is4() == ranges[1].Addr().Is4() {
		return nil, fmt.Errorf("%s: %s: give one range, or one of IPv4 and one of IPv6", flag, text)
	}
	return ranges, nil
}

// network is the part of the configuration that concerns addresses and ports.
func (c *Config) network() (registry.Network, error) {
	ranges, err := c.serviceRanges()
	if err != nil {
		return registry.Network{}, err
	}
	n := registry.DefaultNetwork()
	n.ServiceRanges, n.NodePorts, n.AdvertisePort = ranges, c.ServiceNodePortRange, c.SecurePort
	n.AdvertiseAddress, err = c.Advertised()
	return n, err
}

// Advertised is the address that others reach: the one configured, the one listened on, or that of the default route.
// A machine without any route serves itself alone.
func (c *Config) Advertised() (net.IP, error) {
	if c.AdvertiseAddress != nil {
		return c.AdvertiseAddress, nil
	}
	ip, err := utilnet.ResolveBindAddress(c.BindAddress)
	if utilnet.IsNoRoutesError(err) {
		return net.IPv4(127, 0, 0, 1), nil
	}
	return ip, err
}

func (c *Config) kubeletAddressTypes() []corev1.NodeAddressType {
	types := make([]corev1.NodeAddressType, len(c.KubeletAddressTypes))
	for i, t := range c.KubeletAddressTypes {
		types[i] = corev1.NodeAddressType(t)
	}
	return types
}

// storageOverride is a resource whose objects are kept in an etcd cluster of their own.
type storageOverride struct {
	Group, Resource string
	Servers         []string
}

// storageOverrides reads group/resource#server;server.
func (c *Config) storageOverrides() ([]storageOverride, error) {
	var overrides []storageOverride
	for _, text := range c.EtcdServersOverride {
		what, servers, ok := strings.Cut(text, "#")
		group, resource, slash := strings.Cut(what, "/")
		if !ok || !slash || resource == "" || servers == "" {
			return nil, fmt.Errorf("--etcd-servers-overrides: %q is not of the form group/resource#server;server", text)
		}
		overrides = append(overrides, storageOverride{group, resource, strings.Split(servers, ";")})
	}
	return overrides, nil
}
