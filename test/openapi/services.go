package main

import (
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"github.com/knarr-dev/knarr/registry"
)

// resources lists what a table's rows serve, a version and a sub-resource at a time.
func resources(rows []*registry.Resource) []resource {
	var list []resource
	for _, row := range rows {
		for _, v := range row.Versions {
			gv := schema.GroupVersion{Group: row.Group, Version: v.Name}
			main := resource{gv: gv, plural: row.Plural, parent: row.Kind, kind: gv.WithKind(row.Kind),
				namespaced: row.Namespaced, verbs: row.Verbs, returnsObject: row.DeleteReturnsObject}
			if row.Kind == "Namespace" {
				main.returnsObject = false // a namespace comes back while it lasts; the document has always promised a Status
			}
			list = append(list, main)
			for _, sub := range row.Subresources {
				r := main
				r.sub, r.verbs, r.connect = sub.Name, sub.Verbs, sub.Connect != nil && sub.Name != "log"
				if sub.Kind.Kind != "" {
					r.kind = sub.Kind
				}
				list = append(list, r)
			}
		}
	}
	return list
}

// services are all routes of the server: of the resources, of discovery, and some of their own.
func services(scheme *runtime.Scheme, list []resource) []*service {
	byRoot := map[string]*service{}
	var roots []*service
	at := func(root string) *service {
		if byRoot[root] == nil {
			byRoot[root] = &service{root: root}
			roots = append(roots, byRoot[root])
		}
		return byRoot[root]
	}
	tell := func(root, name, about string, answer any) *service {
		s := at(root)
		if len(s.routes) == 0 {
			s.add(&route{method: http.MethodGet, path: root + "/", name: name, about: about,
				consumes: mediaTypes(), produces: mediaTypes(), answer: answer, codes: []int{200}})
		}
		return s
	}
	tell("/api", "getAPIVersions", "get available API versions", metav1.APIVersions{})
	tell("/apis", "getAPIVersions", "get available API versions", metav1.APIGroupList{})
	for _, r := range list {
		root := "/api/" + r.gv.Version
		if r.gv.Group != "" {
			tell("/apis/"+r.gv.Group, "getAPIGroup", "get information of a group", metav1.APIGroup{})
			root = "/apis/" + r.gv.String()
		}
		s := tell(root, "getAPIResources", "get available resources", metav1.APIResourceList{})
		s.gv = r.gv
		routesOf(s, scheme, r)
	}
	for _, r := range []route{
		{path: "/version", name: "getCodeVersion", about: "get the version information for this server",
			consumes: []string{"application/json"}, produces: []string{"application/json"}, answer: version.Info{}, codes: []int{200}},
		{path: "/.well-known/openid-configuration", name: "getServiceAccountIssuerOpenIDConfiguration",
			about:    "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
			produces: []string{"application/json"}, answer: ""},
		{path: "/openid/v1/jwks", name: "getServiceAccountIssuerOpenIDKeyset",
			about:    "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
			produces: []string{"application/jwk-set+json"}, answer: ""},
	} {
		s := at(r.path)
		r.method, r.path = http.MethodGet, r.path+"/"
		s.add(&r)
	}
	slices.SortFunc(roots, func(a, b *service) int { return strings.Compare(a.root, b.root) })
	return roots
}
