package main

import (
	"net/http"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kube-openapi/pkg/common"
)

// resource is what the routes of a resource or sub-resource follow from.
type resource struct {
	gv         schema.GroupVersion
	plural     string
	sub        string                  // the sub-resource's name; empty for the resource itself
	parent     string                  // the kind in operation names: the resource's, for its sub-resources too
	kind       schema.GroupVersionKind // of the body
	namespaced bool
	verbs      []string
	connect    bool // streams to a node
	// returnsObject: DELETE answers with the object in place of a Status.
	returnsObject bool
}

func (r resource) can(verb string) bool { return slices.Contains(r.verbs, verb) }

// The types in which requests and answers may be encoded.
func mediaTypes() []string {
	return []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}
}

func streamTypes() []string {
	return append(mediaTypes(), "application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
}

func patchTypes() []string {
	return []string{string(types.JSONPatchType), string(types.MergePatchType), string(types.StrategicMergePatchType), string(types.ApplyYAMLPatchType)}
}

// routesOf adds the routes of a resource to its service.
func routesOf(s *service, scheme *runtime.Scheme, r resource) {
	m := &maker{service: s, scheme: scheme, resource: r}
	base, item := s.root+"/", ""
	if r.namespaced {
		m.where = append(m.where, path("namespace", "object name and auth scope, such as for teams and projects"))
		m.prefix = "namespaces/{namespace}/"
	}
	item = m.prefix + r.plural + "/{name}"
	name := path("name", "name of the "+r.kind.Kind)
	collection := m.prefix + r.plural
	inCollection := m.where
	named := append(m.where[:len(m.where):len(m.where)], name)
	if r.sub != "" {
		item += "/" + r.sub
		collection, inCollection = item, named
	}
	if r.connect {
		m.connect(base+item, named, "")
		if r.sub == "proxy" {
			m.connect(base+item+"/{path}", append(named[:len(named):len(named)], path("path", "path to the resource")), "WithPath")
		}
		return
	}
	m.list(base+collection, inCollection, m.scope(), "")
	m.create(base+collection, inCollection)
	m.deleteCollection(base+collection, inCollection)
	m.watchList(base+"watch/"+collection, inCollection, m.scope(), "")
	m.get(base+item, named)
	m.update(base+item, named)
	m.patch(base+item, named)
	m.delete(base+item, named)
	m.watch(base+"watch/"+item, named)
	if r.namespaced && r.sub == "" {
		m.list(base+r.plural, nil, "", "ForAllNamespaces")
		m.watchList(base+"watch/"+r.plural, nil, "", "ForAllNamespaces")
	}
}

// maker makes the routes of one resource.
type maker struct {
	*service
	scheme *runtime.Scheme
	resource
	prefix string
	where  []common.Parameter
}

// scope is what operation names say of namespaces.
func (m *maker) scope() string {
	if m.namespaced {
		return "Namespaced"
	}
	return ""
}

// operate fills in what all operations on resources share, and adds the route.
func (m *maker) operate(verb, action string, r route) {
	if r.name == "" {
		r.name = verb + m.scope() + m.parent + title(m.sub)
	}
	if r.consumes == nil {
		r.consumes = []string{"*/*"}
	}
	if r.produces == nil {
		r.produces = mediaTypes()
	}
	r.action = action
	r.kind = &metav1.GroupVersionKind{Group: m.kind.Group, Version: m.kind.Version, Kind: m.kind.Kind}
	m.add(&r)
}

// of describes an operation on the resource or the sub-resource.
func (m *maker) of(onResource, onSub string) string {
	words := onResource
	if m.sub != "" {
		words = onSub
	}
	return strings.NewReplacer("KIND", m.parent, "SUB", m.sub, "ARTICLE ", articleOf(m.parent)).Replace(words)
}

// articleOf is "a " or "an "; plurals have none.
func articleOf(noun string) string {
	switch {
	case strings.HasSuffix(noun, "s") && !strings.HasSuffix(noun, "ss"):
		return ""
	case strings.ContainsRune("aeiouAEIOU", rune(noun[0])):
		return "an "
	}
	return "a "
}

func (m *maker) get(at string, params []common.Parameter) {
	if !m.can("get") {
		return
	}
	r := route{method: http.MethodGet, path: at, about: m.of("read the specified KIND", "read SUB of the specified KIND"),
		parameters: append(params[:len(params):len(params)], pretty()), answer: m.object(m.kind), codes: []int{200}}
	if m.sub == "log" {
		r.answer = ""
		r.produces = append([]string{"text/plain"}, mediaTypes()...)
		r.parameters = append(r.parameters, queryOf(corev1.PodLogOptions{})...)
	}
	m.operate("read", "get", r)
}

func (m *maker) list(at string, params []common.Parameter, scope, suffix string) {
	if !m.can("list") {
		return
	}
	about := "list objects of kind KIND"
	if m.can("watch") {
		about = "list or watch objects of kind KIND"
	}
	m.operate("list", "list", route{method: http.MethodGet, path: at, about: m.of(about, about), name: "list" + scope + m.parent + suffix,
		produces: streamTypes(), parameters: join(params, pretty(), queryOf(metav1.ListOptions{})...),
		answer: m.object(m.resource.gv.WithKind(m.kind.Kind + "List")), codes: []int{200}})
}

func (m *maker) create(at string, params []common.Parameter) {
	if !m.can("create") {
		return
	}
	m.operate("create", "post", route{method: http.MethodPost, path: at, about: m.of("create ARTICLE KIND", "create SUB of ARTICLE KIND"),
		parameters: join(params, pretty(), queryOf(metav1.CreateOptions{})...),
		body:       m.object(m.kind), bodyRequired: true, answer: m.object(m.kind), codes: []int{200, 201, 202}})
}

func (m *maker) update(at string, params []common.Parameter) {
	if !m.can("update") {
		return
	}
	m.operate("replace", "put", route{method: http.MethodPut, path: at, about: m.of("replace the specified KIND", "replace SUB of the specified KIND"),
		parameters: join(params, pretty(), queryOf(metav1.UpdateOptions{})...),
		body:       m.object(m.kind), bodyRequired: true, answer: m.object(m.kind), codes: []int{200, 201}})
}

func (m *maker) patch(at string, params []common.Parameter) {
	if !m.can("patch") {
		return
	}
	m.operate("patch", "patch", route{method: http.MethodPatch, path: at, consumes: patchTypes(),
		about:      m.of("partially update the specified KIND", "partially update SUB of the specified KIND"),
		parameters: join(params, pretty(), queryOf(metav1.PatchOptions{})...),
		body:       metav1.Patch{}, bodyRequired: true, answer: m.object(m.kind), codes: []int{200, 201}})
}

func (m *maker) delete(at string, params []common.Parameter) {
	if !m.can("delete") {
		return
	}
	var answer any = metav1.Status{}
	if m.returnsObject {
		answer = m.object(m.kind)
	}
	m.operate("delete", "delete", route{method: http.MethodDelete, path: at, about: m.of("delete ARTICLE KIND", "delete SUB of ARTICLE KIND"),
		parameters: join(params, pretty(), queryOf(metav1.DeleteOptions{})...),
		body:       metav1.DeleteOptions{}, answer: answer, codes: []int{200, 202}})
}

func (m *maker) deleteCollection(at string, params []common.Parameter) {
	if !m.can("deletecollection") {
		return
	}
	query := append(queryOf(metav1.DeleteOptions{}), queryOf(metav1.ListOptions{}, "watch", "allowWatchBookmarks")...)
	m.operate("deletecollection", "deletecollection", route{method: http.MethodDelete, path: at,
		about:      m.of("delete collection of KIND", "delete collection of SUB of a KIND"),
		parameters: join(params, pretty(), query...),
		body:       metav1.DeleteOptions{}, answer: metav1.Status{}, codes: []int{200}})
}

// The two watch routes below are older than the watch parameter of LIST, and deprecated.

func (m *maker) watch(at string, params []common.Parameter) {
	if !m.can("watch") {
		return
	}
	m.operate("watch", "watch", route{method: http.MethodGet, path: at, produces: streamTypes(),
		about:      m.of("watch changes to an object of kind KIND", "watch changes to SUB of an object of kind KIND") + ". deprecated: use the 'watch' parameter with a list operation instead, filtered to a single item with the 'fieldSelector' parameter.",
		parameters: join(params, pretty(), queryOf(metav1.ListOptions{})...), answer: metav1.WatchEvent{}, codes: []int{200}})
}

func (m *maker) watchList(at string, params []common.Parameter, scope, suffix string) {
	if !m.can("watch") {
		return
	}
	m.operate("watch", "watchlist", route{method: http.MethodGet, path: at, produces: streamTypes(), name: "watch" + scope + m.parent + "List" + suffix,
		about:      m.of("watch individual changes to a list of KIND", "watch individual changes to a list of SUB of KIND") + ". deprecated: use the 'watch' parameter with a list operation instead.",
		parameters: join(params, pretty(), queryOf(metav1.ListOptions{})...), answer: metav1.WatchEvent{}, codes: []int{200}})
}

// connect adds one route a method; a proxy passes all of them on.
func (m *maker) connect(at string, params []common.Parameter, suffix string) {
	methods := []string{http.MethodGet, http.MethodPost}
	if m.sub == "proxy" {
		methods = append(methods, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions)
	}
	for _, method := range methods {
		m.operate("connect", "connect", route{method: method, path: at, consumes: []string{"*/*"}, produces: []string{"*/*"},
			name:       "connect" + title(method) + m.scope() + m.parent + title(m.sub) + suffix,
			about:      m.of("connect "+method+" requests to KIND", "connect "+method+" requests to SUB of KIND"),
			parameters: append(params[:len(params):len(params)], queryOf(m.object(m.kind))...), answer: "", codes: nil})
	}
}

// object is a zero value of a kind's type.
func (m *maker) object(kind schema.GroupVersionKind) any {
	obj, err := m.scheme.New(kind)
	if err != nil {
		panic(err)
	}
	return reflect.ValueOf(obj).Elem().Interface()
}
