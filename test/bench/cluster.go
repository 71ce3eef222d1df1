package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientapi "k8s.io/client-go/tools/clientcmd/api"
)

// cluster is an API server with whatever acts on what is in it: all in one process, as `knarr up` runs it, or programs
// beside it.
type cluster struct {
	*server
	client *kubernetes.Clientset
	dir    string
}

// startCluster starts `knarr up` with a number of simulated nodes on an empty directory, and returns the time until all of
// them are Ready.
func startCluster(ctx context.Context, top string, nodes int, flags ...string) (*cluster, time.Duration, error) {
	return begin(ctx, top, nodes, append([]string{"up", fmt.Sprintf("--simulated-nodes=%d", nodes)}, flags...))
}

// startBare starts `knarr apiserver`: nothing acts yet.
func startBare(ctx context.Context, top string, flags ...string) (*cluster, error) {
	c, _, err := begin(ctx, top, 0, append([]string{"apiserver"}, flags...))
	return c, err
}

func begin(ctx context.Context, top string, nodes int, command []string) (*cluster, time.Duration, error) {
	dir, err := os.MkdirTemp("", "bench-cluster-")
	if err != nil {
		return nil, 0, err
	}
	c := &cluster{dir: dir}
	start := time.Now()
	c.server, _, err = startKnarr(ctx, top, dir, command)
	if err == nil {
		config := c.server.client()
		config.ContentType = "application/vnd.kubernetes.protobuf"
		c.client, err = kubernetes.NewForConfig(config)
	}
	if err == nil {
		err = await(ctx, time.Minute, 2*time.Millisecond, func() (bool, error) { return c.nodesReady(ctx, nodes) })
	}
	if err != nil {
		c.end()
		return nil, 0, err
	}
	return c, time.Since(start), nil
}

// end kills the cluster and removes what it has kept.
func (c *cluster) end() {
	if c.server != nil {
		c.kill()
	}
	os.RemoveAll(c.dir)
}

func (c *cluster) nodesReady(ctx context.Context, n int) (bool, error) {
	if n == 0 {
		return true, nil
	}
	nodes, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, err
	}
	ready := 0
	for _, node := range nodes.Items {
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				ready++
			}
		}
	}
	return ready == n, nil
}

// startUpstream starts one of upstream's programs beside the API server, without limits of its own.
func (c *cluster) startUpstream(top, program string) error {
	return c.startBeside(top, program, "--kube-api-qps=5000", "--kube-api-burst=5000")
}

// startBeside starts a program that acts on what is in the API server, as a member of system:masters.
func (c *cluster) startBeside(top, program string, arguments ...string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	config := clientapi.NewConfig()
	config.Clusters["bench"] = &clientapi.Cluster{Server: c.url, InsecureSkipTLSVerify: true}
	config.AuthInfos["bench"] = &clientapi.AuthInfo{Token: token}
	config.Contexts["bench"] = &clientapi.Context{Cluster: "bench", AuthInfo: "bench"}
	config.CurrentContext = "bench"
	file := filepath.Join(c.dir, program+".kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		return err
	}
	return c.start(top, c.dir, program, append(arguments, "--kubeconfig="+file, "--authentication-kubeconfig="+file,
		"--authorization-kubeconfig="+file, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port), "--leader-elect=false"))
}

// await asks until the answer is yes.
func await(ctx context.Context, patience, every time.Duration, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		yes, err := ask()
		if yes || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for %v: %w", patience, ctx.Err())
		case <-time.After(every):
		}
	}
}

// processor is the time that all processes have had a processor so far.
func (s *server) processor() time.Duration {
	var ticks int64
	for _, p := range s.processes {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
		if err != nil {
			continue
		}
		// The fields behind the name, which may hold anything: utime and stime are the 12th and 13th of them (proc(5)).
		if fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]); len(fields) > 12 {
			var user, system int64
			fmt.Sscan(string(fields[11]), &user)
			fmt.Sscan(string(fields[12]), &system)
			ticks += user + system
		}
	}
	return time.Duration(ticks) * (time.Second / 100)
}

// private is the resident memory of all processes in MB without the pages of etcd's database, which are the kernel's
// cache of a file.
func (s *server) private() float64 {
	now, _ := s.memory()
	for _, p := range s.processes {
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", p.Process.Pid))
		if err != nil {
			continue
		}
		now -= mappedDatabase(string(maps)) / 1000
	}
	return now
}

// mappedDatabase adds up, in units of 1,000 bytes, what is resident of mappings of a database file.
func mappedDatabase(smaps string) (kB float64) {
	database := false
	for line := range strings.Lines(smaps) {
		switch fields := strings.Fields(line); {
		case len(fields) >= 5 && strings.Contains(fields[0], "-"):
			database = strings.HasSuffix(strings.TrimSpace(line), "/snap/db")
		case database && strings.HasPrefix(line, "Rss:"):
			kB += kilobytes(line, "Rss:")
		}
	}
	return kB
}
