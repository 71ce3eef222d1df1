package auth

import (
	"encoding/base64"
	"fmt"
)

// Kubeconfig returns the configuration of a client that trusts the authorities (in PEM) and shows the certificate.
func Kubeconfig(server string, authorities []byte, client *Certificate) []byte {
	cert, key := client.PEM()
	encode := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: knarr
clusters:
- name: knarr
  cluster:
    server: %s
    certificate-authority-data: %s
contexts:
- name: knarr
  context:
    cluster: knarr
    user: admin
users:
- name: admin
  user:
    client-certificate-data: %s
    client-key-data: %s
`, server, encode(authorities), encode(cert), encode(key))
}

// KubeconfigByFiles is the same for a client that keeps up with a certificate that is renewed: the files are named, and
// read again as they change. Names that are relative are so to the kubeconfig's own place.
func KubeconfigByFiles(server string, authorities []byte, certFile, keyFile string) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: knarr
clusters:
- name: knarr
  cluster:
    server: %s
    certificate-authority-data: %s
contexts:
- name: knarr
  context:
    cluster: knarr
    user: knarr
users:
- name: knarr
  user:
    client-certificate: %q
    client-key: %q
`, server, base64.StdEncoding.EncodeToString(authorities), certFile, keyFile)
}

// WriteKubeconfig keeps a file readable by its owner alone up to date.
func WriteKubeconfig(path string, content []byte) error { return keepFile(path, content, 0o600) }
