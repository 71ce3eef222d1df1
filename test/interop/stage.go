package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// stage is a running cast: processes that log into a directory, and the credentials that they use.
type stage struct {
	top, dir string
	// kubeconfigs by who uses them: admin, controllers, scheduler and node-1.
	kubeconfigs map[string]string
	authority   string // file with the certificate that the API server is trusted by
	key         string // file with the key of service accounts
	nodes       int
	running     []*process
}

type process struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{}
}

// user is an identity that the reference API server knows by its token.
type user struct{ name, groups string }

// users are those who take part, by the names of their kubeconfigs. Knarr makes kubeconfigs for the same ones.
func users() map[string]user {
	return map[string]user{"admin": {"admin", "system:masters"}, "controllers": {"system:kube-controller-manager", ""},
		"scheduler": {"system:kube-scheduler", ""}, "node-1": {"system:node:node-1", "system:nodes"}}
}

// begin starts everybody, the API server first.
func (s *stage) begin(ctx context.Context, c cast) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	url := fmt.Sprintf("https://127.0.0.1:%d", port)
	common := []string{"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port), "--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction", "--service-cluster-ip-range=10.0.0.0/16"}
	if c.apiserver == "knarr" {
		err = s.knarr(common)
	} else {
		err = s.reference(url, common)
	}
	if err != nil {
		return err
	}
	if err := s.awaitReady(ctx); err != nil {
		return err
	}
	if err := s.controllers(c.controllers); err != nil {
		return err
	}
	if c.scheduler == "knarr" {
		err = s.start("knarr", "scheduler", "--kubeconfig="+s.kubeconfigs["scheduler"], "--secure-port=0")
	} else {
		err = s.start(c.scheduler, "", append(unlimited(), "--kubeconfig="+s.kubeconfigs["scheduler"], "--secure-port=0")...)
	}
	if err != nil {
		return err
	}
	return s.agent()
}

func (s *stage) knarr(flags []string) error {
	data := filepath.Join(s.dir, "data")
	s.kubeconfigs = map[string]string{}
	for name := range users() {
		s.kubeconfigs[name] = filepath.Join(data, name+".kubeconfig")
	}
	s.authority, s.key = filepath.Join(data, "pki", "ca.crt"), filepath.Join(data, "pki", "sa.key")
	return s.start("knarr", "apiserver", append(flags, "--data-dir="+data)...)
}

// reference starts kube-apiserver over etcd.
func (s *stage) reference(url string, flags []string) error {
	client, err := freePort()
	if err != nil {
		return err
	}
	peer, err := freePort()
	if err != nil {
		return err
	}
	clients, peers := fmt.Sprintf("http://127.0.0.1:%d", client), fmt.Sprintf("http://127.0.0.1:%d", peer)
	if err := s.start("etcd", "", "--data-dir="+filepath.Join(s.dir, "etcd"), "--listen-client-urls="+clients, "--advertise-client-urls="+clients,
		"--listen-peer-urls="+peers, "--initial-advertise-peer-urls="+peers, "--initial-cluster=default="+peers); err != nil {
		return err
	}
	s.authority, s.key = filepath.Join(s.dir, "certs", "apiserver.crt"), filepath.Join(s.dir, "sa.key")
	if err := makeKey(s.key); err != nil {
		return err
	}
	tokens := filepath.Join(s.dir, "tokens.csv")
	s.kubeconfigs = map[string]string{}
	var lines strings.Builder
	for name, u := range users() {
		fmt.Fprintf(&lines, "%s-token,%s,%s,%q\n", name, u.name, u.name, u.groups)
		s.kubeconfigs[name] = filepath.Join(s.dir, name+".kubeconfig")
		config := clientcmdapi.NewConfig()
		config.Clusters["c"] = &clientcmdapi.Cluster{Server: url, CertificateAuthority: s.authority}
		config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: name + "-token"}
		config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
		config.CurrentContext = "x"
		if err := clientcmd.WriteToFile(*config, s.kubeconfigs[name]); err != nil {
			return err
		}
	}
	if err := os.WriteFile(tokens, []byte(lines.String()), 0o600); err != nil {
		return err
	}
	return s.start("kube-apiserver", "", append(flags, "--etcd-servers="+clients, "--advertise-address=127.0.0.1", "--cert-dir="+filepath.Join(s.dir, "certs"),
		"--token-auth-file="+tokens, "--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+s.key, "--service-account-signing-key-file="+s.key)...)
}

// makeKey makes a key for the tokens of service accounts.
func makeKey(file string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

func (s *stage) controllers(who string) error {
	flags := []string{"--kubeconfig=" + s.kubeconfigs["controllers"], "--use-service-account-credentials", "--service-account-private-key-file=" + s.key,
		"--root-ca-file=" + s.authority, "--secure-port=0", "--node-monitor-grace-period=20s"}
	if who == "knarr" {
		return s.start("knarr", "controllers", flags...)
	}
	return s.start(who, "", append(flags, unlimited()...)...)
}

// unlimited lets upstream's parts write as often as they will, as knarr's do.
func unlimited() []string { return []string{"--kube-api-qps=1000", "--kube-api-burst=1000"} }

// agent starts nodes of knarr's: nobody else's pods run without containers.
func (s *stage) agent() error {
	flags := []string{"--address=127.0.0.1", "--node-ip=127.0.0.1", "--port=0"}
	data := filepath.Join(s.dir, "data")
	switch {
	case s.nodes > 1:
		flags = append(flags, fmt.Sprintf("--simulated-nodes=%d", s.nodes), "--data-dir="+data)
	case filepath.Dir(s.kubeconfigs["node-1"]) == data:
		flags = append(flags, "--hostname-override=node-1", "--data-dir="+data)
	default:
		flags = append(flags, "--hostname-override=node-1", "--kubeconfig="+s.kubeconfigs["node-1"])
	}
	return s.start("knarr", "agent", flags...)
}

// start starts one of the programs in bin; its log is named after it and its command.
func (s *stage) start(program, command string, flags ...string) error {
	name := program
	if command != "" {
		name, flags = program+"-"+command, append([]string{command}, flags...)
	}
	log, err := os.Create(filepath.Join(s.dir, name+".log"))
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	p := &process{name: name, cmd: exec.Command(filepath.Join(s.top, "bin", program), flags...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	s.running = append(s.running, p)
	go func() {
		p.cmd.Wait() // how it ended shows in the log
		close(p.ended)
	}()
	return nil
}

// dead names a process that has ended.
func (s *stage) dead() error {
	for _, p := range s.running {
		select {
		case <-p.ended:
			return fmt.Errorf("%s has ended: %v", p.name, p.cmd.ProcessState)
		default:
		}
	}
	return nil
}

// end stops everybody, the last first.
func (s *stage) end() {
	for i := len(s.running) - 1; i >= 0; i-- {
		p := s.running[i]
		p.cmd.Process.Signal(syscall.SIGTERM) // an ended process takes none
		select {
		case <-p.ended:
		case <-time.After(20 * time.Second):
			p.cmd.Process.Kill()
			<-p.ended
		}
	}
}

func (s *stage) admin() (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfigs["admin"])
	if err != nil {
		return nil, err
	}
	config.QPS, config.WarningHandler = -1, rest.NoWarnings{}
	return kubernetes.NewForConfig(config)
}

func (s *stage) awaitReady(ctx context.Context) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		if err := s.dead(); err != nil {
			return false, err
		}
		client, err := s.admin()
		if err != nil {
			last = err
			return false, nil
		}
		_, last = client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("the API server is not ready: %w", errors.Join(err, last))
	}
	return nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
