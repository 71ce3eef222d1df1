package nodeagent

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

// runContainer runs a container of a pod, and returns it when it has ended, or runs.
func runContainer(t *testing.T, s *Simulated, pod *corev1.Pod, c *corev1.Container, sandbox string, mounts []*cri.Mount) *simulatedContainer {
	t.Helper()
	config := containerConfig(pod, c, 0, "image")
	config.Mounts, config.Envs = mounts, []*cri.KeyValue{{Key: "INDEX", Value: []byte("3")}}
	id, err := s.CreateContainer(t.Context(), sandbox, config, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.StartContainer(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return s.containers[id]
}

func sandboxOf(t *testing.T, s *Simulated, pod *corev1.Pod) string {
	t.Helper()
	sandbox, err := s.RunPodSandbox(t.Context(), sandboxConfig(pod, 0), "")
	if err != nil {
		t.Fatal(err)
	}
	return sandbox
}

func podOn(node, name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "u"}, Spec: corev1.PodSpec{NodeName: node}}
}

func TestProgramsOfContainers(t *testing.T) {
	s := NewSimulated(clock.RealClock{}, netip.MustParsePrefix("10.0.0.0/24"))
	for name, c := range map[string]struct {
		script  string
		policy  corev1.TerminationMessagePolicy
		code    int32
		message string
		log     string
	}{
		"an exit code that is computed":         {"exit $(expr $INDEX + 1)", "", 4, "", ""},
		"a message in the file":                 {"echo -n done > /dev/log", "", 0, "done", ""},
		"a message that is the log's end":       {"echo -n no; false", corev1.TerminationMessageFallbackToLogsOnError, 1, "no", "no"},
		"a simple log's, too":                   {"echo no; exit 1", corev1.TerminationMessageFallbackToLogsOnError, 1, "no\n", "no"},
		"none if all went well":                 {"echo -n no; true", corev1.TerminationMessageFallbackToLogsOnError, 0, "", "no"},
		"none if nobody asked for it":           {"echo -n no; false", corev1.TerminationMessageReadFile, 1, "", "no"},
		"lines that are written piece by piece": {"echo -n a; echo -n b; echo c; echo $HOSTNAME", "", 0, "", "abc\npod"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := podOn("node", "pod")
			container := runContainer(t, s, pod, &corev1.Container{Name: "c", Command: []string{"sh", "-c", c.script}, TerminationMessagePath: "/dev/log",
				TerminationMessagePolicy: c.policy}, sandboxOf(t, s, pod), nil)
			<-container.ended
			if container.status.ExitCode != c.code || container.status.Message != c.message {
				t.Errorf("exit code %d, message %q; want %d, %q", container.status.ExitCode, container.status.Message, c.code, c.message)
			}
			lines, _, err := s.Log(pod, "c", false)
			var log []string
			for _, line := range lines {
				log = append(log, line.Text)
			}
			if c.log != "" && (err != nil || strings.Join(log, "\n") != c.log) {
				t.Errorf("log %q (%v), want %q", log, err, c.log)
			}
			if err := s.RemovePodSandbox(t.Context(), container.pod.id); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Files in a pod's own volumes are seen by its containers, those of the node by pods on the same node.
func TestVolumesOfPrograms(t *testing.T) {
	s := NewSimulated(clock.RealClock{}, netip.MustParsePrefix("10.0.0.0/24"))
	own := []*cri.Mount{{ContainerPath: "/data", HostPath: "volumes/v"}}
	hosts := []*cri.Mount{{ContainerPath: "/data", HostPath: "/var/data"}}
	once := &corev1.Container{Name: "c", Command: []string{"sh", "-c", "if [[ -r /data/f ]]; then exit 0; fi; touch /data/f; exit 42"}}
	a, b, elsewhere := podOn("one", "a"), podOn("one", "b"), podOn("two", "c")
	inA := sandboxOf(t, s, a)
	for _, step := range []struct {
		pod     *corev1.Pod
		sandbox string
		mounts  []*cri.Mount
		want    int32
	}{
		{a, inA, own, 42}, {a, inA, own, 0}, {b, sandboxOf(t, s, b), own, 42},
		{a, inA, hosts, 42}, {b, sandboxOf(t, s, b), hosts, 0}, {elsewhere, sandboxOf(t, s, elsewhere), hosts, 42},
	} {
		c := runContainer(t, s, step.pod, once, step.sandbox, step.mounts)
		<-c.ended
		if c.status.ExitCode != step.want {
			t.Errorf("pod %s, volume %s: exit code %d, want %d", step.pod.Name, step.mounts[0].HostPath, c.status.ExitCode, step.want)
		}
	}
}

// What a command does that names unknown programs, or files that nobody has written, is not guessed. But init containers end.
func TestUnknownPrograms(t *testing.T) {
	s := NewSimulated(clocktesting.NewFakeClock(noon()), netip.MustParsePrefix("10.0.0.0/24"))
	pod := podOn("node", "pod")
	pod.Spec.InitContainers = []corev1.Container{{Name: "init"}}
	objects := []*cri.Mount{{ContainerPath: "/etc/config", HostPath: objectVolumes + "/v"}}
	sandbox := sandboxOf(t, s, pod)
	for name, c := range map[string]struct {
		container string
		script    string
		exits     bool
	}{
		"another program":                      {"c", "migrate && serve", false},
		"a file of a ConfigMap":                {"c", "cat /etc/config/a", false},
		"another program of an init container": {"init", "migrate", true},
	} {
		t.Run(name, func(t *testing.T) {
			c2 := runContainer(t, s, pod, &corev1.Container{Name: c.container, Command: []string{"sh", "-c", c.script}}, sandbox, objects)
			if c2.process != nil || c2.script.exits != c.exits {
				t.Errorf("a process: %t; exits: %t, want %t", c2.process != nil, c2.script.exits, c.exits)
			}
		})
	}
}

// TestStopping: a Job's pod that is deleted has not done its work, and one of a StatefulSet is not gone before somebody can look. The rules of
// the runtime, which change meanwhile, say nothing of any.
func TestStopping(t *testing.T) {
	now := clocktesting.NewFakeClock(noon())
	s := NewSimulated(now, netip.MustParsePrefix("10.0.0.0/24"))
	for name, c := range map[string]struct {
		policy  corev1.RestartPolicy
		command string
		said    map[string]string
		labels  map[string]string
		after   time.Duration
		code    int32
	}{
		"a server ends well":           {policy: corev1.RestartPolicyAlways, command: "nginx"},
		"who is to end once does not":  {policy: corev1.RestartPolicyNever, command: "migrate", code: terminated},
		"nor on failure":               {policy: corev1.RestartPolicyOnFailure, command: "sh -c tail -f /dev/null", code: terminated},
		"unless somebody says how":     {policy: corev1.RestartPolicyNever, command: "migrate", said: map[string]string{annotationPrefix + "stop-code": "0"}},
		"as somebody does of a server": {policy: corev1.RestartPolicyAlways, command: "nginx", said: map[string]string{annotationPrefix + "stop-code": "3"}, code: 3},
		"whose name comes again takes a moment": {policy: corev1.RestartPolicyAlways, command: "nginx",
			labels: map[string]string{appsv1.StatefulSetPodNameLabel: "pod"}, after: namesakeAfter},
	} {
		t.Run(name, func(t *testing.T) {
			pod := podOn("node", "pod")
			pod.Spec.RestartPolicy, pod.Annotations, pod.Labels = c.policy, c.said, c.labels
			x := runContainer(t, s, pod, &corev1.Container{Name: "c", Command: strings.SplitN(c.command, " ", 3)}, sandboxOf(t, s, pod), nil)
			s.SetRules(&Simulation{})
			asked := make(chan error)
			go func() { asked <- s.StopContainer(t.Context(), x.status.Id, 30) }()
			eventually(t, "it is asked to end", func() bool { return c.after == 0 || now.HasWaiters() })
			now.Step(c.after)
			if err := <-asked; err != nil {
				t.Fatal(err)
			}
			if x.status.ExitCode != c.code || x.status.FinishedAt != now.Now().UnixNano() {
				t.Errorf("it ended with %d at %v, want %d", x.status.ExitCode, time.Unix(0, x.status.FinishedAt), c.code)
			}
		})
	}
}

func TestProbesThatAreCommands(t *testing.T) {
	s := NewSimulated(clock.RealClock{}, netip.MustParsePrefix("10.0.0.0/24"))
	pod := podOn("node", "pod")
	sandbox := sandboxOf(t, s, pod)
	plain := runContainer(t, s, pod, &corev1.Container{Name: "plain", Command: []string{"server"}}, sandbox, nil)
	program := runContainer(t, s, pod, &corev1.Container{Name: "program", Command: []string{"sh", "-c", "tail -f /dev/null"}}, sandbox, nil)
	for name, c := range map[string]struct {
		in      *simulatedContainer
		command string
		ok      bool
	}{
		"what needs no program fails":                {plain, "false", false},
		"and succeeds":                               {plain, "true", true},
		"of a file where no program has written any": {plain, "cat /tmp/ready", true},
		"of a file that a program has not written":   {program, "cat /tmp/ready", false},
		"by a test of what is there":                 {program, "test -d /tmp", true},
		"by a test of what is not":                   {program, "test -f /tmp/ready", false},
		"by a program that nobody knows":             {program, "grpc_health_probe", true},
	} {
		t.Run(name, func(t *testing.T) {
			probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: strings.Fields(c.command)}}}
			ok, output, err := s.Probe(t.Context(), pod, c.in.status.Metadata.Name, c.in.status.Id, Readiness, probe)
			if err != nil || ok != c.ok {
				t.Errorf("%t (%s, %v), want %t", ok, output, err, c.ok)
			}
		})
	}
	if err := s.StopPodSandbox(t.Context(), sandbox); err != nil {
		t.Fatal(err)
	}
}
