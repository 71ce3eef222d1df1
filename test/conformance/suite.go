package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// runSuite runs the tests that match the focus. Those that must be alone run one by one when the others are done: the suite
// marks them itself. What it prints goes to suite.log; its error says only that a test failed, or that something did.
func runSuite(ctx context.Context, bin string, k *cluster, focus string, total int, o options) error {
	log, err := os.Create(filepath.Join(o.out, "suite.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{fmt.Sprintf("--procs=%d", o.procs), "--no-color", "--timeout=3h", "--focus=" + focus, filepath.Join(bin, "e2e.test"), "--",
		"--kubeconfig=" + k.kubeconfig, "--kubectl-path=" + k.kubectl, "--provider=skeleton", "--dump-logs-on-failure=false",
		"--report-dir=" + o.out}
	if o.nodes == 0 {
		args = append(args, "--num-nodes=1", "--allowed-not-ready-nodes=-1")
	}
	c := exec.CommandContext(ctx, filepath.Join(bin, "ginkgo"), args...)
	told := io.MultiWriter(log, &progress{total: total, told: time.Now()})
	c.Dir, c.Stdout, c.Stderr = o.out, told, told
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGINT) } // it cleans up, and reports what was done
	c.WaitDelay = patience
	if err := c.Start(); err != nil {
		return err
	}
	defer syscall.Kill(-c.Process.Pid, syscall.SIGKILL) // those of its processes that were not patient
	return c.Wait()
}

// progress reads what the suite prints, and tells on the screen how far it is. A test that was run shows as a bullet; one that
// did not pass has a word in brackets behind it.
type progress struct {
	total, done, failed int
	unread              []byte
	told                time.Time
}

const (
	bullet = "\u2022"
	// quiet is how long nothing is said while tests run.
	quiet = 10 * time.Second
)

var badNews = regexp.MustCompile(`^ \[[A-Z]`)

func (p *progress) Write(b []byte) (int, error) {
	p.unread = append(p.unread, b...)
	for {
		at := bytes.Index(p.unread, []byte(bullet))
		if at < 0 {
			p.unread = p.unread[max(0, len(p.unread)-len(bullet)+1):] // part of one, perhaps
			return len(b), nil
		}
		if len(p.unread) < at+len(bullet+" [X") {
			return len(b), nil // what stands behind it is still to come
		}
		p.unread = p.unread[at+len(bullet):]
		p.done++
		if badNews.Match(p.unread) {
			p.failed++
		}
		if time.Since(p.told) >= quiet {
			fmt.Printf("  %d of %d, %d failed\n", p.done, p.total, p.failed)
			p.told = time.Now()
		}
	}
}
