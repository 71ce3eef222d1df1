package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// cluster is a `knarr up` that runs for the suite.
type cluster struct {
	kubectl, kubeconfig string

	process *exec.Cmd
	ended   chan struct{}
	dir     string
}

// patience is how long the cluster may take to start, and to stop.
const patience = time.Minute

// startCluster starts a cluster on an empty data folder and the loopback interface, and waits until its nodes are ready.
func startCluster(ctx context.Context, o options) (*cluster, error) {
	dir, err := os.MkdirTemp("", "knarr-conformance-data-")
	if err != nil {
		return nil, err
	}
	if o.port == 0 {
		if o.port, err = freePort(); err != nil {
			return nil, err
		}
	}
	bin, err := filepath.Abs(filepath.Join(o.root, "bin"))
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(o.out, "knarr.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	k := &cluster{kubectl: filepath.Join(bin, "kubectl"), kubeconfig: filepath.Join(dir, "admin.kubeconfig"), dir: dir, ended: make(chan struct{})}
	k.process = exec.Command(filepath.Join(bin, "knarr"), "up", "--data-dir="+dir, "--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", o.port), fmt.Sprintf("--simulated-nodes=%d", o.nodes), "--simulation="+filepath.Join(o.root, "test", "conformance", "simulation.yaml"),
		"--etcd-compaction-interval=1m") // a test waits until a list's revision is gone
	k.process.Stdout, k.process.Stderr = log, log
	k.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the suite: it cleans up before the cluster goes
	if err := k.process.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w (make builds it)", k.process.Path, err)
	}
	go func() {
		k.process.Wait() // how it ended shows in its log
		close(k.ended)
	}()
	if err := k.awaitNodes(ctx, o.nodes); err != nil {
		k.stop()
		return nil, err
	}
	return k, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// awaitNodes waits until n nodes are ready.
func (k *cluster) awaitNodes(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		out, _ := exec.CommandContext(ctx, k.kubectl, "--kubeconfig="+k.kubeconfig, "get", "nodes",
			`-o=jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`).Output()
		if strings.Count(string(out), "True") >= n {
			return nil
		}
		select {
		case <-k.ended:
			return fmt.Errorf("knarr ended by itself: its log says why")
		case <-ctx.Done():
			return fmt.Errorf("the nodes are not ready after %v", patience)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// stop ends the cluster and takes its data away.
func (k *cluster) stop() {
	k.process.Process.Signal(syscall.SIGTERM) // an ended process takes none
	select {
	case <-k.ended:
	case <-time.After(patience):
		k.process.Process.Kill()
		<-k.ended
	}
	os.RemoveAll(k.dir)
}
