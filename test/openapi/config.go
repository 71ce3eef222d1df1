package main

import (
	"cmp"
	"net/http"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/knarr-dev/knarr/test/openapi/definitions"
)

// namer tags a type's schema with the kinds that the type stands for.
type namer map[string][]schema.GroupVersionKind

// namesOf collects the kinds of each type; DeleteOptions has one in every group's version.
func namesOf(scheme *runtime.Scheme) namer {
	names := namer{}
	for kind := range scheme.AllKnownTypes() {
		name, err := scheme.ToOpenAPIDefinitionName(kind)
		if err != nil {
			panic(err)
		}
		names[name] = append(names[name], kind)
	}
	for _, kinds := range names {
		slices.SortFunc(kinds, func(a, b schema.GroupVersionKind) int {
			return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Kind, b.Kind))
		})
	}
	return names
}

// within leaves of a type's many kinds (DeleteOptions, WatchEvent) those of core and of one group's version.
func (n namer) within(gv schema.GroupVersion) namer {
	few := namer{}
	for name, kinds := range n {
		few[name] = kinds
		if len(kinds) > 1 {
			few[name] = slices.DeleteFunc(slices.Clone(kinds), func(k schema.GroupVersionKind) bool {
				return k.GroupVersion() != gv && k.GroupVersion() != schema.GroupVersion{Version: "v1"}
			})
		}
	}
	return few
}

func (n namer) definition(name string) (string, spec.Extensions) {
	kinds, ok := n[name]
	if !ok {
		return name, nil
	}
	var list []any
	for _, k := range kinds {
		list = append(list, map[string]any{"group": k.Group, "version": k.Version, "kind": k.Kind})
	}
	return name, spec.Extensions{"x-kubernetes-group-version-kind": list}
}

func info() *spec.Info {
	return &spec.Info{InfoProps: spec.InfoProps{Title: "Kubernetes", Version: "1.36"}}
}

func bearerToken() spec.SecuritySchemeProps {
	return spec.SecuritySchemeProps{Type: "apiKey", Name: "authorization", In: "header", Description: "Bearer Token authentication"}
}

func version2(names namer) *common.Config {
	return &common.Config{
		ProtocolList:                   []string{"https"},
		Info:                           info(),
		GetOperationIDAndTagsFromRoute: operation,
		GetDefinitionName:              names.definition,
		GetDefinitions:                 definitions.GetOpenAPIDefinitions,
		CommonResponses: map[int]spec.Response{
			http.StatusUnauthorized: {ResponseProps: spec.ResponseProps{Description: "Unauthorized"}},
		},
		SecurityDefinitions: &spec.SecurityDefinitions{"BearerToken": {SecuritySchemeProps: bearerToken()}},
		DefaultSecurity:     []map[string][]string{{"BearerToken": {}}},
		PostProcessSpec: func(doc *spec.Swagger) (*spec.Swagger, error) {
			doc.Definitions = handler.PruneDefaults(doc.Definitions) // defaults are told in version 3 alone
			return reread(doc)
		},
	}
}

// reread turns what extensions hold into plain maps, which are written in the order of their keys.
func reread(doc *spec.Swagger) (*spec.Swagger, error) {
	text, err := doc.MarshalJSON()
	if err != nil {
		return nil, err
	}
	again := &spec.Swagger{}
	return again, again.UnmarshalJSON(text)
}

func version3(names namer) *common.OpenAPIV3Config {
	token := bearerToken()
	return &common.OpenAPIV3Config{
		Info:                           info(),
		GetOperationIDAndTagsFromRoute: operation,
		GetDefinitionName:              names.definition,
		GetDefinitions:                 definitions.GetOpenAPIDefinitions,
		CommonResponses: map[int]*spec3.Response{
			http.StatusUnauthorized: {ResponseProps: spec3.ResponseProps{Description: "Unauthorized"}},
		},
		SecuritySchemes: spec3.SecuritySchemes{"BearerToken": {SecuritySchemeProps: spec3.SecuritySchemeProps{
			Type: token.Type, Name: token.Name, In: token.In, Description: token.Description,
		}}},
	}
}
