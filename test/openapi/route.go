package main

import (
	"strings"
	"unicode"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/common"
)

// route is one operation: a method on a path. It is what kube-openapi's builders read.
type route struct {
	method, path string
	name         string // "readNamespacedPod": the operation's ID before the group and version are put in
	about        string
	consumes     []string
	produces     []string
	parameters   []common.Parameter
	body         any // a value of the body's type; nil if there is none
	bodyRequired bool
	answer       any // a value of the answer's type
	codes        []int
	action       string                   // the verb as clients know it; empty for what is not a resource
	kind         *metav1.GroupVersionKind // with action
}

func (r *route) Method() string             { return r.method }
func (r *route) Path() string               { return r.path }
func (r *route) OperationName() string      { return r.name }
func (r *route) Description() string        { return r.about }
func (r *route) Consumes() []string         { return r.consumes }
func (r *route) Produces() []string         { return r.produces }
func (r *route) RequestPayloadSample() any  { return r.body }
func (r *route) ResponsePayloadSample() any { return r.answer }
func (r *route) Parameters() []common.Parameter {
	if r.body == nil {
		return r.parameters
	}
	return append(r.parameters[:len(r.parameters):len(r.parameters)],
		parameter{name: "body", kind: common.BodyParameterKind, required: r.bodyRequired})
}

func (r *route) Metadata() map[string]any {
	if r.action == "" {
		return nil
	}
	return map[string]any{"x-kubernetes-action": r.action, "x-kubernetes-group-version-kind": *r.kind}
}

func (r *route) StatusCodeResponses() []common.StatusCodeResponse {
	var list []common.StatusCodeResponse
	for _, code := range r.codes {
		list = append(list, answer{code, r.answer})
	}
	return list
}

// answer is what one status code comes with.
type answer struct {
	code  int
	model any
}

func (a answer) Code() int  { return a.code }
func (a answer) Model() any { return a.model }
func (a answer) Message() string {
	return map[int]string{200: "OK", 201: "Created", 202: "Accepted"}[a.code]
}

// parameter stands in a route's path, query or body.
type parameter struct {
	name, about, dataType string
	kind                  common.ParameterKind
	required              bool
}

func (p parameter) Name() string               { return p.name }
func (p parameter) Description() string        { return p.about }
func (p parameter) Required() bool             { return p.required }
func (p parameter) Kind() common.ParameterKind { return p.kind }
func (p parameter) DataType() string           { return p.dataType }
func (p parameter) AllowMultiple() bool        { return false }

// service is the routes below one path; each has a document of its own in OpenAPI v3.
type service struct {
	root   string
	gv     schema.GroupVersion // of the resources; zero if there are none
	routes []common.Route
}

func (s *service) RootPath() string                   { return s.root }
func (s *service) PathParameters() []common.Parameter { return nil }
func (s *service) Routes() []common.Route             { return s.routes }

func (s *service) add(r *route) { s.routes = append(s.routes, r) }

// operation puts group and version behind the verb of a route's name, so that no two operations have one ID:
// "readNamespacedPod" of /api/v1 becomes "readCoreV1NamespacedPod". The tag is "core_v1".
func operation(r common.Route) (id string, tags []string, err error) {
	verb := verbOf(r.OperationName())
	parts := strings.Split(strings.Trim(r.Path(), "/"), "/")
	if parts[0] == "api" {
		parts = append([]string{"apis", "core"}, parts[1:]...)
	}
	prefix, tag := verb, camel(parts[0], false)
	if parts[0] == "apis" && len(parts) >= 2 {
		group := strings.TrimSuffix(parts[1], ".k8s.io")
		prefix += camel(group, true)
		tag = camel(group, false)
		if len(parts) >= 3 {
			prefix += camel(parts[2], true)
			tag += "_" + camel(parts[2], false)
		}
	}
	return prefix + camel(strings.TrimPrefix(r.OperationName(), verb), true), []string{tag}, nil
}

// verbOf is the verb that a name begins with.
func verbOf(name string) string {
	for _, verb := range []string{"get", "read", "replace", "patch", "delete", "watch", "connect", "list", "create"} {
		if strings.HasPrefix(name, verb) {
			return verb
		}
	}
	return ""
}

// camel drops what may not stand in an ID, and makes the letter after it a capital.
func camel(s string, capital bool) string {
	var b strings.Builder
	for i, c := range s {
		switch {
		case !unicode.IsLetter(c) && c != '_' && (i == 0 || !unicode.IsDigit(c)):
			capital = true
			continue
		case capital:
			c, capital = unicode.ToUpper(c), false
		}
		b.WriteRune(c)
	}
	return b.String()
}

// title makes the first letter a capital and all others small.
func title(s string) string {
	if s == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + strings.ToLower(s[size:])
}
