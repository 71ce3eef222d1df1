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

// WriteKubeconfig keeps a file readable by its owner alone up to date.
func WriteKubeconfig(path string, content []byte) error { return keepFile(path, content, 0o600) }
