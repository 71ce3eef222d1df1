package nodeagent

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/yaml"
)

// Simulation says what simulated containers do, beside the annotations of their pods: a file with rules, read again when it
// changes. It is decoded strictly.
//
//	apiVersion: simulated.knarr.dev/v1
//	kind: Simulation
//	rules:
//	- namespaces: [shop-*]                  # patterns as of a shell; none: all
//	  podSelector: {matchLabels: {app: db}} # none: all
//	  nodes: [node-1]
//	  images: ["*/postgres:*"]
//	  containers: [main]
//	  behavior: {ready-after: 5s, exit-after: 1m, exit-code: "1"} # the words of the annotations
//
// For each word counts what the pod's own annotations say, then the first rule that fits and says something of it.
type Simulation struct {
	metav1.TypeMeta `json:",inline"`
	Rules           []SimulationRule `json:"rules"`
}

// SimulationRule says how those containers behave to which it applies.
type SimulationRule struct {
	Namespaces  []string              `json:"namespaces,omitempty"`
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`
	Nodes       []string              `json:"nodes,omitempty"`
	Images      []string              `json:"images,omitempty"`
	Containers  []string              `json:"containers,omitempty"`
	Behavior    map[string]string     `json:"behavior"`

	selector labels.Selector
}

// ReadSimulation decodes a file of rules and checks it.
func ReadSimulation(data []byte) (*Simulation, error) {
	var s Simulation
	if err := yaml.UnmarshalStrict(data, &s); err != nil {
		return nil, err
	}
	if s.APIVersion != "simulated.knarr.dev/v1" || s.Kind != "Simulation" {
		return nil, fmt.Errorf("apiVersion %q and kind %q: want simulated.knarr.dev/v1 and Simulation", s.APIVersion, s.Kind)
	}
	for i := range s.Rules {
		if err := s.Rules[i].complete(); err != nil {
			return nil, fmt.Errorf("rules[%d].%w", i, err)
		}
	}
	return &s, nil
}

func (r *SimulationRule) complete() (err error) {
	for field, patterns := range map[string][]string{"namespaces": r.Namespaces, "nodes": r.Nodes, "images": r.Images, "containers": r.Containers} {
		for _, p := range patterns {
			if _, err := path.Match(p, ""); err != nil {
				return fmt.Errorf("%s: %q: %w", field, p, err)
			}
		}
	}
	r.selector = labels.Everything()
	if r.PodSelector != nil {
		if r.selector, err = metav1.LabelSelectorAsSelector(r.PodSelector); err != nil {
			return fmt.Errorf("podSelector: %w", err)
		}
	}
	if len(r.Behavior) == 0 {
		return fmt.Errorf("behavior: it says nothing")
	}
	known := words()
	for name, value := range r.Behavior {
		i := slices.IndexFunc(known, func(w word) bool { return w.name == name })
		if i < 0 {
			return fmt.Errorf("behavior: nobody understands %q", name)
		}
		if err := known[i].obey(&script{}, value); err != nil {
			return fmt.Errorf("behavior: %s: %w", name, err)
		}
	}
	return nil
}

// subject is whom rules may be about.
type subject struct {
	pod              *cri.PodSandboxConfig
	container, image string
}

// about is what annotations and rules say of a container.
func (s *Simulation) about(x subject) saying {
	own := annotated(x.pod.GetAnnotations(), x.container)
	return func(word string) (string, string) {
		if value, by := own(word); by != "" || s == nil {
			return value, by
		}
		for i := range s.Rules {
			if value, told := s.Rules[i].Behavior[word]; told && s.Rules[i].fits(x) {
				return value, fmt.Sprintf("rule %d of the simulation", i)
			}
		}
		return "", ""
	}
}

func (r *SimulationRule) fits(x subject) bool {
	one := func(patterns []string, name string) bool {
		return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
	}
	return one(r.Namespaces, x.pod.GetMetadata().GetNamespace()) && one(r.Nodes, x.pod.GetLabels()[nodeNameLabel]) &&
		one(r.Images, x.image) && one(r.Containers, x.container) && r.selector.Matches(labels.Set(x.pod.GetLabels()))
}

// matches reports whether a name fits a pattern, in which * stands for anything, a slash too.
func matches(pattern, name string) bool {
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", "\x00"), strings.ReplaceAll(name, "/", "\x00"))
	return ok && err == nil
}

// LoadRules has the rules of a file count.
func (s *Simulated) LoadRules(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	rules, err := ReadSimulation(data)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	s.SetRules(rules)
	return nil
}

// FollowRules loads a file of rules again whenever it has changed, until ctx ends. While it cannot be read, the last good
// rules count.
func (s *Simulated) FollowRules(ctx context.Context, file string, c clock.WithTicker, log *slog.Logger) {
	looks := func() string {
		info, err := os.Stat(file)
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(info.ModTime(), info.Size())
	}
	tick := c.NewTicker(time.Second)
	defer tick.Stop()
	for last := looks(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C():
		}
		now := looks()
		if now == last {
			continue
		}
		last = now
		if err := s.LoadRules(file); err != nil {
			log.Warn("rules of the simulation: the last good ones count", "err", err)
			continue
		}
		log.Info("rules of the simulation have changed", "file", file)
	}
}
