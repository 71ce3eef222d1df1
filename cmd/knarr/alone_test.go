package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestCommandLinesOfKubeadm are those of the manifests that kubeadm writes for upstream's programs.
func TestCommandLinesOfKubeadm(t *testing.T) {
	const (
		controllers = `--allocate-node-cidrs=true --authentication-kubeconfig=/etc/kubernetes/controller-manager.conf
			--authorization-kubeconfig=/etc/kubernetes/controller-manager.conf --bind-address=127.0.0.1 --client-ca-file=/etc/kubernetes/pki/ca.crt
			--cluster-cidr=10.244.0.0/16 --cluster-name=kubernetes --cluster-signing-cert-file=/etc/kubernetes/pki/ca.crt
			--cluster-signing-key-file=/etc/kubernetes/pki/ca.key --controllers=*,bootstrapsigner,tokencleaner
			--kubeconfig=/etc/kubernetes/controller-manager.conf --leader-elect=true
			--requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt --root-ca-file=/etc/kubernetes/pki/ca.crt
			--service-account-private-key-file=/etc/kubernetes/pki/sa.key --service-cluster-ip-range=10.96.0.0/12
			--use-service-account-credentials=true`
		scheduler = `--authentication-kubeconfig=/etc/kubernetes/scheduler.conf --authorization-kubeconfig=/etc/kubernetes/scheduler.conf
			--bind-address=127.0.0.1 --kubeconfig=/etc/kubernetes/scheduler.conf --leader-elect=true`
	)
	for c, line := range map[*cobra.Command]string{controllersCommand(): controllers, schedulerCommand(): scheduler} {
		if err := c.ParseFlags(strings.Fields(line)); err != nil {
			t.Errorf("knarr %s: %v", c.Name(), err)
		}
		// What is wrong then is the place: nothing is there.
		if err := c.RunE(c, nil); err == nil || !strings.Contains(err.Error(), "--kubeconfig") {
			t.Errorf("knarr %s: %v", c.Name(), err)
		}
	}
}
