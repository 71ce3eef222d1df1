package nodeagent

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// annotationPrefix begins the annotations of a pod that say how its simulated containers behave. What follows is one of the
// words below, for all containers of the pod, or for one as word.container:
//
//	start-after      how long a container takes to start: "2s"
//	ready-after      how long its startup and readiness probes fail
//	exit-after       how long it runs until it exits by itself; it does not if this is absent
//	exit-code        with what code it exits then: 0
//	exit-reason      the reason of its end: Completed or Error by its code; OOMKilled for example
//	exit-message     its termination message
//	exit-times       how many runs exit; later ones run on
//	unhealthy-after  from when on its liveness probe fails
//	unready-after    from when on its readiness probe fails
//	stop-after       how long it takes to end when it is asked to; beyond its grace it is killed: 0s; in a StatefulSet 100ms
//	stop-code        with what code it ends when it is asked to: 0 where it would be restarted after that, for servers know how
//	                 to end; 143 where that would mean that its work is done
//	post-start-after how long its postStart hook takes, and
//	pre-stop-after   its preStop hook: 0s
//	fail             what cannot be done with it: image, create, start, or a hook: post-start, pre-stop
//	log              what it writes when it starts, and
//	log-every        how often it writes that again
//	cpu              how many cores it uses while it runs: 250m; none if this is absent
//	memory           how much memory: 64Mi
//
// A container about which annotations say nothing does what its command says, as far as that is one of a few that need no
// program: true, false, sleep N, exit N, echo TEXT, alone or as a script of a shell. All others run until they are stopped.
const annotationPrefix = "simulated.knarr.dev/"

// terminated is the exit code of a program that SIGTERM has ended.
const terminated = 143

// script is what a simulated container does.
type script struct {
	startAfter, readyAfter, exitAfter, unhealthyAfter, unreadyAfter, stopAfter, postStartAfter, preStopAfter, logEvery time.Duration

	exits                 bool
	exitCode, stopCode    int32
	exitTimes             int32 // -1: always
	reason, message, fail string
	log                   []entry
	cpu, memory           uint64 // billionths of a core, and bytes
}

// entry is a line of a log.
type entry struct {
	after time.Duration // the start of the container
	text  string
}

// word is one of those that say what a container does.
type word struct {
	name string
	obey func(s *script, value string) error
}

// words are all, in the order of the list above.
func words() []word {
	duration := func(into func(*script) *time.Duration) func(*script, string) error {
		return func(s *script, value string) (err error) {
			*into(s), err = time.ParseDuration(value)
			return err
		}
	}
	number := func(into func(*script) *int32) func(*script, string) error {
		return func(s *script, value string) error {
			n, err := strconv.ParseInt(value, 10, 32)
			*into(s) = int32(n)
			return err
		}
	}
	text := func(into func(*script) *string) func(*script, string) error {
		return func(s *script, value string) error {
			*into(s) = value
			return nil
		}
	}
	amount := func(scale resource.Scale, into func(*script) *uint64) func(*script, string) error {
		return func(s *script, value string) error {
			q, err := resource.ParseQuantity(value)
			if err == nil && q.Sign() < 0 {
				err = fmt.Errorf("%q is below zero", value)
			}
			*into(s) = uint64(max(q.ScaledValue(scale), 0))
			return err
		}
	}
	return []word{
		{"start-after", duration(func(s *script) *time.Duration { return &s.startAfter })},
		{"ready-after", duration(func(s *script) *time.Duration { return &s.readyAfter })},
		{"exit-after", duration(func(s *script) *time.Duration { s.exits = true; return &s.exitAfter })},
		{"exit-code", number(func(s *script) *int32 { s.exits = true; return &s.exitCode })},
		{"exit-reason", text(func(s *script) *string { return &s.reason })},
		{"exit-message", text(func(s *script) *string { return &s.message })},
		{"exit-times", number(func(s *script) *int32 { return &s.exitTimes })},
		{"unhealthy-after", duration(func(s *script) *time.Duration { return &s.unhealthyAfter })},
		{"unready-after", duration(func(s *script) *time.Duration { return &s.unreadyAfter })},
		{"stop-after", duration(func(s *script) *time.Duration { return &s.stopAfter })},
		{"stop-code", number(func(s *script) *int32 { return &s.stopCode })},
		{"post-start-after", duration(func(s *script) *time.Duration { return &s.postStartAfter })},
		{"pre-stop-after", duration(func(s *script) *time.Duration { return &s.preStopAfter })},
		{"fail", obeyFail},
		{"log", func(s *script, value string) error {
			s.log = nil
			for line := range strings.SplitSeq(strings.TrimSuffix(value, "\n"), "\n") {
				s.log = append(s.log, entry{text: line})
			}
			return nil
		}},
		{"log-every", duration(func(s *script) *time.Duration { return &s.logEvery })},
		{"cpu", amount(resource.Nano, func(s *script) *uint64 { return &s.cpu })},
		{"memory", amount(0, func(s *script) *uint64 { return &s.memory })},
	}
}

func obeyFail(s *script, value string) error {
	known := []string{"image", "create", "start", "post-start", "pre-stop"}
	if s.fail = value; !slices.Contains(known, value) {
		return fmt.Errorf("%q is none of %s", value, strings.Join(known, ", "))
	}
	return nil
}

// saying is what is said of a container: the value of a word, and who says so; empty if nobody says anything.
type saying func(word string) (value, by string)

// annotated is what a pod's annotations say of a container.
func annotated(annotations map[string]string, container string) saying {
	some := false
	for key := range annotations {
		some = some || strings.HasPrefix(key, annotationPrefix)
	}
	if !some { // as of nearly all
		return func(string) (string, string) { return "", "" }
	}
	return func(word string) (string, string) {
		for _, key := range []string{annotationPrefix + word + "." + container, annotationPrefix + word} {
			if value, ok := annotations[key]; ok {
				return value, "annotation " + key
			}
		}
		return "", ""
	}
}

// manners are how a container ends that is asked to, if nobody says how.
type manners struct {
	after time.Duration
	code  int32
}

// namesakeAfter is how long pods take to end whose name another pod gets then. Those who wait for the end of a pod look for the
// name once more before they wait, and would wait for the end of the other one.
const namesakeAfter = 100 * time.Millisecond

func mannersOf(p *cri.PodSandboxConfig, c *cri.ContainerConfig) (m manners) {
	if c.Labels[serverLabel] == "" {
		m.code = terminated
	}
	if p.Labels[appsv1.StatefulSetPodNameLabel] != "" {
		m.after = namesakeAfter
	}
	return m
}

// readScript reads what a container is to do.
func readScript(says saying, c *cri.ContainerConfig, m manners) (script, error) {
	s := script{exitTimes: -1, stopAfter: m.after, stopCode: m.code}
	for _, w := range words() {
		value, by := says(w.name)
		if by == "" || value == "" {
			continue
		}
		if err := w.obey(&s, value); err != nil {
			return s, fmt.Errorf("%s: %w", by, err)
		}
	}
	if !s.exits {
		told := s.log
		s.obey(slices.Concat(c.Command, c.Args))
		if told != nil {
			s.log = told
		}
	}
	if s.exitTimes >= 0 && int64(c.Metadata.Attempt) >= int64(s.exitTimes) {
		s.exits = false
	}
	if len(s.log) == 0 {
		s.log = []entry{{text: fmt.Sprintf("container %s is simulated: no program runs, so it writes nothing (annotation %slog says otherwise)", c.Metadata.Name, annotationPrefix)}}
	}
	return s, nil
}

// obey follows a command, if it is one that needs no program.
func (s *script) obey(command []string) {
	if len(command) >= 3 && command[1] == "-c" {
		switch command[0][strings.LastIndex(command[0], "/")+1:] {
		case "sh", "bash", "ash":
			s.obeyShell(command[2])
			return
		}
	}
	code, known := s.step(command)
	s.exits, s.exitCode = known, code
}

// obeyShell follows the steps of a shell's script until one is none that it knows.
func (s *script) obeyShell(text string) {
	var code int32
	rest := strings.NewReplacer("&&", ";", "\n", ";").Replace(text)
	for step := range strings.SplitSeq(rest, ";") {
		words := strings.Fields(step)
		if len(words) == 0 {
			continue
		}
		if words[0] == "exit" {
			if len(words) > 1 {
				n, err := strconv.ParseInt(words[1], 10, 32)
				if err != nil {
					return
				}
				code = int32(n)
			}
			break
		}
		var known bool
		if code, known = s.step(words); !known {
			return
		}
		if code != 0 && strings.Contains(text, "&&") {
			break
		}
	}
	s.exits, s.exitCode = true, code
}

// step follows one command; known is false if it would need a program.
func (s *script) step(words []string) (code int32, known bool) {
	if len(words) == 0 {
		return 0, false
	}
	switch words[0][strings.LastIndex(words[0], "/")+1:] {
	case "true", ":":
		return 0, true
	case "false":
		return 1, true
	case "echo":
		if strings.ContainsAny(strings.Join(words, " "), "$`><|") || len(words) > 1 && words[1] == "-n" {
			return 0, false
		}
		s.log = append(s.log, entry{s.exitAfter, strings.Trim(strings.Join(words[1:], " "), `"'`)})
		return 0, true
	case "sleep":
		if len(words) != 2 {
			return 0, false
		}
		text := words[1]
		if text[len(text)-1] >= '0' && text[len(text)-1] <= '9' {
			text += "s"
		}
		d, err := time.ParseDuration(text)
		s.exitAfter += d
		return 0, err == nil
	}
	return 0, false
}
