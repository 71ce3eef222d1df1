package server

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/knarr-dev/knarr/auth/rbac"
	"github.com/knarr-dev/knarr/registry"
)

// WhyCanPath is where `knarr why can` asks. It is a path of its own, so that a role has to allow it (verb post): what others
// may do is not for everybody to know.
const WhyCanPath = "/knarr/v1/why/can"

// WhyCan is a question: may a user do something? It is posted as JSON.
type WhyCan struct {
	User      string   `json:"user"`
	Groups    []string `json:"groups,omitempty"` // beside those that follow from the user's name
	Verb      string   `json:"verb"`
	Resource  string   `json:"resource,omitempty"` // as kubectl takes it: "pods", "deploy", "deployments.apps", "pods/log"
	Name      string   `json:"name,omitempty"`
	Namespace string   `json:"namespace,omitempty"` // empty: in all namespaces
	Path      string   `json:"path,omitempty"`      // in place of a resource
}

// WhyCanAnswer says whether, and why. What was asked is told as it was understood.
type WhyCanAnswer struct {
	User        string   `json:"user"`
	Groups      []string `json:"groups,omitempty"`
	Verb        string   `json:"verb"`
	APIGroup    string   `json:"apiGroup,omitempty"`
	Resource    string   `json:"resource,omitempty"`
	Subresource string   `json:"subresource,omitempty"`
	Name        string   `json:"name,omitempty"`
	Namespace   string   `json:"namespace,omitempty"`
	Path        string   `json:"path,omitempty"`
	// ClusterScoped says that the resource is in no namespace.
	ClusterScoped bool `json:"clusterScoped,omitempty"`
	// Unknown says that the server has no such resource: rules may name it all the same.
	Unknown bool `json:"unknownResource,omitempty"`

	Allowed bool `json:"allowed"`
	// Reason and Error are those of the authorizer that decided, which need not be RBAC.
	Reason string `json:"reason,omitempty"`
	Error  string `json:"evaluationError,omitempty"`
	// Account is what roles and bindings have to say.
	rbac.Account
	// Remedies are commands that would allow what is refused.
	Remedies []rbac.Remedy `json:"remedies,omitempty"`
}

// whyCan answers a question.
func (s *Server) whyCan(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(r)
	if err != nil {
		writeError(w, r, err)
		return
	}
	var q WhyCan
	if err := json.Unmarshal(body, &q); err != nil {
		writeError(w, r, badRequest("the question is not understood: %v", err))
		return
	}
	if q.User == "" || q.Verb == "" || (q.Resource == "") == (q.Path == "") {
		writeError(w, r, badRequest("a question has a user, a verb, and either a resource or a path"))
		return
	}
	answer, a := s.understood(&q)
	decision, reason, err := s.authorizer.Authorize(r.Context(), a)
	answer.Allowed, answer.Reason = decision == registry.Allow, reason
	if err != nil {
		answer.Error = err.Error()
	}
	answer.Account = s.security.policy.Why(a)
	if !answer.Allowed && len(answer.Grants) == 0 {
		answer.Remedies = rbac.Remedies(a, answer.Offers)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // who has left needs no answer
}

// understood is a question as the authorizer is asked it, and as it is told in the answer.
func (s *Server) understood(q *WhyCan) (WhyCanAnswer, *registry.Attributes) {
	a := &registry.Attributes{User: registry.User{Name: q.User, Groups: groupsOf(q.User, q.Groups)}, Verb: q.Verb, Path: q.Path}
	var row *registry.Resource
	if a.ResourceRequest = q.Path == ""; a.ResourceRequest {
		row = s.findAsked(q, a)
	}
	return WhyCanAnswer{User: a.User.Name, Groups: a.User.Groups, Verb: a.Verb, APIGroup: a.Group, Resource: a.Resource,
		Subresource: a.Subresource, Name: a.Name, Namespace: a.Namespace, Path: a.Path,
		Unknown:       a.ResourceRequest && row == nil && a.Resource != "*",
		ClusterScoped: row != nil && !row.Namespaced}, a
}

// findAsked fills in which resource a question is about; nil if it is not served.
func (s *Server) findAsked(q *WhyCan, a *registry.Attributes) *registry.Resource {
	a.Name, a.Namespace = q.Name, q.Namespace
	var resource string
	resource, a.Subresource, _ = strings.Cut(q.Resource, "/")
	a.Resource, a.Group, _ = strings.Cut(resource, ".")
	row := s.registry.Find(a.Resource, a.Group)
	if row == nil {
		return nil
	}
	a.Resource, a.Group, a.Version = row.Plural, row.Group, row.Hub().Name
	switch {
	case row.Group == "" && row.Plural == "namespaces":
		a.Namespace = a.Name // its requests are in the namespace that they are about
	case !row.Namespaced:
		a.Namespace = ""
	}
	if a.Subresource != "" && row.Subresource(a.Subresource) == nil {
		return nil
	}
	return row
}

// groupsOf adds the groups that authentication gives to a user of that name.
func groupsOf(user string, given []string) []string {
	groups := slices.Clone(given)
	if rest, ok := strings.CutPrefix(user, "system:serviceaccount:"); ok {
		namespace, _, _ := strings.Cut(rest, ":")
		groups = append(groups, "system:serviceaccounts", "system:serviceaccounts:"+namespace)
	}
	if strings.HasPrefix(user, "system:node:") {
		groups = append(groups, "system:nodes")
	}
	if user == "system:anonymous" {
		return append(groups, "system:unauthenticated")
	}
	return append(groups, "system:authenticated")
}
