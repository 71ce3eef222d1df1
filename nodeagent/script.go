package nodeagent

import (
	"fmt"
	"strconv"
	"strings"
	"time"

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
//	stop-after       how long it takes to end when it is asked to; beyond its grace it is killed: 0s
//	stop-code        with what code it ends when it is asked to: 0
//	post-start-after how long its postStart hook takes, and
//	pre-stop-after   its preStop hook: 0s
//	fail             what cannot be done with it: image, create, start, or a hook: post-start, pre-stop
//	log              what it writes
//
// A container about which annotations say nothing does what its command says, as far as that is one of a few that need no
// program: true, false, sleep N, exit N, echo TEXT, alone or as a script of a shell. All others run until they are stopped.
const annotationPrefix = "simulated.knarr.dev/"

// script is what a simulated container does.
type script struct {
	startAfter, readyAfter, exitAfter, unhealthyAfter, unreadyAfter, stopAfter, postStartAfter, preStopAfter time.Duration
	exits                                                                                                    bool
	exitCode, stopCode                                                                                       int32
	reason, message, fail                                                                                    string
	log                                                                                                      []string
}

// says is the value of a word for a container; empty if there is none.
func says(annotations map[string]string, word, container string) string {
	if own, ok := annotations[annotationPrefix+word+"."+container]; ok {
		return own
	}
	return annotations[annotationPrefix+word]
}

// readScript reads what a container is to do.
func readScript(annotations map[string]string, c *cri.ContainerConfig) (s script, err error) {
	word := func(w string) string { return says(annotations, w, c.Metadata.Name) }
	for w, into := range map[string]*time.Duration{"start-after": &s.startAfter, "ready-after": &s.readyAfter, "exit-after": &s.exitAfter,
		"unhealthy-after": &s.unhealthyAfter, "unready-after": &s.unreadyAfter, "stop-after": &s.stopAfter,
		"post-start-after": &s.postStartAfter, "pre-stop-after": &s.preStopAfter} {
		if text := word(w); text != "" {
			if *into, err = time.ParseDuration(text); err != nil {
				return s, fmt.Errorf("annotation %s%s: %w", annotationPrefix, w, err)
			}
		}
	}
	times := int64(-1)
	for w, take := range map[string]func(int64){"exit-code": func(n int64) { s.exitCode = int32(n) }, "stop-code": func(n int64) { s.stopCode = int32(n) },
		"exit-times": func(n int64) { times = n }} {
		if text := word(w); text != "" {
			n, err := strconv.ParseInt(text, 10, 32)
			if err != nil {
				return s, fmt.Errorf("annotation %s%s: %w", annotationPrefix, w, err)
			}
			take(n)
		}
	}
	s.reason, s.message, s.fail = word("exit-reason"), word("exit-message"), word("fail")
	s.exits = word("exit-after") != "" || word("exit-code") != ""
	if !s.exits {
		s.obey(append(append([]string{}, c.Command...), c.Args...))
	}
	if times >= 0 && int64(c.Metadata.Attempt) >= times {
		s.exits = false
	}
	if text := word("log"); text != "" {
		s.log = strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	}
	return s, nil
}

// says is what a container writes when it starts.
func (s *script) says(container string) []string {
	if len(s.log) > 0 {
		return s.log
	}
	return []string{fmt.Sprintf("container %s is simulated: no program runs, so it writes nothing (annotation %slog says otherwise)", container, annotationPrefix)}
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
		if strings.ContainsAny(strings.Join(words, " "), "$`><|") {
			return 0, false
		}
		s.log = append(s.log, strings.Trim(strings.Join(words[1:], " "), `"'`))
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
