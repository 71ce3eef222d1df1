package nodeagent

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/knarr-dev/knarr/nodeagent/shell"
)

// runs are those of a container that the runtime remembers, newest first. The runtime is locked.
func (s *Simulated) runs(uid, container string) (runs []*simulatedContainer) {
	for _, p := range s.sandboxes {
		if p.config.Metadata.Uid != uid {
			continue
		}
		for _, c := range p.containers {
			if c.status.Metadata.Name == container {
				runs = append(runs, c)
			}
		}
	}
	slices.SortFunc(runs, func(a, b *simulatedContainer) int {
		return int(b.status.Metadata.Attempt) - int(a.status.Metadata.Attempt)
	})
	return runs
}

// mostLines is how much of a log that goes on and on is remembered.
const mostLines = 10000

// Log is what a container has written by now. Nothing is kept of one without a program: its script tells what it writes, and
// when.
func (s *Simulated) Log(pod *corev1.Pod, container string, previous bool) (lines []LogLine, more <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	runs := s.runs(string(pod.UID), container)
	if previous {
		runs = runs[min(1, len(runs)):]
	}
	if len(runs) == 0 {
		return nil, nil, fmt.Errorf("container %q in pod %q is not available", container, pod.Name)
	}
	c := runs[0]
	if c.started.IsZero() {
		return nil, c.ended, nil
	}
	if c.process != nil {
		lines, more = c.process.written()
		if c.status.State == cri.ContainerState_CONTAINER_EXITED {
			more = nil
		}
		return lines, more, nil
	}
	until := s.clock.Now()
	if c.status.FinishedAt != 0 {
		until = time.Unix(0, c.status.FinishedAt)
	}
	lines, next := c.script.written(until.Sub(c.started))
	for i := range lines {
		lines[i].At = c.started.Add(lines[i].At.Sub(time.Time{}))
	}
	switch {
	case c.status.State == cri.ContainerState_CONTAINER_EXITED:
		return lines, nil, nil
	case next == 0:
		return lines, c.ended, nil
	}
	due, ended := make(chan struct{}), c.ended
	once := sync.OnceFunc(func() { close(due) })
	timer := s.clock.AfterFunc(c.started.Add(next).Sub(s.clock.Now()), once)
	go func() { // ends with the container or with the wait, whichever is first
		select {
		case <-ended:
			timer.Stop()
			once()
		case <-due:
		}
	}()
	return lines, due, nil
}

// written is what a container has written when it is of an age, each line at the age at which it was written, and when the
// next line is due; zero if none is.
func (s *script) written(age time.Duration) (lines []LogLine, next time.Duration) {
	round := time.Duration(0)
	if s.logEvery > 0 && age/s.logEvery > mostLines {
		round = (age/s.logEvery - mostLines) * s.logEvery
	}
	for ; ; round += s.logEvery {
		for _, e := range s.log {
			at := round + e.after
			if at > age {
				return lines, at
			}
			lines = append(lines, LogLine{time.Time{}.Add(at), e.text})
		}
		if s.logEvery <= 0 || len(s.log) == 0 {
			return lines, 0
		}
	}
}

// running is a container that runs.
func (s *Simulated) running(uid, container string) (*simulatedContainer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	runs := s.runs(uid, container)
	if len(runs) == 0 || runs[0].status.State != cri.ContainerState_CONTAINER_RUNNING {
		return nil, fmt.Errorf("container not found (%q)", container)
	}
	return runs[0], nil
}

// noProgram is what those are told who want to talk to a program. It has no colon: clients read what looks like YAML as a
// Status.
func noProgram(pod string) string {
	return fmt.Sprintf("pod %s runs on a simulated node, where no program is that could answer", pod)
}

// cannotExecute is a shell's exit code for what cannot be run.
const cannotExecute = 126

// ExecInContainer follows a command if it is one that needs no program, as containers do. Else it says why it cannot.
func (s *Simulated) ExecInContainer(ctx context.Context, name, uid, container string, command []string, _ io.Reader, out, errs io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	c, err := s.running(uid, container)
	if err != nil {
		return err
	}
	if c.process != nil && shell.Knows(command) {
		return exitError(c.process.beside(ctx, command, out))
	}
	var does script
	if does.obey(command); !does.exits {
		if errs == nil {
			errs = out
		}
		if errs != nil {
			fmt.Fprintln(errs, noProgram(name))
		}
		return exitError(cannotExecute)
	}
	now := time.Duration(0)
	for _, e := range append(does.log, entry{after: does.exitAfter}) {
		if err := shell.Pass(ctx, s.clock, e.after-now); err != nil {
			return err
		}
		if now = e.after; e.text != "" && out != nil {
			fmt.Fprintln(out, e.text)
		}
	}
	return exitError(int(does.exitCode))
}

// exitError is how those who execute a command learn of its exit code.
func exitError(code int) error {
	if code == 0 {
		return nil
	}
	return utilexec.CodeExitError{Err: fmt.Errorf("exit code %d", code), Code: code}
}

// AttachContainer says that there is nobody to talk to.
func (s *Simulated) AttachContainer(_ context.Context, name, uid, container string, _ io.Reader, out, errs io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize) error {
	if _, err := s.running(uid, container); err != nil {
		return err
	}
	if errs == nil {
		errs = out
	}
	if errs != nil {
		fmt.Fprintln(errs, noProgram(name))
	}
	return nil
}

// PortForward says that nobody listens.
func (s *Simulated) PortForward(_ context.Context, name, _ string, port int32, _ io.ReadWriteCloser) error {
	return fmt.Errorf("nobody listens at port %d: %s", port, noProgram(name))
}
