package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// tell says in lines what a namespace has: one for each field that is set, or for each event, with how many objects have it or how
// often it was told. What chance has made, or the time, is said by other words: so the lines of two clusters may be compared.
func (s *script) tell() map[string]int {
	s.mu.Lock()
	m := s.seen[s.namespace].words()
	s.mu.Unlock()
	m.namespace = s.namespace
	lines := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		r := s.byName[name]
		if !r.namespaced {
			continue
		}
		for _, o := range s.find(name, s.namespace) {
			switch {
			case isOfNode(o):
			case name == "events":
				m.event(lines, o, s)
			case name != "configmaps" || o.GetName() != "kube-root-ca.crt":
				m.object(lines, o)
			}
		}
	}
	for _, target := range s.also {
		objects, _ := s.meant(target) // that it can be meant was found out when the script named it
		for _, o := range objects {
			m.object(lines, o)
		}
	}
	return lines
}

// marks are words that chance has made, in the order in which they were seen.
type marks struct {
	prefixes map[string]bool // of names that were generated
	uids     map[string]bool
	hashes   map[string]string // by what they are called
	counts   map[types.UID]int // of hashes, by owner
}

func newMarks() *marks {
	return &marks{prefixes: map[string]bool{}, uids: map[string]bool{}, hashes: map[string]string{}, counts: map[types.UID]int{}}
}

func (m *marks) note(o *unstructured.Unstructured) {
	m.uids[string(o.GetUID())] = true
	if p := o.GetGenerateName(); p != "" {
		m.prefixes[p] = true
	}
	switch o.GetKind() {
	case "ReplicaSet", "ReplicationController", "DaemonSet", "Job": // whose pods are generated, or would be if they could be made
		m.prefixes[o.GetName()+"-"] = true
	}
	for _, label := range []string{"pod-template-hash", "controller.kubernetes.io/hash"} {
		hash := o.GetLabels()[label]
		if hash == "" || m.hashes[hash] != "" || o.GetKind() != "ReplicaSet" && o.GetKind() != "ControllerRevision" {
			continue
		}
		var owner types.UID
		if owners := o.GetOwnerReferences(); len(owners) > 0 {
			owner = owners[0].UID
		}
		m.counts[owner]++
		m.hashes[hash] = fmt.Sprintf("HASH%d", m.counts[owner])
	}
}

// words are the replacements for what was noted.
func (m *marks) words() *words {
	var pairs []string
	for uid := range m.uids {
		pairs = append(pairs, uid, "UID")
	}
	for hash, name := range m.hashes {
		pairs = append(pairs, hash, name)
	}
	w := &words{known: strings.NewReplacer(pairs...)}
	for prefix := range m.prefixes {
		w.generated = append(w.generated, regexp.MustCompile(`\b`+regexp.QuoteMeta(w.known.Replace(prefix))+`([bcdfghjklmnpqrstvwxz2456789]{5}\b|\B)`))
		w.prefixes = append(w.prefixes, w.known.Replace(prefix))
	}
	return w
}

// words say the same thing of two clusters.
type words struct {
	namespace string
	known     *strings.Replacer
	generated []*regexp.Regexp
	prefixes  []string
}

var (
	timeWord    = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	addressWord = regexp.MustCompile(`\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b`)
	minuteWord  = regexp.MustCompile(`-\d{8}\b`)
	nodeWord    = regexp.MustCompile(`\bnode-[123]\b`)
	digestWord  = regexp.MustCompile(`\b[0-9a-f]{64}\b`)
	tokenWord   = regexp.MustCompile(`kube-api-access-\w{5}\b`)
	uidWord     = regexp.MustCompile(`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`)
)

// claims are what upstream's plugin for claims of devices says by accident of a pod whose volumes are not bound.
var claims = strings.NewReplacer("PersistentVolumeClaims. not found", "PersistentVolumeClaims. no new claims to deallocate, "+
	"preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.")

func (w *words) text(s string) string {
	s = claims.Replace(w.known.Replace(s))
	for i, g := range w.generated {
		s = g.ReplaceAllLiteralString(s, w.prefixes[i]+"*")
	}
	s = strings.ReplaceAll(s, w.namespace, "NAMESPACE")
	s = timeWord.ReplaceAllLiteralString(s, "TIME")
	s = addressWord.ReplaceAllLiteralString(s, "ADDRESS")
	s = minuteWord.ReplaceAllLiteralString(s, "-MINUTE")
	s = nodeWord.ReplaceAllLiteralString(s, "NODE")
	s = digestWord.ReplaceAllLiteralString(s, "DIGEST")
	s = uidWord.ReplaceAllLiteralString(s, "UID")
	return tokenWord.ReplaceAllLiteralString(s, "kube-api-access-*")
}

// isOfNode reports whether something is an event of a node's agent, whose part is played by the same on both sides.
func isOfNode(o *unstructured.Unstructured) bool {
	from, _, _ := unstructured.NestedString(o.Object, "source", "component")
	return o.GetKind() == "Event" && from == "kubelet"
}

// event tells of an event, as the script says.
func (w *words) event(lines map[string]int, o *unstructured.Unstructured, s *script) {
	at := func(path ...string) string {
		s, _, _ := unstructured.NestedString(o.Object, path...)
		return s
	}
	count, _, _ := unstructured.NestedInt64(o.Object, "count")
	if series, _, _ := unstructured.NestedInt64(o.Object, "series", "count"); series > count {
		count = series
	}
	from := at("source", "component")
	if reporting := at("reportingComponent"); reporting != "" && reporting != from {
		from += "/" + reporting
	}
	if slices.Contains(s.ignored, at("reason")) {
		return
	}
	message := w.text(strings.TrimPrefix(at("message"), "(combined from similar events): "))
	line := fmt.Sprintf("Event %s/%s %s %s %q from %s", at("involvedObject", "kind"), w.text(at("involvedObject", "name")), at("type"), at("reason"), message, from)
	for _, more := range []struct{ field, name string }{{"action", at("action")}, {"related", at("related", "kind")}, {"fieldPath", at("involvedObject", "fieldPath")}} {
		if more.name != "" {
			line += " " + more.field + " " + more.name
		}
	}
	if slices.Contains(s.often, at("reason")) {
		lines[line+" often"] = 1
		return
	}
	lines[line] += int(max(count, 1))
}

// object tells of an object's fields.
func (w *words) object(lines map[string]int, o *unstructured.Unstructured) {
	fields := o.DeepCopy().Object
	generation := o.GetGeneration()
	if observed, found, _ := unstructured.NestedInt64(fields, "status", "observedGeneration"); found && observed == generation {
		unstructured.SetNestedField(fields, "the present one", "status", "observedGeneration")
	}
	for _, f := range o.GetManagedFields() {
		lines[fmt.Sprintf("%s/%s has fields set by %s %s %q", o.GetKind(), w.text(o.GetName()), f.Manager, f.Operation, f.Subresource)]++
	}
	for _, name := range []string{"uid", "resourceVersion", "managedFields", "generation"} {
		unstructured.RemoveNestedField(fields, "metadata", name)
	}
	delete(fields, "apiVersion")
	delete(fields, "kind")
	forgetTrigger(o, fields)
	w.value(lines, o.GetKind()+"/"+w.text(o.GetName()), fields)
}

// forgetTrigger leaves out when that happened which endpoints changed for: it is there or not by how many changes one write was about.
func forgetTrigger(o *unstructured.Unstructured, fields map[string]any) {
	annotations := o.GetAnnotations()
	if _, there := annotations[corev1.EndpointsLastChangeTriggerTime]; !there {
		return
	}
	unstructured.RemoveNestedField(fields, "metadata", "annotations", corev1.EndpointsLastChangeTriggerTime)
	if len(annotations) == 1 {
		unstructured.RemoveNestedField(fields, "metadata", "annotations")
	}
}

// value tells of a field and all below it.
func (w *words) value(lines map[string]int, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, field := range v {
			w.value(lines, path+"."+w.text(name), field)
		}
		if len(v) == 0 {
			lines[path+" {}"]++
		}
	case []any:
		for i, item := range v {
			w.value(lines, path+"["+w.index(i, item)+"]", item)
		}
		if len(v) == 0 {
			lines[path+" []"]++
		}
	case string:
		if strings.HasSuffix(path, ".resourceVersion") {
			return
		}
		lines[path+" "+strconv.Quote(w.text(v))]++
	default:
		lines[fmt.Sprintf("%s %v", path, v)]++
	}
}

// index is what an item of a list is known by: its type or name, else its number.
func (w *words) index(i int, item any) string {
	if fields, ok := item.(map[string]any); ok {
		if fields["targetRef"] != nil { // an endpoint that is a pod, in the order of addresses
			return ""
		}
		for _, by := range []string{"type", "name", "port"} {
			if s, found := fields[by]; found {
				return w.text(fmt.Sprint(s))
			}
		}
		if addresses, found, err := unstructured.NestedStringSlice(fields, "addresses"); found && err == nil { // an endpoint, in no order
			return strings.Join(addresses, " ")
		}
	}
	return strconv.Itoa(i)
}
