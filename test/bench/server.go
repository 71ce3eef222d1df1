package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
)

const token = "bench-token"

// server is a running API server with all the processes that it needs.
type server struct {
	url       string
	processes []*exec.Cmd // in order of start
}

// startServer starts a kind of server on a directory and returns the time until /readyz answered ok.
func startServer(ctx context.Context, top, kind, dir string) (*server, time.Duration, error) {
	if kind == "knarr" {
		return startKnarr(ctx, top, dir, []string{"apiserver"})
	}
	return launch(ctx, dir, func(s *server, common []string) error { return s.startReference(top, dir, common) })
}

// startKnarr starts a command of knarr that serves the API.
func startKnarr(ctx context.Context, top, dir string, command []string) (*server, time.Duration, error) {
	return launch(ctx, dir, func(s *server, common []string) error {
		return s.start(top, dir, "knarr", slices.Concat(command, []string{"--data-dir=" + dir}, common))
	})
}

// launch starts an API server with the flags that all kinds have, and returns the time until it was ready.
func launch(ctx context.Context, dir string, start func(s *server, common []string) error) (*server, time.Duration, error) {
	tokens := filepath.Join(dir, "tokens.csv")
	if err := os.WriteFile(tokens, []byte(token+`,admin,uid-admin,"system:masters"`+"\n"+userToken+","+userName+",uid-user\n"), 0o600); err != nil {
		return nil, 0, err
	}
	port, err := freePort()
	if err != nil {
		return nil, 0, err
	}
	s := &server{url: fmt.Sprintf("https://127.0.0.1:%d", port)}
	began := time.Now()
	err = start(s, []string{"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port), "--token-auth-file=" + tokens,
		"--authorization-mode=Node,RBAC", "--service-cluster-ip-range=10.0.0.0/16"})
	if err == nil {
		err = s.awaitReady(ctx)
	}
	if err != nil {
		s.kill()
		return nil, 0, err
	}
	return s, time.Since(began), nil
}

func (s *server) startReference(top, dir string, common []string) error {
	client, err := freePort()
	if err != nil {
		return err
	}
	peer, err := freePort()
	if err != nil {
		return err
	}
	key := filepath.Join(dir, "sa.key")
	if err := makeServiceAccountKey(key); err != nil {
		return err
	}
	clientURL, peerURL := fmt.Sprintf("http://127.0.0.1:%d", client), fmt.Sprintf("http://127.0.0.1:%d", peer)
	if err := s.start(top, dir, "etcd", []string{"--data-dir=" + filepath.Join(dir, "etcd"), "--listen-client-urls=" + clientURL,
		"--advertise-client-urls=" + clientURL, "--listen-peer-urls=" + peerURL, "--initial-advertise-peer-urls=" + peerURL,
		"--initial-cluster=default=" + peerURL}); err != nil {
		return err
	}
	return s.start(top, dir, "kube-apiserver", append(common, "--etcd-servers="+clientURL, "--advertise-address=127.0.0.1",
		"--cert-dir="+filepath.Join(dir, "certs"), "--allow-privileged=true",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+key, "--service-account-signing-key-file="+key))
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// start starts one of the programs in bin; its output goes to a file in the directory.
func (s *server) start(top, dir, program string, args []string) error {
	log, err := os.OpenFile(filepath.Join(dir, program+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	p := exec.Command(filepath.Join(top, "bin", program), args...)
	p.Stdout, p.Stderr = log, log
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // nothing outlives the benchmark
	if err := p.Start(); err != nil {
		return err
	}
	s.processes = append(s.processes, p)
	return nil
}

// kill ends all processes as a power cut does.
func (s *server) kill() {
	for _, p := range s.processes {
		p.Process.Kill()
		p.Wait() // killed: the error says so
	}
}

// awaitReady polls /readyz every 2 ms.
func (s *server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	for ctx.Err() == nil {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/readyz", nil)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		if answer, err := client.Do(r); err == nil {
			io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	return fmt.Errorf("not ready: %w", ctx.Err())
}

// client is the configuration of a client in system:masters without limits of its own.
func (s *server) client() *rest.Config {
	return &rest.Config{Host: s.url, BearerToken: token, QPS: -1, Burst: -1, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
}

// memory is the resident memory of all processes in MB, now and at its highest since resetPeak.
func (s *server) memory() (now, peak float64) {
	for _, p := range s.processes {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
		if err != nil {
			continue
		}
		now += kilobytes(string(status), "VmRSS:") / 1000
		peak += kilobytes(string(status), "VmHWM:") / 1000
	}
	return now, peak
}

func (s *server) resetPeak() {
	for _, p := range s.processes {
		// 5 resets the high-water mark: proc(5), clear_refs.
		os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.Process.Pid), []byte("5"), 0)
	}
}

// kilobytes reads a line such as "VmRSS:    1234 kB" (of 1,024 bytes) in units of 1,000 bytes.
func kilobytes(status, key string) float64 {
	_, rest, _ := strings.Cut(status, key)
	var n float64
	fmt.Sscan(rest, &n)
	return n * 1.024
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
