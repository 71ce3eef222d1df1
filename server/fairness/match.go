package fairness

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"github.com/knarr-dev/knarr/registry"
)

// Schema is a FlowSchema made ready for matching, and the level that it leads to. It is immutable.
type Schema struct {
	name       string
	precedence int32
	by         flowcontrolv1.FlowDistinguisherMethodType // empty: all requests are one flow
	rules      []rule

	level    *level
	tally    *tally
	queues   bool // the level has queues, so that flows count
	maxSeats int  // that a request of the level should take; 0 sets no limit

	// What the server tells the client. Names stay secret: they would show how little a client counts.
	schemaUID, levelUID []string
}

// MaxSeats is how many seats a request of this schema should take at most; 0 sets no limit.
func (s *Schema) MaxSeats() int { return s.maxSeats }

// Mark tells a client how its request was classified.
func (s *Schema) Mark(h http.Header) {
	h["X-Kubernetes-Pf-Flowschema-Uid"] = s.schemaUID
	h["X-Kubernetes-Pf-Prioritylevel-Uid"] = s.levelUID
}

// newSchema compiles a FlowSchema. The level is set by who knows it.
func newSchema(fs *flowcontrolv1.FlowSchema) *Schema {
	s := &Schema{name: fs.Name, precedence: fs.Spec.MatchingPrecedence, schemaUID: []string{string(fs.UID)}}
	if m := fs.Spec.DistinguisherMethod; m != nil {
		s.by = m.Type
	}
	for i := range fs.Spec.Rules {
		s.rules = append(s.rules, newRule(&fs.Spec.Rules[i]))
	}
	return s
}

// order is that in which schemas are asked.
func (s *Schema) order(other *Schema) int {
	return cmp.Or(cmp.Compare(s.precedence, other.precedence), strings.Compare(s.name, other.name))
}

// matches reports whether one of the rules fits.
func (s *Schema) matches(r *registry.Attributes) bool {
	for i := range s.rules {
		if s.rules[i].matches(r) {
			return true
		}
	}
	return false
}

// distinguisher is what tells a request's flow from others of the schema.
func (s *Schema) distinguisher(r *registry.Attributes) string {
	switch s.by {
	case flowcontrolv1.FlowDistinguisherMethodByUserType:
		return r.User.Name
	case flowcontrolv1.FlowDistinguisherMethodByNamespaceType:
		return r.Namespace
	}
	return ""
}

// rule fits if one of the subjects and one of the rules for resources, or for other paths, do.
type rule struct {
	everybody bool
	users     []string // service accounts with their full names
	accounts  []string // prefixes of all service accounts of a namespace
	groups    []string
	resources []resourceRule
	paths     []pathRule
}

func newRule(from *flowcontrolv1.PolicyRulesWithSubjects) rule {
	var r rule
	for i := range from.Subjects {
		r.add(&from.Subjects[i])
	}
	for _, on := range from.ResourceRules {
		r.resources = append(r.resources, resourceRule{
			verbs: newNames(on.Verbs, flowcontrolv1.VerbAll), groups: newNames(on.APIGroups, flowcontrolv1.APIGroupAll),
			resources:  newNames(on.Resources, flowcontrolv1.ResourceAll),
			namespaces: newNames(on.Namespaces, flowcontrolv1.NamespaceEvery), cluster: on.ClusterScope,
		})
	}
	for _, on := range from.NonResourceRules {
		r.paths = append(r.paths, pathRule{newNames(on.Verbs, flowcontrolv1.VerbAll), on.NonResourceURLs})
	}
	return r
}

// add lets a subject be matched. One whose kind has nothing said about it matches nobody.
func (r *rule) add(s *flowcontrolv1.Subject) {
	const account = "system:serviceaccount:"
	switch {
	case s.Kind == flowcontrolv1.SubjectKindUser && s.User != nil:
		r.users = append(r.users, s.User.Name)
		r.everybody = r.everybody || s.User.Name == flowcontrolv1.NameAll
	case s.Kind == flowcontrolv1.SubjectKindGroup && s.Group != nil:
		r.groups = append(r.groups, s.Group.Name)
		r.everybody = r.everybody || s.Group.Name == flowcontrolv1.NameAll
	case s.Kind == flowcontrolv1.SubjectKindServiceAccount && s.ServiceAccount != nil:
		prefix := account + s.ServiceAccount.Namespace + ":"
		if s.ServiceAccount.Name == flowcontrolv1.NameAll {
			r.accounts = append(r.accounts, prefix)
		} else {
			r.users = append(r.users, prefix+s.ServiceAccount.Name)
		}
	}
}

func (r *rule) matches(q *registry.Attributes) bool {
	if !r.isAbout(&q.User) {
		return false
	}
	if q.ResourceRequest {
		return slices.ContainsFunc(r.resources, func(on resourceRule) bool { return on.matches(q) })
	}
	return slices.ContainsFunc(r.paths, func(on pathRule) bool { return on.matches(q) })
}

func (r *rule) isAbout(u *registry.User) bool {
	if r.everybody || slices.Contains(r.users, u.Name) {
		return true
	}
	for _, group := range u.Groups {
		if slices.Contains(r.groups, group) {
			return true
		}
	}
	for _, prefix := range r.accounts {
		if strings.HasPrefix(u.Name, prefix) {
			return true
		}
	}
	return false
}

type resourceRule struct {
	verbs, groups, resources, namespaces names
	cluster                              bool // requests without a namespace
}

func (on *resourceRule) matches(q *registry.Attributes) bool {
	return on.verbs.has(q.Verb) && on.groups.has(q.Group) && on.resources.hasResource(q.Resource, q.Subresource) &&
		(q.Namespace == "" && on.cluster || q.Namespace != "" && on.namespaces.has(q.Namespace))
}

type pathRule struct {
	verbs names
	paths []string
}

// matches reports whether a path is one of the rule's or lies below it; a star at the end of one says the same.
func (on *pathRule) matches(q *registry.Attributes) bool {
	if !on.verbs.has(q.Verb) {
		return false
	}
	for _, path := range on.paths {
		if path == flowcontrolv1.NonResourceAll || path == q.Path {
			return true
		}
		root := strings.TrimSuffix(strings.TrimSuffix(path, "*"), "/")
		if rest, ok := strings.CutPrefix(q.Path, root); ok && strings.HasPrefix(rest, "/") {
			return true
		}
	}
	return false
}

// names are a list in which a star means all; it does only where it stands alone.
type names struct {
	all  bool
	list []string
}

func newNames(list []string, all string) names { return names{len(list) == 1 && list[0] == all, list} }

func (n *names) has(name string) bool { return n.all || slices.Contains(n.list, name) }

// hasResource looks for resource/subresource without putting the two together.
func (n *names) hasResource(resource, sub string) bool {
	if n.all || sub == "" {
		return n.has(resource)
	}
	for _, name := range n.list {
		if rest, ok := strings.CutPrefix(name, resource); ok && len(rest) > 0 && rest[0] == '/' && rest[1:] == sub {
			return true
		}
	}
	return false
}
