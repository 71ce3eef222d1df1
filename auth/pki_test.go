package auth

import (
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T, dir string, names Names) *PKI {
	t.Helper()
	p, err := Open(dir, names, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		all[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func leafOf(t *testing.T, c *Certificate) *x509.Certificate {
	t.Helper()
	pair, err := c.Get(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func TestSecondOpenReusesEverything(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, Names{})
	before := files(t, dir)
	open(t, dir, Names{})
	if d := cmp.Diff(before, files(t, dir)); d != "" {
		t.Error(d)
	}
}

func TestKeysAreForTheOwnerAlone(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, Names{})
	for path := range files(t, dir) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(path) == ".key" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v", path, info.Mode())
		}
	}
}

func TestServingCertificateNamesTheServerAsClientsDo(t *testing.T) {
	p := open(t, t.TempDir(), Names{Hosts: []string{"box"}, IPs: []net.IP{net.IPv4(10, 0, 0, 1)}})
	c := leafOf(t, p.Serving)
	for _, name := range []string{"kubernetes.default.svc.cluster.local", "kubernetes", "localhost", "box", "127.0.0.1", "::1", "10.0.0.1"} {
		if err := c.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.Verify(x509.VerifyOptions{Roots: p.Authority.Pool()}); err != nil {
		t.Error(err)
	}
}

func TestNewNamesReissueTheServingCertificateOnly(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir, Names{})
	second := open(t, dir, Names{Hosts: []string{"box"}})
	if leafOf(t, first.Serving).Equal(leafOf(t, second.Serving)) {
		t.Error("the serving certificate does not name the new host")
	}
	if !leafOf(t, first.Admin).Equal(leafOf(t, second.Admin)) {
		t.Error("the admin's certificate was issued again")
	}
}

func TestCertificatesAreRenewedWhenAThirdOfTheirLifeIsLeft(t *testing.T) {
	p := open(t, t.TempDir(), Names{})
	for _, c := range []struct {
		after   time.Duration
		renewed bool
	}{{leafLifetime * 3 / 5, false}, {leafLifetime * 7 / 10, true}} {
		before := leafOf(t, p.Serving)
		if _, err := p.renew(time.Now().Add(c.after)); err != nil {
			t.Fatal(err)
		}
		p.refresh()
		if renewed := !leafOf(t, p.Serving).Equal(before); renewed != c.renewed {
			t.Errorf("renewed after %v: %v", c.after, renewed)
		}
	}
}

func TestChangedFilesAreTakenIntoUseWhileTheServerRuns(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p := open(t, dir, Names{})
		first, told := leafOf(t, p.Serving), false
		p.OnRenewal(func() error {
			told = !leafOf(t, p.Serving).Equal(first)
			return nil
		})
		go p.Run(t.Context())
		if err := os.Remove(filepath.Join(dir, "apiserver.crt")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(filePeriod + time.Second)
		synctest.Wait()
		if leafOf(t, p.Serving).Equal(first) {
			t.Error("the serving certificate is still the first one")
		}
		if !told {
			t.Error("nobody was told of the renewal")
		}
	})
}

func TestRenewedAuthorityVouchesForWhatTheOldOneIssued(t *testing.T) {
	p := open(t, t.TempDir(), Names{})
	old, cluster := p.Authority.Pool(), p.authorities[0]
	late := time.Now().Add(authorityLifetime * 9 / 10)
	if _, err := p.leaves[0].renew(p.dir, late.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := cluster.renew(late); err != nil {
		t.Fatal(err)
	}
	p.refresh()
	if p.Authority.Pool().Equal(old) {
		t.Fatal("the authority was not renewed")
	}
	for _, roots := range []*x509.CertPool{old, p.Authority.Pool()} {
		if _, err := leafOf(t, p.Serving).Verify(x509.VerifyOptions{Roots: roots, CurrentTime: late.Add(time.Hour)}); err != nil {
			t.Error(err)
		}
	}
}

func TestHalfWrittenPairKeepsTheOldOne(t *testing.T) {
	dir := t.TempDir()
	p := open(t, dir, Names{})
	want := leafOf(t, p.Serving)
	if _, err := makeKey(filepath.Join(dir, "apiserver.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Serving.reload(); err == nil {
		t.Error("a key of another certificate was accepted")
	}
	if !leafOf(t, p.Serving).Equal(want) {
		t.Error("the old pair is gone")
	}
}
