package nodeagent

import (
	"bytes"
	"context"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/knarr-dev/knarr/nodeagent/shell"
)

// process is what runs in a simulated container whose command package shell knows: a script, over files in memory.
type process struct {
	command shell.Command
	stop    context.CancelFunc

	mu    sync.Mutex // guards the fields below
	lines []LogLine
	open  bool          // the last line has no end yet
	news  chan struct{} // closed when more is written; nil if nobody waits
}

// Annotations under which a container's configuration tells of its termination message, and the label that tells init
// containers from others; the annotations are upstream's.
const (
	messagePathAnnotation   = "io.kubernetes.container.terminationMessagePath"
	messagePolicyAnnotation = "io.kubernetes.container.terminationMessagePolicy"
	initLabel               = "knarr.dev/init"
	serverLabel             = "knarr.dev/server" // of a container that is restarted even after success
)

// objectVolumes is where mounts of volumes come from whose files nobody has written: those that are made of objects.
const objectVolumes = "objects"

// prepare finds out what runs in a container about which nobody has said anything: a process, if its command is known. An init
// container with another command is done at once: nobody could go on waiting for it. The runtime is locked.
func (s *Simulated) prepare(c *simulatedContainer, config *cri.ContainerConfig) {
	c.messagePath, c.logMessage = config.Annotations[messagePathAnnotation], config.Annotations[messagePolicyAnnotation] == "FallbackToLogsOnError"
	args := slices.Concat(config.Command, config.Args)
	switch {
	case c.script.exits:
	case shell.Knows(args) && !namesObjects(args, config.Mounts):
		c.process = &process{command: shell.Command{Args: args, Env: environ(c.pod, config), Dir: config.WorkingDir,
			Hostname: c.pod.config.Hostname, Files: s.filesOf(c.pod, config.Mounts), Clock: s.clock}}
		c.process.command.Output = c.process
	case config.Labels[initLabel] != "":
		c.script.exits = true
	}
}

// namesObjects reports that a command speaks of a volume whose files are not there.
func namesObjects(args []string, mounts []*cri.Mount) bool {
	return slices.ContainsFunc(mounts, func(m *cri.Mount) bool {
		return strings.HasPrefix(m.HostPath, objectVolumes+"/") && strings.Contains(strings.Join(args, " "), m.ContainerPath)
	})
}

// environ is the environment of a process: what every container has, and its own.
func environ(p *simulatedPod, config *cri.ContainerConfig) []string {
	vars := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "HOSTNAME=" + p.config.Hostname}
	for _, v := range config.Envs {
		vars = append(vars, v.Key+"="+string(v.Value))
	}
	return vars
}

// filesOf are those of a container: its own, those of the pod's volumes, and those of the node.
func (s *Simulated) filesOf(p *simulatedPod, mounts []*cri.Mount) *shell.View {
	v := &shell.View{Root: shell.NewFiles("/bin", "/dev", "/etc", "/home", "/mnt", "/root", "/tmp", "/usr", "/var")}
	for _, m := range mounts {
		files := p.volumes
		if path.IsAbs(m.HostPath) {
			node := p.config.Labels[nodeNameLabel]
			if s.files[node] == nil {
				s.files[node] = shell.NewFiles()
			}
			files = s.files[node]
		} else if files == nil {
			files = shell.NewFiles()
			p.volumes = files
		}
		files.MakeFolder(m.HostPath)
		v.Root.MakeFolder(m.ContainerPath)
		v.Binds = append(v.Binds, shell.Bind{At: m.ContainerPath, Files: files, From: m.HostPath, ReadOnly: m.Readonly})
	}
	return v
}

// launch starts the process of a container. The runtime is locked.
func (s *Simulated) launch(c *simulatedContainer) {
	if c.process == nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background()) // until the container ends
	c.process.stop = stop
	go func() {
		code := int32(c.process.command.Run(ctx))
		s.mu.Lock()
		defer s.mu.Unlock()
		s.exit(c, code, reasonOf(code), "")
	}()
}

// mostMessage and the next are how much of a file, and of a log, becomes a termination message.
const (
	mostMessage      = 4096
	mostLogInMessage = 2048
	mostLinesOfLog   = 80
)

// lastWords is the termination message of a container that has ended: what its process has written to the file for it, or, if
// that is wanted and it has failed, the end of its log.
func (c *simulatedContainer) lastWords(code int32) string {
	var log string
	if c.process != nil {
		message := c.process.command.Files.Root.Read(c.messagePath)
		if len(message) > 0 {
			return string(message[:min(len(message), mostMessage)])
		}
		log = c.process.tail(mostLinesOfLog)
	} else if len(c.script.log) > 0 {
		lines, _ := c.script.written(c.script.exitAfter)
		for _, line := range lines {
			log += line.Text + "\n"
		}
	}
	if code == 0 || !c.logMessage {
		return ""
	}
	return log[max(0, len(log)-mostLogInMessage):]
}

// Write takes what the process writes, as lines.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for piece := range bytes.Lines(b) {
		text := strings.TrimSuffix(string(piece), "\n")
		if p.open {
			p.lines[len(p.lines)-1].Text += text
		} else {
			p.lines = append(p.lines, LogLine{p.command.Clock.Now(), text})
		}
		p.open = len(text) == len(piece)
	}
	if more := len(p.lines) - mostLines; more > 0 {
		p.lines = slices.Delete(p.lines, 0, more)
	}
	p.tell()
	return len(b), nil
}

// tell wakes those who wait for more. The process is locked.
func (p *process) tell() {
	if p.news != nil {
		close(p.news)
		p.news = nil
	}
}

// end stops the process; there is no more to wait for.
func (p *process) end() {
	p.stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tell()
}

// written are the lines by now, and what is closed when there are more, or the process ends.
func (p *process) written() ([]LogLine, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.news == nil {
		p.news = make(chan struct{})
	}
	return slices.Clone(p.lines), p.news
}

// tail is the end of the log, as it was written.
func (p *process) tail(n int) string {
	var b strings.Builder
	lines, _ := p.written()
	for i, line := range lines[max(0, len(lines)-n):] {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(line.Text)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(lines) > 0 && !p.open {
		b.WriteByte('\n')
	}
	return b.String()
}

// try runs a command in a container beside its process; known is false if it cannot.
func (c *simulatedContainer) try(ctx context.Context, args []string) (code int, output string, known bool) {
	if c.process == nil {
		var does script
		does.obey(args)
		return int(does.exitCode), "", does.exits && does.exitAfter == 0
	}
	if !shell.Knows(args) {
		return 0, "", false
	}
	var out bytes.Buffer
	code = c.process.beside(ctx, args, &out)
	return code, out.String(), true
}

// beside runs another command in the surroundings of the process.
func (p *process) beside(ctx context.Context, args []string, out io.Writer) int {
	other := p.command
	if other.Args, other.Output = args, out; out == nil {
		other.Output = io.Discard
	}
	return other.Run(ctx)
}
