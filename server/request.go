package server

import (
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	operators "k8s.io/apimachinery/pkg/selection"

	"github.com/knarr-dev/knarr/registry"
)

// Request is what method and path of an HTTP request mean. For a request to a resource:
//
//	/api/VERSION | /apis/GROUP/VERSION [/watch] [/namespaces/NAMESPACE] /PLURAL [/NAME [/SUBRESOURCE [/REST...]]]
type Request struct {
	IsResource  bool
	Verb        string // get list watch create update patch delete deletecollection; for other paths the method in lower case
	Path        string
	Group       string
	Version     string
	Namespace   string
	Plural      string
	Name        string
	Subresource string
	Rest        string // what follows the sub-resource: the path that a proxy forwards
	legacyWatch bool   // the path says watch
	legacyProxy bool   // the path says proxy, which no resource is served by any more

	// What a list, watch or deletion of a collection selects by, for authorization alone: what cannot be understood is
	// left out here, and refused later.
	Fields       fields.Requirements
	Labels       labels.Requirements
	SelectedName string // the one object that a list or watch can be of

	row     *registry.Resource
	version *registry.Version
	sub     *registry.Subresource
}

// parseRequest reads method and path. It does not know which resources exist.
func parseRequest(r *http.Request) *Request {
	q := &Request{Path: r.URL.Path, Verb: strings.ToLower(r.Method)}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case parts[0] == "api" && len(parts) >= 3:
		q.Version, parts = parts[1], parts[2:]
	case parts[0] == "apis" && len(parts) >= 4:
		q.Group, q.Version, parts = parts[1], parts[2], parts[3:]
	default:
		return q
	}
	q.IsResource = true
	if parts[0] == "watch" && len(parts) > 1 {
		q.legacyWatch, parts = true, parts[1:]
	}
	if parts[0] == "proxy" && len(parts) > 1 {
		q.legacyProxy, parts = true, parts[1:]
	}
	if parts[0] == "namespaces" && len(parts) > 1 {
		q.Namespace = parts[1]
		// /namespaces/NAME and its own sub-resources are about the namespace, all else is inside it.
		if len(parts) > 2 && parts[2] != "status" && parts[2] != "finalize" {
			parts = parts[2:]
		}
	}
	q.Plural = parts[0]
	if len(parts) > 1 {
		q.Name = parts[1]
	}
	if len(parts) > 2 && !q.legacyProxy {
		q.Subresource = parts[2]
		q.Rest = strings.Join(parts[3:], "/")
	}
	q.Verb = q.verb(r)
	q.readSelectors(r)
	return q
}

// lacksSegment reports that the path has nothing between two slashes where something belongs: no path of a resource has.
// Slashes at its end mean nothing; a namespace without a name is all of them; what is behind a proxy is not looked at.
func (q *Request) lacksSegment() bool {
	path := strings.TrimRight(q.Path, "/")
	if !strings.Contains(path, "//") {
		return false
	}
	if q.Subresource == "proxy" {
		path, _, _ = strings.Cut(path, "/proxy/")
	}
	return strings.Contains(strings.Replace(path, "/namespaces//", "/namespaces/-/", 1), "//")
}

// readSelectors reads what narrows a request to a collection. Watches that the path asks for have no selectors: their
// path may name one object, and then the query means nothing.
func (q *Request) readSelectors(r *http.Request) {
	many := q.Verb == "list" || q.Verb == "watch" || q.Verb == "deletecollection"
	if !many || q.Name != "" || q.legacyWatch || !strings.Contains(r.URL.RawQuery, "Selector=") {
		return
	}
	query := r.URL.Query()
	if terms, err := registry.ParseFieldRequirements(query.Get("fieldSelector")); err == nil {
		q.Fields = terms
	}
	if terms, err := registry.ParseLabelRequirements(query.Get("labelSelector")); err == nil {
		q.Labels = terms
	}
	named := func(t fields.Requirement) bool {
		return t.Field == "metadata.name" && t.Operator == operators.Equals
	}
	if i := slices.IndexFunc(q.Fields, named); i >= 0 && q.Verb != "deletecollection" && len(content.IsPathSegmentName(q.Fields[i].Value)) == 0 {
		q.SelectedName = q.Fields[i].Value
	}
}

// verb is the request's verb as authorization and metrics name it.
func (q *Request) verb(r *http.Request) string {
	switch {
	case q.legacyProxy:
		return "proxy"
	case q.legacyWatch: // whatever the method: only GET will be served
		return "watch"
	}
	switch r.Method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		if q.Name == "" {
			return "deletecollection"
		}
		return "delete"
	case http.MethodGet, http.MethodHead:
		switch {
		case q.Name == "" && wantsWatch(r):
			return "watch"
		case q.Name == "":
			return "list"
		}
		return "get"
	}
	return ""
}

// wantsWatch reads the watch parameter as the API does: present and neither "false" nor "0".
func wantsWatch(r *http.Request) bool {
	if !strings.Contains(r.URL.RawQuery, "watch") {
		return false
	}
	v, ok := r.URL.Query()["watch"]
	return ok && !slices.Contains([]string{"false", "0"}, strings.ToLower(v[0]))
}

// resolve finds the row, version and sub-resource that the request names, and whether its verb exists there.
func (q *Request) resolve(reg *registry.Registry, method string) error {
	row, version := reg.Lookup(q.Group, q.Version, q.Plural)
	if row == nil || q.legacyProxy || !q.scopeFits(row) {
		return errNoSuchPath()
	}
	q.row, q.version = row, version
	if q.Subresource == "" {
		return q.allow(row.Verbs, method)
	}
	i := slices.IndexFunc(row.Subresources, func(s registry.Subresource) bool { return s.Name == q.Subresource })
	if i < 0 || q.legacyWatch || (q.Rest != "" && q.Subresource != "proxy") {
		return errNoSuchPath()
	}
	q.sub = &row.Subresources[i]
	if q.Subresource == "proxy" { // any method that HTTP knows is for the other side to judge
		if q.Verb == "" && method != http.MethodOptions {
			return errMethodNotAllowed()
		}
		return nil
	}
	return q.allow(q.sub.Verbs, method)
}

// scopeFits reports whether the path has a namespace where the resource has one. What is only posted (reviews, bindings) has
// no objects: neither a path of one, nor of those of all namespaces.
func (q *Request) scopeFits(row *registry.Resource) bool {
	if row.Answer != nil {
		return q.Name == "" && (q.Namespace != "") == row.Namespaced
	}
	if row.Plural == "namespaces" && row.Group == "" {
		return true
	}
	if !row.Namespaced {
		return q.Namespace == ""
	}
	return q.Namespace != "" || q.Name == ""
}

// allow checks the verb against those that the door has.
func (q *Request) allow(verbs []string, method string) error {
	known := slices.Contains(verbs, q.Verb) && method != http.MethodHead && (!q.legacyWatch || method == http.MethodGet)
	onAll := q.row.Namespaced && q.Namespace == "" && q.Verb != "list" && q.Verb != "watch"
	onItem := q.Verb == "create" && q.Name != "" && q.Subresource == ""
	if !known || onAll || onItem || (q.Name == "" && slices.Contains([]string{"update", "patch"}, q.Verb)) {
		return errMethodNotAllowed()
	}
	return nil
}
