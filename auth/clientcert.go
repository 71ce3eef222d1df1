package auth

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/knarr-dev/knarr/registry"
)

// credentialIDKey is the user's extra that names the credential by which it was known.
const credentialIDKey = "authentication.kubernetes.io/credential-id"

// clientCertificate takes the user from a verified certificate: common name, organizations as groups, and the UID from
// an attribute of its own. The TLS handshake asks for certificates and leaves the judgement to this place, because
// the authorities may change while the server runs.
//
// A signature takes longer to verify than most requests take to serve, so certificates found good are remembered for
// a short while: as they were parsed, which is done once for all requests of a connection.
type clientCertificate struct {
	authorities *Bundle
	read        func(leaf *x509.Certificate) (*registry.User, error) // nil if it names nobody
	mu          sync.Mutex                                           // guards good
	good        map[*x509.Certificate]goodCertificate
}

// goodCertificate is a certificate that was verified against pool; it holds until then.
type goodCertificate struct {
	user  *registry.User // shared, never changed
	pool  *x509.CertPool
	until time.Time
}

const (
	rememberCertificate = time.Minute
	maxRemembered       = 1024 // certificates, of some 4 kB; beyond, all are forgotten
)

func (c *clientCertificate) Authenticate(r *http.Request) (*registry.User, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, nil
	}
	leaf, rest := r.TLS.PeerCertificates[0], r.TLS.PeerCertificates[1:]
	now, pool := time.Now(), c.authorities.Pool()
	c.mu.Lock()
	known, ok := c.good[leaf]
	c.mu.Unlock()
	if ok && known.pool == pool && now.Before(known.until) {
		return known.user, nil
	}
	if err := verifyClient(leaf, rest, pool); err != nil {
		return nil, err
	}
	user, err := c.read(leaf)
	if user == nil || err != nil {
		return nil, err
	}
	until := now.Add(rememberCertificate)
	if leaf.NotAfter.Before(until) {
		until = leaf.NotAfter
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.good == nil || len(c.good) >= maxRemembered {
		c.good = map[*x509.Certificate]goodCertificate{}
	}
	user = Authenticated(user) // once, not at every request
	c.good[leaf] = goodCertificate{user, pool, until}
	return user, nil
}

// verifyClient checks that an authority in pool has signed the certificate, maybe over intermediate ones, for a client.
func verifyClient(leaf *x509.Certificate, rest []*x509.Certificate, pool *x509.CertPool) error {
	options := x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if len(rest) > 0 {
		options.Intermediates = x509.NewCertPool()
		for _, certificate := range rest {
			options.Intermediates.AddCert(certificate)
		}
	}
	if _, err := leaf.Verify(options); err != nil {
		return fmt.Errorf("verifying certificate SN=%d, SKID=%s, AKID=%s failed: %w",
			leaf.SerialNumber, colonHex(leaf.SubjectKeyId), colonHex(leaf.AuthorityKeyId), err)
	}
	return nil
}

// certificateUser is the user that a verified certificate names; nil if it has no common name.
func certificateUser(leaf *x509.Certificate) (*registry.User, error) {
	if leaf.Subject.CommonName == "" {
		return nil, nil
	}
	uid, err := certificateUID(leaf)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(leaf.Raw)
	return &registry.User{
		Name: leaf.Subject.CommonName, UID: uid, Groups: leaf.Subject.Organization,
		Extra: map[string][]string{credentialIDKey: {"X509SHA256=" + hex.EncodeToString(sum[:])}},
	}, nil
}

// certificateUID reads the subject's attribute 1.3.6.1.4.1.57683.2, which Kubernetes registered for the user's UID.
func certificateUID(leaf *x509.Certificate) (string, error) {
	attribute := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}
	var uids []string
	for _, name := range leaf.Subject.Names {
		if !name.Type.Equal(attribute) {
			continue
		}
		uid, ok := name.Value.(string)
		if !ok {
			return "", errors.New("unable to parse UID into a string")
		}
		uids = append(uids, uid)
	}
	switch {
	case len(uids) == 0:
		return "", nil
	case len(uids) > 1:
		return "", fmt.Errorf("expected 1 UID, but found multiple: %v", uids)
	case uids[0] == "":
		return "", errors.New("UID cannot be an empty string")
	}
	return uids[0], nil
}

// colonHex prints a key id as openssl does: AB:CD.
func colonHex(id []byte) string {
	pairs := make([]string, len(id))
	for i, b := range id {
		pairs[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(pairs, ":")
}
