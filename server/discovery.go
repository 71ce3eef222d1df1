package server

import (
	"cmp"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/registry"
)

// discovery tells clients what is served: the versions, groups and resources, one document each, and all of them
// in one (aggregated discovery, apidiscovery.k8s.io/v2). Every document is computed from the registry's rows, and
// again after the table has changed.
type discovery struct {
	registry *registry.Registry
	address  string // host:port that clients are told to use

	made   atomic.Pointer[discoveryDocuments] // requests read it without a lock
	making sync.Mutex
}

// newDiscovery returns the discovery of a registry. address is the host:port under which clients reach the server.
func newDiscovery(reg *registry.Registry, address string) *discovery {
	return &discovery{registry: reg, address: address}
}

// discoveryDocuments are the documents of one state of the table.
type discoveryDocuments struct {
	rows      []*registry.Resource // the state: the table hands out a new slice after every change
	groups    *metav1.APIGroupList
	group     map[string]*metav1.APIGroup
	resources map[schema.GroupVersion]*metav1.APIResourceList

	core, named aggregatedDocument // at /api and /apis
}

// aggregatedDocument is a whole tree of groups, versions and resources; etag is a hash of its JSON, quoted.
type aggregatedDocument struct {
	list *apidiscoveryv2.APIGroupDiscoveryList
	etag string
}

// ServeHTTP answers a request for a discovery document. If the path names none it is 404: a Status below a group that
// exists, text elsewhere.
func (d *discovery) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := d.match(r.URL.Path)
	root, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	group, _, deeper := strings.Cut(rest, "/")
	switch {
	case h != nil:
		h(w, r)
	case root == "api", root == "apis" && deeper && group != "" && d.servesGroup(group):
		refuseDocument(w, r, http.StatusNotFound, metav1.StatusReasonNotFound, &metav1.StatusDetails{},
			"the server could not find the requested resource")
	default:
		http.NotFound(w, r)
	}
}

// match finds the document of a path, with or without a slash at its end: /api, /api/v1, /apis, /apis/{group} or
// /apis/{group}/{version}. It returns nil if the path names none that exists.
func (d *discovery) match(path string) http.HandlerFunc {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	docs := d.documents()
	switch {
	case len(parts) == 1 && parts[0] == "api":
		return onlyGet(d.choose(d.apiVersions(), docs.core))
	case len(parts) == 1 && parts[0] == "apis" && path == "/apis":
		return d.choose(docs.groups, docs.named)
	case path == "/apis/":
		return negotiated(docs.groups)
	case len(parts) == 2 && parts[0] == "api":
		return d.resourcesOf(docs, schema.GroupVersion{Version: parts[1]})
	case len(parts) == 2 && parts[0] == "apis":
		return groupOf(docs, parts[1])
	case len(parts) == 3 && parts[0] == "apis" && parts[1] != "":
		return d.resourcesOf(docs, schema.GroupVersion{Group: parts[1], Version: parts[2]})
	}
	return nil
}

// servesGroup reports whether any version of a group is served.
func (d *discovery) servesGroup(name string) bool {
	return name == "" || d.documents().group[name] != nil
}

func groupOf(docs *discoveryDocuments, name string) http.HandlerFunc {
	group, ok := docs.group[name]
	switch {
	case !ok:
		return nil
	case name == "apiregistration.k8s.io": // the one group that is not found through an APIService
		return onlyGet(negotiated(group))
	}
	return negotiated(group)
}

func (d *discovery) resourcesOf(docs *discoveryDocuments, gv schema.GroupVersion) http.HandlerFunc {
	if list, ok := docs.resources[gv]; ok {
		return onlyGet(negotiated(list))
	}
	return nil
}

// apiVersions has no apiVersion of its own, and neither has the list of core resources: clients of release 1.1
// expect it so.
func (d *discovery) apiVersions() *metav1.APIVersions {
	return &metav1.APIVersions{
		TypeMeta:                   metav1.TypeMeta{Kind: "APIVersions"},
		Versions:                   []string{"v1"},
		ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: d.address}},
	}
}

// choose answers with the aggregated document where the client accepts that, else with the plain one. A client
// that accepts both gets the aggregated one, whatever it prefers.
func (d *discovery) choose(plain runtime.Object, all aggregatedDocument) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		media, ok := acceptMedia(r, asAggregatedDiscovery)
		if !ok {
			negotiated(plain)(w, r)
			return
		}
		h := w.Header()
		h.Set("ETag", all.etag)
		h.Set("Vary", "Accept")
		h.Set("Cache-Control", "public")
		if r.Header.Get("If-None-Match") == all.etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		media.contentType += ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
		writeMedia(w, http.StatusOK, media, all.list)
	}
}

// documents returns those of the table as it is now.
func (d *discovery) documents() *discoveryDocuments {
	rows := d.registry.Rows()
	if made := d.made.Load(); made.of(rows) {
		return made
	}
	d.making.Lock()
	defer d.making.Unlock()
	if made := d.made.Load(); made.of(rows) {
		return made
	}
	made := discoveryOf(rows)
	d.made.Store(made)
	return made
}

// of reports whether the documents are those of the table.
func (docs *discoveryDocuments) of(rows []*registry.Resource) bool {
	return docs != nil && sameSlice(docs.rows, rows)
}

func sameSlice(a, b []*registry.Resource) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// discoveryOf computes all documents of a table.
func discoveryOf(rows []*registry.Resource) *discoveryDocuments {
	docs := &discoveryDocuments{
		rows:      rows,
		groups:    &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{}},
		group:     map[string]*metav1.APIGroup{},
		resources: map[schema.GroupVersion]*metav1.APIResourceList{},
	}
	core, named := newDiscoveryList(), newDiscoveryList()
	for _, g := range servedGroups(rows) {
		tree := apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: g.name}}
		for _, v := range g.versions {
			list := resourceList(rows, v.GroupVersion)
			docs.resources[v.GroupVersion] = list
			tree.Versions = append(tree.Versions, apidiscoveryv2.APIVersionDiscovery{
				Version: v.Version, Resources: aggregateResources(list, v.custom), Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent,
			})
		}
		if g.name == "" {
			core.Items = append(core.Items, tree)
			continue
		}
		named.Items = append(named.Items, tree)
		group := apiGroup(g)
		docs.group[g.name] = group
		listed := *group
		listed.TypeMeta = metav1.TypeMeta{}
		docs.groups.Groups = append(docs.groups.Groups, listed)
	}
	docs.core, docs.named = aggregated(core), aggregated(named)
	return docs
}

func newDiscoveryList() *apidiscoveryv2.APIGroupDiscoveryList {
	return &apidiscoveryv2.APIGroupDiscoveryList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: apidiscoveryv2.SchemeGroupVersion.String()},
		Items:    []apidiscoveryv2.APIGroupDiscovery{},
	}
}

func aggregated(list *apidiscoveryv2.APIGroupDiscoveryList) aggregatedDocument {
	text, err := json.Marshal(list)
	if err != nil {
		panic(fmt.Sprintf("discovery document: %v", err)) // the types always encode
	}
	return aggregatedDocument{list: list, etag: fmt.Sprintf("%q", fmt.Sprintf("%X", sha512.Sum512(text)))}
}

func apiGroup(g servedGroup) *metav1.APIGroup {
	group := &metav1.APIGroup{TypeMeta: metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}, Name: g.name}
	for _, v := range g.versions {
		group.Versions = append(group.Versions, metav1.GroupVersionForDiscovery{GroupVersion: v.GroupVersion.String(), Version: v.Version})
	}
	group.PreferredVersion = group.Versions[0]
	return group
}

// resourceList lists the resources and sub-resources of one group's version by name.
func resourceList(rows []*registry.Resource, gv schema.GroupVersion) *metav1.APIResourceList {
	list := &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList"}, GroupVersion: gv.String()}
	if gv.Group != "" {
		list.APIVersion = "v1"
	}
	for _, row := range rows {
		if row.Group == gv.Group && serves(row, gv.Version) {
			list.APIResources = append(list.APIResources, apiResources(rows, row, gv)...)
		}
	}
	slices.SortFunc(list.APIResources, func(a, b metav1.APIResource) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func serves(row *registry.Resource, version string) bool {
	return slices.ContainsFunc(row.Versions, func(v registry.Version) bool { return v.Name == version })
}

// apiResources describes a row and its sub-resources.
func apiResources(rows []*registry.Resource, row *registry.Resource, gv schema.GroupVersion) []metav1.APIResource {
	var list []metav1.APIResource
	if len(row.Verbs) > 0 {
		list = append(list, metav1.APIResource{
			Name: row.Plural, SingularName: row.Singular, Namespaced: row.Namespaced, Kind: row.Kind, Verbs: row.Verbs,
			ShortNames: row.ShortNames, Categories: row.Categories, StorageVersionHash: storageVersionHash(rows, row),
		})
	}
	for _, sub := range row.Subresources {
		r := metav1.APIResource{Name: row.Plural + "/" + sub.Name, Namespaced: row.Namespaced, Kind: row.Kind, Verbs: sub.Verbs}
		if sub.Kind.Kind != "" {
			r.Kind = sub.Kind.Kind
			if sub.Kind.GroupVersion() != gv {
				r.Group, r.Version = sub.Kind.Group, sub.Kind.Version
			}
		}
		list = append(list, r)
	}
	return list
}

// aggregateResources is a list of resources in the form of the aggregated document: sub-resources stand below
// their resource. Kinds of the group's own version go without group and version, save those of custom resources.
func aggregateResources(list *metav1.APIResourceList, custom bool) []apidiscoveryv2.APIResourceDiscovery {
	gv, _ := schema.ParseGroupVersion(list.GroupVersion)
	kindOf := func(r metav1.APIResource) *metav1.GroupVersionKind {
		if custom && r.Version == "" {
			return &metav1.GroupVersionKind{Group: gv.Group, Version: gv.Version, Kind: r.Kind}
		}
		return &metav1.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
	}
	var out []apidiscoveryv2.APIResourceDiscovery
	for _, r := range list.APIResources { // sorted: a resource is followed by its sub-resources
		name, sub, isSub := strings.Cut(r.Name, "/")
		if isSub && len(out) > 0 && out[len(out)-1].Resource == name {
			parent := &out[len(out)-1]
			parent.Subresources = append(parent.Subresources, apidiscoveryv2.APISubresourceDiscovery{
				Subresource: sub, ResponseKind: kindOf(r), Verbs: r.Verbs,
			})
			continue
		}
		scope := apidiscoveryv2.ScopeCluster
		if r.Namespaced {
			scope = apidiscoveryv2.ScopeNamespace
		}
		out = append(out, apidiscoveryv2.APIResourceDiscovery{
			Resource: r.Name, ResponseKind: kindOf(r), Scope: scope, SingularResource: r.SingularName,
			Verbs: r.Verbs, ShortNames: r.ShortNames, Categories: r.Categories,
		})
	}
	return out
}
