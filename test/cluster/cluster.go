// Package cluster starts the knarr that was built, as a process of its own on an empty data directory, for tests that
// see it from outside.
//
// `make build` makes bin/knarr and bin/kubectl; a test that finds none says so. A started process is stopped when its
// test ends, and its log is shown if the test has failed.
package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Cluster is a running knarr.
type Cluster struct {
	URL        string
	DataDir    string
	CAFile     string
	Kubeconfig string
	PID        int

	t       testing.TB
	args    []string
	process *exec.Cmd
	log     buffer
	ended   chan struct{}
}

// readyAfter bounds a start, on a machine that is busy with other things.
const readyAfter = 60 * time.Second

// Start runs `knarr part` with the flags on an empty data directory and a free port, and waits until it is ready.
func Start(t testing.TB, part string, flags ...string) *Cluster {
	t.Helper()
	return start(t, t.TempDir(), part, flags...)
}

// Beside runs another part of the same cluster, on the same data directory and a port of its own.
func (c *Cluster) Beside(part string, flags ...string) *Cluster {
	c.t.Helper()
	return start(c.t, c.DataDir, part, flags...)
}

// Agent runs nodes of the same cluster; it does not wait for them.
func (c *Cluster) Agent(flags ...string) *Cluster {
	c.t.Helper()
	a := &Cluster{URL: c.URL, DataDir: c.DataDir, CAFile: c.CAFile, Kubeconfig: c.Kubeconfig, t: c.t,
		args: append([]string{"agent", "--data-dir=" + c.DataDir}, flags...)}
	a.endWithTest("agent")
	a.Launch()
	return a
}

func start(t testing.TB, dir, part string, flags ...string) *Cluster {
	t.Helper()
	port := FreePort(t)
	c := &Cluster{
		URL: fmt.Sprintf("https://127.0.0.1:%d", port), DataDir: dir,
		CAFile: filepath.Join(dir, "pki", "ca.crt"), Kubeconfig: filepath.Join(dir, "admin.kubeconfig"), t: t,
		args: append([]string{part, "--data-dir=" + dir, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port)}, flags...),
	}
	c.endWithTest(part)
	c.Restart()
	return c
}

func (c *Cluster) endWithTest(part string) {
	c.t.Cleanup(func() {
		c.Stop()
		if c.t.Failed() {
			c.t.Logf("the log of knarr %s:\n%s", part, c.log.String())
		}
	})
}

// Restart starts the process again on its data directory, and waits until it is ready; it has to be stopped.
func (c *Cluster) Restart() {
	c.t.Helper()
	c.Launch()
	c.AwaitReady()
}

// Launch is Restart of a process that cannot be ready yet.
func (c *Cluster) Launch() {
	c.t.Helper()
	c.process = exec.Command(Binary(c.t, "knarr"), c.args...)
	c.process.Stdout, c.process.Stderr = &c.log, &c.log
	if err := c.process.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.PID, c.ended = c.process.Process.Pid, make(chan struct{})
	go func() {
		c.process.Wait() // how it ended shows in the log
		close(c.ended)
	}()
}

// Stop ends the process gracefully, and is done when it has ended.
func (c *Cluster) Stop() { c.end(syscall.SIGTERM) }

// Kill ends the process at once.
func (c *Cluster) Kill() { c.end(syscall.SIGKILL) }

func (c *Cluster) end(signal syscall.Signal) {
	if c.process == nil {
		return // it did not get so far
	}
	c.process.Process.Signal(signal) // an ended process takes none
	select {
	case <-c.ended:
	case <-time.After(readyAfter):
		c.process.Process.Kill()
		c.t.Errorf("knarr did not end within %v of %v", readyAfter, signal)
	}
}

// Log is what the process has logged so far.
func (c *Cluster) Log() string { return c.log.String() }

// Client trusts the cluster's authority and shows no credentials.
func (c *Cluster) Client() *http.Client {
	pool := x509.NewCertPool()
	if pem, err := os.ReadFile(c.CAFile); err == nil {
		pool.AppendCertsFromPEM(pem)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
}

// AwaitReady waits until /readyz says ok.
func (c *Cluster) AwaitReady() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyAfter)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !c.ready(ctx) {
		select {
		case <-c.ended:
			c.t.Fatalf("knarr ended before it was ready:\n%s", c.log.String())
		case <-ctx.Done():
			c.t.Fatalf("knarr is not ready after %v", readyAfter)
		case <-tick.C:
		}
	}
}

func (c *Cluster) ready(ctx context.Context) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+"/readyz", nil)
	if err != nil {
		return false
	}
	client := c.Client()
	defer client.CloseIdleConnections()
	answer, err := client.Do(r)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body) // so that the connection ends well
	return answer.StatusCode == http.StatusOK
}

// Binary finds what make made.
func Binary(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("the test does not run inside the repository")
		}
	}
	path := filepath.Join(dir, "bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("there is no bin/%s: `make bin/%s` makes it, and `make test` all that tests need", name, name)
	}
	return path
}

// FreePort is a port of the loopback interface that nobody listens on.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// buffer takes what several goroutines write.
type buffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}
