package main

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/util/jsonpath"
	"sigs.k8s.io/yaml"
)

// A file of scenarios begins with scripts and ends with the manifests that they share:
//
//	scenario a rollout
//	create web {"spec":{"replicas":2}}
//	await deployments/web {.status.availableReplicas} 2
//	patch deployments/web {"spec":{"paused":true}}
//	-- web --
//	apiVersion: apps/v1
//	...
//
// Objects are named as TARGET: resources/name, one of them; resources?selector, all that a label selector finds;
// resources?selector#N, the Nth of these, the oldest first. Patches are JSON merge patches. The commands:
//
//	create MANIFEST [PATCH]     make an object of a manifest, changed by the patch
//	patch TARGET PATCH          change objects
//	patch-status TARGET PATCH   change their status
//	delete TARGET [POLICY]      delete them, in the background if no other policy is given
//	evict TARGET                evict pods, as often as a budget refuses it
//	await TARGET PATH VALUES    wait until a JSONPath of the objects has the values, sorted, and their status is about what they are now
//	await TARGET gone           wait until there are none
//	pass DURATION               wait for a time that rules depend on
//	settle                      wait until nothing changes any more, as is done in the end
//	often REASON                do not count events with a reason: it depends on time how often something is tried
//	ignore REASON               do not tell of them at all
//	also TARGET                 tell of these objects, too, which are in no namespace
//
// In all of it NAMESPACE stands for the scenario's own.

// scenario is something that is played.
type scenario struct {
	name      string
	commands  []string
	manifests map[string][]byte
}

//go:embed scenarios/*.txt
var scripts embed.FS

func scenarios() ([]scenario, error) {
	files, err := scripts.ReadDir("scenarios")
	if err != nil {
		return nil, err
	}
	var all []scenario
	for _, f := range files {
		data, err := scripts.ReadFile("scenarios/" + f.Name())
		if err != nil {
			return nil, err
		}
		of, err := parseScenarios(strings.TrimSuffix(f.Name(), ".txt"), data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		all = append(all, of...)
	}
	return all, nil
}

func parseScenarios(subject string, data []byte) (all []scenario, err error) {
	archive := txtar.Parse(data)
	manifests := map[string][]byte{}
	for _, f := range archive.Files {
		if manifests[f.Name], err = yaml.YAMLToJSONStrict(f.Data); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	for line := range strings.Lines(string(archive.Comment)) {
		line = strings.TrimSpace(line)
		name, begins := strings.CutPrefix(line, "scenario ")
		switch {
		case line == "", strings.HasPrefix(line, "#"):
		case begins:
			all = append(all, scenario{name: subject + ": " + name, manifests: manifests})
		case len(all) == 0:
			return nil, fmt.Errorf("%q comes before any scenario", line)
		default:
			s := &all[len(all)-1]
			s.commands = append(s.commands, line)
		}
	}
	return all, nil
}

// script is a scenario that is being played.
type script struct {
	*side
	scenario
	namespace string
	also      []string
	often     []string
	ignored   []string
	last      time.Time // when the last command ended
}

// play goes through the commands.
func (s *script) play(ctx context.Context) error {
	if err := s.furnish(ctx, s.namespace); err != nil {
		return err
	}
	for _, line := range s.commands {
		err := s.run(ctx, line)
		s.last = time.Now()
		if err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	return s.stage.dead()
}

// settled says whether nothing has changed for a while.
func (s *script) settled(quiet time.Duration) error {
	return s.side.settled(s.namespace, s.last, quiet)
}

func (s *script) run(ctx context.Context, line string) error {
	verb, rest, _ := strings.Cut(strings.ReplaceAll(line, "NAMESPACE", s.namespace), " ")
	target, rest, _ := strings.Cut(strings.TrimSpace(rest), " ")
	rest = strings.TrimSpace(rest)
	switch verb {
	case "create":
		return s.create(ctx, target, rest)
	case "patch", "patch-status":
		return s.each(target, func(of *unstructured.Unstructured) error {
			var sub []string
			if verb == "patch-status" {
				sub = []string{"status"}
			}
			now, err := s.objects(of).Patch(ctx, of.GetName(), types.MergePatchType, []byte(rest), metav1.PatchOptions{}, sub...)
			if err != nil {
				return err
			}
			return s.saw(ctx, now, true)
		})
	case "delete":
		policy := metav1.DeletePropagationBackground
		if rest != "" {
			policy = metav1.DeletionPropagation(rest)
		}
		return s.each(target, func(of *unstructured.Unstructured) error {
			return s.objects(of).Delete(ctx, of.GetName(), metav1.DeleteOptions{PropagationPolicy: &policy})
		})
	case "evict":
		return s.each(target, func(of *unstructured.Unstructured) error { return s.evict(ctx, of) })
	case "await":
		return s.await(ctx, target, rest)
	case "pass":
		after, err := time.ParseDuration(target)
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(after):
		}
		return ctx.Err()
	case "settle":
		return until(ctx, func() error { return s.settled(quiet) })
	case "often":
		s.often = append(s.often, target)
		return nil
	case "ignore":
		s.ignored = append(s.ignored, target)
		return nil
	case "also":
		s.also = append(s.also, target)
		_, err := s.meant(target)
		return err
	}
	return fmt.Errorf("%q is no command", verb)
}

func (s *script) create(ctx context.Context, manifest, patch string) error {
	data, ok := s.manifests[manifest]
	if !ok {
		return fmt.Errorf("there is no manifest %q", manifest)
	}
	if patch != "" {
		changed, err := jsonpatch.MergePatch(data, []byte(patch))
		if err != nil {
			return err
		}
		data = changed
	}
	o := &unstructured.Unstructured{}
	if err := json.Unmarshal(data, &o.Object); err != nil {
		return err
	}
	resource, ok := s.byKind[o.GroupVersionKind().GroupKind()]
	if !ok {
		return fmt.Errorf("there is no resource of kind %s", o.GroupVersionKind())
	}
	if resource.namespaced {
		o.SetNamespace(s.namespace)
	}
	made, err := s.objects(o).Create(ctx, o, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return s.saw(ctx, made, false)
}

// saw waits until what was written is seen, or was seen and is gone: what comes next may be about it.
func (s *script) saw(ctx context.Context, written *unstructured.Unstructured, before bool) error {
	store := s.byKind[written.GroupVersionKind().GroupKind()].informer.GetStore()
	return until(ctx, func() error {
		seen, there, err := store.Get(written)
		switch {
		case err != nil || !there && before:
			return err
		case !there:
			return fmt.Errorf("%s %s is not seen", written.GetKind(), written.GetName())
		}
		order, err := resourceversion.CompareResourceVersion(seen.(*unstructured.Unstructured).GetResourceVersion(), written.GetResourceVersion())
		if err == nil && order < 0 {
			err = fmt.Errorf("%s %s is not seen as it is", written.GetKind(), written.GetName())
		}
		return err
	})
}

// each does something with every object that is meant.
func (s *script) each(target string, do func(*unstructured.Unstructured) error) error {
	objects, err := s.meant(target)
	if err != nil {
		return err
	}
	if len(objects) == 0 {
		return fmt.Errorf("there is no %s", target)
	}
	for _, o := range objects {
		if err := do(o); err != nil {
			return err
		}
	}
	return nil
}

func (s *script) await(ctx context.Context, target, what string) error {
	path, values, _ := strings.Cut(what, " ")
	values = strings.TrimSpace(values)
	return until(ctx, func() error {
		objects, err := s.meant(target)
		switch {
		case err != nil:
			return err
		case what == "gone" && len(objects) == 0:
			return nil
		case what == "gone":
			return fmt.Errorf("%d objects %s", len(objects), target)
		}
		var have []string
		for _, o := range objects {
			if observed, found, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration"); found && observed != o.GetGeneration() {
				return fmt.Errorf("the status of %s is about generation %d, not %d", target, observed, o.GetGeneration())
			}
			j := jsonpath.New(target).AllowMissingKeys(true)
			if err := j.Parse(path); err != nil {
				return err
			}
			var value strings.Builder
			if err := j.Execute(&value, o.Object); err != nil {
				return err
			}
			have = append(have, value.String())
		}
		slices.Sort(have)
		if got := strings.Join(have, " "); got != values {
			return fmt.Errorf("%s of %s is %q, not %q", path, target, got, values)
		}
		return nil
	})
}
