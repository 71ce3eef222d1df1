package scheduler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	configv1 "k8s.io/kube-scheduler/config/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"
)

// extenders are programs that have a say about pods, asked over HTTP after the plugins, one after the other.
//
// The subtle part is that a cycle waits for them: what happens meanwhile is taken in when it ends, as after every cycle.
// So an extender that is slow makes a slow scheduler, here as upstream.
type extenders []*extender

type extender struct {
	configv1.Extender
	client *http.Client
}

// extenderTimeout is how long an extender may take for an answer, unless its configuration says otherwise.
const extenderTimeout = 5 * time.Second

// refusedByExtender is the plugin's name that stands for all of them. Nothing is known of what may help: every event may.
const refusedByExtender = "Extender"

// newExtenders makes the clients; it is an error if their keys cannot be read.
func newExtenders(list []configv1.Extender) (extenders, error) {
	var all extenders
	for _, e := range list {
		config := rest.Config{}
		if t := e.TLSConfig; t != nil {
			config.TLSClientConfig = rest.TLSClientConfig{Insecure: t.Insecure, ServerName: t.ServerName, CertFile: t.CertFile,
				KeyFile: t.KeyFile, CAFile: t.CAFile, CertData: t.CertData, KeyData: t.KeyData, CAData: t.CAData}
		}
		if e.EnableHTTPS && config.CAFile == "" && len(config.CAData) == 0 {
			config.Insecure = true
		}
		trust, err := rest.TLSConfigFor(&config)
		if err != nil {
			return nil, fmt.Errorf("extender %s: %w", e.URLPrefix, err)
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = trust
		all = append(all, &extender{e, &http.Client{Transport: transport, Timeout: e.HTTPTimeout.Duration}})
	}
	return all, nil
}

// cares reports that a pod is of interest to the extender: it asks for one of its resources, if it has any.
func (e *extender) cares(p *Pod) bool {
	if len(e.ManagedResources) == 0 {
		return true
	}
	return slices.ContainsFunc(slices.Concat(p.Spec.Containers, p.Spec.InitContainers), func(c corev1.Container) bool {
		return slices.ContainsFunc(e.ManagedResources, func(r configv1.ExtenderManagedResource) bool {
			_, requested := c.Resources.Requests[corev1.ResourceName(r.Name)]
			_, limited := c.Resources.Limits[corev1.ResourceName(r.Name)]
			return requested || limited
		})
	})
}

// ask posts a question.
func (e *extender) ask(ctx context.Context, verb string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	url := strings.TrimRight(e.URLPrefix, "/") + "/" + verb
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	got, err := e.client.Do(r)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	if got.StatusCode != http.StatusOK {
		return fmt.Errorf("failed %v with extender at URL %v, code %v", verb, url, got.StatusCode)
	}
	return json.NewDecoder(got.Body).Decode(answer)
}

// about is a question about nodes: their names alone, if the extender knows them itself.
func (e *extender) about(p *Pod, nodes []*Node) *extenderv1.ExtenderArgs {
	args := &extenderv1.ExtenderArgs{Pod: p.Pod}
	if e.NodeCacheCapable {
		names := make([]string, len(nodes))
		for i, n := range nodes {
			names[i] = n.name
		}
		args.NodeNames = &names
		return args
	}
	args.Nodes = &corev1.NodeList{}
	for _, n := range nodes {
		args.Nodes.Items = append(args.Nodes.Items, *n.Node)
	}
	return args
}

// filter leaves the nodes that all extenders let pass; why they refuse others goes into the diagnosis.
func (all extenders) filter(c *Cycle, nodes []*Node, d *Diagnosis) ([]*Node, error) {
	for _, e := range all {
		if len(nodes) == 0 {
			break
		}
		if e.FilterVerb == "" || !e.cares(c.Pod) {
			continue
		}
		left, err := e.filter(c, nodes, d)
		if err != nil && !e.Ignorable {
			return nil, err
		}
		if err == nil {
			nodes = left
		}
	}
	return nodes, nil
}

// pass reports that all let one node pass.
func (all extenders) pass(c *Cycle, n *Node) bool {
	if len(all) == 0 {
		return true
	}
	left, err := all.filter(c, []*Node{n}, c.newDiagnosis())
	return len(left) > 0 && err == nil
}

func (e *extender) filter(c *Cycle, nodes []*Node, d *Diagnosis) (left []*Node, err error) {
	var answer extenderv1.ExtenderFilterResult
	if err := e.ask(context.Background(), e.FilterVerb, e.about(c.Pod, nodes), &answer); err != nil {
		return nil, err
	}
	if answer.Error != "" {
		return nil, errors.New(answer.Error)
	}
	passed := map[string]bool{}
	if e.NodeCacheCapable && answer.NodeNames != nil {
		for _, name := range *answer.NodeNames {
			passed[name] = true
		}
	} else if answer.Nodes != nil {
		for i := range answer.Nodes.Items {
			passed[answer.Nodes.Items[i].Name] = true
		}
	}
	for _, n := range nodes {
		if passed[n.name] {
			left = append(left, n)
			delete(passed, n.name)
			continue
		}
		refusal := &Refusal{Plugin: refusedByExtender, Hopeless: true}
		if reason, ok := answer.FailedAndUnresolvableNodes[n.name]; ok {
			refusal.Reasons = []string{reason}
		} else if reason, ok := answer.FailedNodes[n.name]; ok {
			refusal.Reasons, refusal.Hopeless = []string{reason}, false
		}
		d.refuse(n, refusal)
	}
	for name := range passed {
		return nil, fmt.Errorf("extender %q claims a filtered node %q which is not found in the input node list", e.URLPrefix, name)
	}
	return left, nil
}

// score adds what the extenders give; it reports whether any has. One that fails has no preference.
func (all extenders) score(c *Cycle, nodes []*Node, add func(node int, e *extender, score int64)) (scored bool) {
	answers := make([]extenderv1.HostPriorityList, len(all))
	var asking sync.WaitGroup
	for i, e := range all {
		if e.PrioritizeVerb == "" || !e.cares(c.Pod) {
			continue
		}
		scored = true
		asking.Go(func() {
			if err := e.ask(context.Background(), e.PrioritizeVerb, e.about(c.Pod, nodes), &answers[i]); err != nil {
				answers[i] = nil
			}
		})
	}
	asking.Wait()
	for i, e := range all {
		given := map[string]int64{}
		for _, p := range answers[i] {
			given[p.Host] = p.Score
		}
		for j, n := range nodes {
			add(j, e, given[n.name])
		}
	}
	return scored
}

// worth is how much an extender's score counts: its best stands for a plugin's best.
func (e *extender) worth() int64 { return e.Weight * (maxScore / extenderv1.MaxExtenderPriority) }

// binder is the extender that binds a pod; nil if plugins do.
func (all extenders) binder(p *Pod) *extender {
	for _, e := range all {
		if e.BindVerb != "" && e.cares(p) {
			return e
		}
	}
	return nil
}

func (e *extender) bind(ctx context.Context, p *Pod) error {
	var answer extenderv1.ExtenderBindingResult
	err := e.ask(ctx, e.BindVerb, &extenderv1.ExtenderBindingArgs{PodName: p.Name, PodNamespace: p.Namespace, PodUID: p.UID, Node: p.Spec.NodeName}, &answer)
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	return err
}

// preempt leaves the candidates that all extenders agree with, with the victims that they see.
func (all extenders) preempt(c *Cycle, candidates []candidate) ([]candidate, error) {
	for _, e := range all {
		if e.PreemptVerb == "" || !e.cares(c.Pod) || len(candidates) == 0 {
			continue
		}
		left, err := e.preempt(c, candidates)
		if err != nil && !e.Ignorable {
			return nil, err
		}
		if err == nil {
			candidates = left
		}
	}
	return candidates, nil
}

func (e *extender) preempt(c *Cycle, candidates []candidate) (left []candidate, err error) {
	question := &extenderv1.ExtenderPreemptionArgs{Pod: c.Pod.Pod}
	if e.NodeCacheCapable {
		question.NodeNameToMetaVictims = map[string]*extenderv1.MetaVictims{}
	} else {
		question.NodeNameToVictims = map[string]*extenderv1.Victims{}
	}
	for _, candidate := range candidates {
		full, short := &extenderv1.Victims{NumPDBViolations: int64(candidate.broken)}, &extenderv1.MetaVictims{NumPDBViolations: int64(candidate.broken)}
		for _, v := range candidate.victims {
			full.Pods, short.Pods = append(full.Pods, v.Pod), append(short.Pods, &extenderv1.MetaPod{UID: string(v.UID)})
		}
		if e.NodeCacheCapable {
			question.NodeNameToMetaVictims[candidate.node.name] = short
		} else {
			question.NodeNameToVictims[candidate.node.name] = full
		}
	}
	var answer extenderv1.ExtenderPreemptionResult
	if err := e.ask(context.Background(), e.PreemptVerb, question, &answer); err != nil {
		return nil, err
	}
	for name, victims := range answer.NodeNameToMetaVictims {
		if victims == nil || len(victims.Pods) == 0 {
			if !e.Ignorable {
				return nil, fmt.Errorf("expected at least one victim pod on node %q", name)
			}
			continue
		}
		found, err := e.candidate(c, name, victims)
		if err != nil {
			return nil, err
		}
		left = append(left, found)
	}
	slices.SortFunc(left, func(a, b candidate) int { return strings.Compare(a.node.name, b.node.name) })
	return left, nil
}

func (e *extender) candidate(c *Cycle, name string, victims *extenderv1.MetaVictims) (candidate, error) {
	n := c.nodes[name]
	if n == nil || n.Node == nil {
		return candidate{}, fmt.Errorf("nodeinfo not found for node name %q", name)
	}
	found := candidate{node: n, broken: int(victims.NumPDBViolations)}
	for _, v := range victims.Pods {
		i := slices.IndexFunc(n.Pods, func(p *Pod) bool { return string(p.UID) == v.UID })
		if i < 0 {
			return candidate{}, fmt.Errorf("extender: %v claims to preempt pod (UID: %v) on node: %v, but the pod is not found on that node", e.URLPrefix, v, name)
		}
		found.victims = append(found.victims, n.Pods[i])
	}
	slices.SortFunc(found.victims, byImportance)
	return found, nil
}
