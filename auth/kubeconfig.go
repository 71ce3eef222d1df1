package auth

import (
	"encoding/base64"
	"fmt"
	"strconv"
)

// Kubeconfig returns the configuration of a client that trusts the authorities (in PEM) and shows the certificate.
func Kubeconfig(server string, authorities []byte, client *Certificate) []byte {
	cert, key := client.PEM()
	return kubeconfig(server, authorities, "admin", "client-certificate-data", encoded(cert), "client-key-data", encoded(key))
}

// KubeconfigByFiles is the same for a client that keeps up with a certificate that is renewed: the files are named, and
// read again as they change. Names that are relative are so to the kubeconfig's own place.
func KubeconfigByFiles(server string, authorities []byte, certFile, keyFile string) []byte {
	return kubeconfig(server, authorities, "knarr", "client-certificate", strconv.Quote(certFile), "client-key", strconv.Quote(keyFile))
}

func encoded(pem []byte) string { return base64.StdEncoding.EncodeToString(pem) }

// kubeconfig is the document; the user has a certificate and a key in fields of the given names.
func kubeconfig(server string, authorities []byte, user, certField, cert, keyField, key string) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: knarr
clusters:
- name: knarr
  cluster:
    server: %[1]s
    certificate-authority-data: %[2]s
contexts:
- name: knarr
  context:
    cluster: knarr
    user: %[3]s
users:
- name: %[3]s
  user:
    %[4]s: %[5]s
    %[6]s: %[7]s
`, server, encoded(authorities), user, certField, cert, keyField, key)
}

// WriteKubeconfig keeps a file readable by its owner alone up to date.
func WriteKubeconfig(path string, content []byte) error { return keepFile(path, content, 0o600) }
