package nodeagent

import (
	"fmt"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestScripts(t *testing.T) {
	for name, c := range map[string]struct {
		annotations map[string]string
		command     []string
		attempt     uint32
		want        string
	}{
		"a program runs until it is stopped":     {nil, []string{"nginx"}, 0, "runs"},
		"no command is no reason to end":         {nil, nil, 0, "runs"},
		"true":                                   {nil, []string{"/bin/true"}, 0, "exits 0 after 0s"},
		"false":                                  {nil, []string{"false"}, 0, "exits 1 after 0s"},
		"sleep takes its time":                   {nil, []string{"sleep", "90"}, 0, "exits 0 after 1m30s"},
		"steps of a shell":                       {nil, []string{"sh", "-c", "echo a; sleep 2 && sleep 1; exit 7"}, 0, "exits 7 after 3s"},
		"&& stops at what fails":                 {nil, []string{"sh", "-c", "false && sleep 5"}, 0, "exits 1 after 0s"},
		"a step that needs a program":            {nil, []string{"sh", "-c", "sleep 1; wget x; exit 1"}, 0, "runs"},
		"annotations come before the command":    {map[string]string{"exit-after": "5s", "exit-code": "3"}, []string{"true"}, 0, "exits 3 after 5s"},
		"one container's before the pod's":       {map[string]string{"exit-after": "5s", "exit-after.c": "1s"}, nil, 0, "exits 0 after 1s"},
		"those of another container say nothing": {map[string]string{"exit-after.d": "1s"}, nil, 0, "runs"},
		"the first run exits when one may":       {map[string]string{"exit-after": "1s", "exit-times": "1"}, nil, 0, "exits 0 after 1s"},
		"the second does not":                    {map[string]string{"exit-after": "1s", "exit-times": "1"}, nil, 1, "runs"},
		"an annotation that nobody understands":  {map[string]string{"exit-after": "soon"}, nil, 0, "error"},
	} {
		t.Run(name, func(t *testing.T) {
			prefixed := map[string]string{}
			for word, value := range c.annotations {
				prefixed[annotationPrefix+word] = value
			}
			s, err := readScript(annotated(prefixed, "c"), &cri.ContainerConfig{Metadata: &cri.ContainerMetadata{Name: "c", Attempt: c.attempt}, Command: c.command}, manners{})
			got := "runs"
			switch {
			case err != nil:
				got = "error"
			case s.exits:
				got = fmt.Sprintf("exits %d after %v", s.exitCode, s.exitAfter)
			}
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}
