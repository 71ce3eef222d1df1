package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Names are those under which a server is called, beside localhost and the kubernetes Service's.
type Names struct {
	Hosts []string // of the machine
	IPs   []net.IP // of the machine, and the Service's
	// ClusterDomain is the end of Services' DNS names; empty means cluster.local.
	ClusterDomain string
}

// ProxyName is the name under which an API server speaks for its users to aggregated ones.
const ProxyName = "front-proxy-client"

// PKI is the keys and certificates of a cluster, in one directory.
type PKI struct {
	dir         string
	log         *slog.Logger
	authorities []*authority
	leaves      []leaf
	watched     watchedFiles
	onRenewal   []func() error

	// Serving is what the API server shows to clients.
	Serving *Certificate
	// Kubelet is what the API server shows to nodes.
	Kubelet *Certificate
	// Proxy is what the API server shows to aggregated API servers.
	Proxy *Certificate
	// Admin is the certificate of a member of system:masters.
	Admin *Certificate
	// Parts is what other parts of the control plane show to those who ask how they are.
	Parts *Certificate
	// Authority issues the above, all but Proxy.
	Authority *Bundle
	// ProxyAuthority issues Proxy.
	ProxyAuthority *Bundle
	// ServiceAccountKey signs the tokens of service accounts.
	ServiceAccountKey *ecdsa.PrivateKey
}

// Open makes what is missing in the directory, and reads it.
func Open(dir string, names Names, log *slog.Logger) (*PKI, error) {
	p := &PKI{dir: strings.TrimSuffix(dir, "/") + "/", log: log, watched: watchedFiles{log: log, wrong: map[reloader]string{}}}
	cluster, proxy, err := p.openAuthorities()
	if err != nil {
		return nil, err
	}
	p.leaves = []leaf{
		servingLeaf(cluster, names),
		{file: "apiserver-kubelet-client", issuer: cluster, name: "kube-apiserver-kubelet-client", groups: []string{mastersGroup}, usage: x509.ExtKeyUsageClientAuth},
		{file: "front-proxy-client", issuer: proxy, name: ProxyName, usage: x509.ExtKeyUsageClientAuth},
		{file: "admin", issuer: cluster, name: "kubernetes-admin", groups: []string{mastersGroup}, usage: x509.ExtKeyUsageClientAuth},
		partsLeaf(cluster, names),
		{file: "controllers", issuer: cluster, name: "system:kube-controller-manager", usage: x509.ExtKeyUsageClientAuth},
		{file: "scheduler", issuer: cluster, name: "system:kube-scheduler", usage: x509.ExtKeyUsageClientAuth},
	}
	if _, err := p.renew(time.Now()); err != nil {
		return nil, err
	}
	if err := p.openFiles(); err != nil {
		return nil, err
	}
	if p.ServiceAccountKey, err = openKey(p.dir + "sa.key"); err != nil {
		return nil, err
	}
	return p, keepFile(p.dir+"sa.pub", encodePublicKey(&p.ServiceAccountKey.PublicKey), 0o644)
}

// openAuthorities opens the three, of which etcd's stands alone: an embedded etcd has no listener to authenticate.
func (p *PKI) openAuthorities() (cluster, proxy *authority, err error) {
	for _, one := range []struct{ file, name string }{
		{"ca", "kubernetes"}, {"front-proxy-ca", "front-proxy-ca"}, {"etcd/ca", "etcd-ca"},
	} {
		a, err := openAuthority(p.dir+one.file, one.name)
		if err != nil {
			return nil, nil, err
		}
		p.authorities = append(p.authorities, a)
	}
	return p.authorities[0], p.authorities[1], nil
}

func (p *PKI) openFiles() error {
	for _, one := range []struct {
		file string
		into **Certificate
	}{{"apiserver", &p.Serving}, {"apiserver-kubelet-client", &p.Kubelet}, {"front-proxy-client", &p.Proxy}, {"admin", &p.Admin}, {"parts", &p.Parts}} {
		c, err := OpenCertificate(p.dir+one.file+".crt", p.dir+one.file+".key")
		if err != nil {
			return err
		}
		*one.into = c
		p.Watch(c)
	}
	for _, one := range []struct {
		file string
		into **Bundle
	}{{"ca", &p.Authority}, {"front-proxy-ca", &p.ProxyAuthority}} {
		b, err := OpenBundle(p.dir + one.file + ".crt")
		if err != nil {
			return err
		}
		*one.into = b
		p.Watch(b)
	}
	return nil
}

// servingLeaf names the API server in every way in which clients inside and outside the cluster call it.
func servingLeaf(issuer *authority, names Names) leaf {
	domain := names.ClusterDomain
	if domain == "" {
		domain = "cluster.local"
	}
	dns, ips := names.of("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc."+domain)
	return leaf{file: "apiserver", issuer: issuer, name: "kube-apiserver", usage: x509.ExtKeyUsageServerAuth, dns: dns, ips: ips}
}

// partsLeaf is for what the other parts of the control plane serve about themselves.
func partsLeaf(issuer *authority, names Names) leaf {
	dns, ips := names.of()
	return leaf{file: "parts", issuer: issuer, name: "knarr-parts", usage: x509.ExtKeyUsageServerAuth, dns: dns, ips: ips}
}

// of are the names of the machine, after those that are given.
func (names Names) of(dns ...string) ([]string, []net.IP) {
	dns = append(dns, "localhost")
	ips := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	for _, host := range names.Hosts {
		if host != "" && !slices.Contains(dns, host) {
			dns = append(dns, host)
		}
	}
	for _, ip := range names.IPs {
		if ip != nil && !ip.IsUnspecified() && !slices.ContainsFunc(ips, ip.Equal) {
			ips = append(ips, ip)
		}
	}
	return dns, ips
}

// Watch adds files from elsewhere (--client-ca-file, configuration files: a Certificate, a Bundle, a File) to those
// that Run reads again. Call it before Run.
func (p *PKI) Watch(files ...reloader) { p.watched.files = append(p.watched.files, files...) }

// OnRenewal adds what is to be done after certificates may have changed. Call it before Run.
func (p *PKI) OnRenewal(do func() error) { p.onRenewal = append(p.onRenewal, do) }

// renew renews what is due and returns when it wants to be called again.
func (p *PKI) renew(now time.Time) (next time.Time, err error) {
	for _, a := range p.authorities {
		if err := a.renew(now); err != nil {
			return time.Time{}, err
		}
		next = earlier(next, renewalOf(a.certificate))
	}
	for _, l := range p.leaves {
		due, err := l.renew(p.dir, now)
		if err != nil {
			return time.Time{}, err
		}
		next = earlier(next, due)
	}
	return next, nil
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// filePeriod is how often files are looked at. They are few and small: to read one costs less than to be told of its
// changes, and works for symbolic links and files that are replaced.
const filePeriod = 5 * time.Second

// Run renews certificates and reads changed files again until ctx ends. What goes wrong is logged and tried again.
func (p *PKI) Run(ctx context.Context) {
	tick := time.NewTicker(filePeriod)
	defer tick.Stop()
	var due time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if now.After(due) {
				next, err := p.renew(now)
				if err != nil {
					p.log.Error("certificates are not renewed", "err", err)
					next = now.Add(time.Minute)
				}
				due = next
			}
			p.refresh()
		}
	}
}

// refresh reads changed files, and tells those who wait for that.
func (p *PKI) refresh() {
	if !p.watched.refresh() {
		return
	}
	for _, do := range p.onRenewal {
		if err := do(); err != nil {
			p.log.Error("after a renewal of certificates", "err", err)
		}
	}
}

// IssueClient keeps the certificate of a client up to date, for a process on the machine where the cluster's authority
// is. It returns when it wants to be called again.
func IssueClient(dir, file, name string, groups []string, now time.Time) (next time.Time, err error) {
	path := filepath.Join(dir, "ca")
	if _, err := os.Stat(path + ".key"); err != nil {
		return time.Time{}, fmt.Errorf("the cluster's authority is not on this machine: %w", err)
	}
	issuer, err := openAuthority(path, "kubernetes")
	if err != nil {
		return time.Time{}, err
	}
	client := leaf{file: file, issuer: issuer, name: name, groups: groups, usage: x509.ExtKeyUsageClientAuth}
	return client.renew(strings.TrimSuffix(dir, "/")+"/", now)
}
