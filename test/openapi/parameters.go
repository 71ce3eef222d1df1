package main

import (
	"reflect"
	"slices"
	"strings"

	"k8s.io/kube-openapi/pkg/common"
)

func path(name, about string) common.Parameter {
	return parameter{name: name, about: about, dataType: "string", kind: common.PathParameterKind, required: true}
}

func query(name, about, dataType string) common.Parameter {
	return parameter{name: name, about: about, dataType: dataType, kind: common.QueryParameterKind}
}

func pretty() common.Parameter {
	return query("pretty", "If 'true', then the output is pretty printed. Defaults to 'false' unless the user-agent indicates a browser or command-line HTTP tool (curl and wget).", "string")
}

func join(params []common.Parameter, one common.Parameter, more ...common.Parameter) []common.Parameter {
	return slices.Concat(params, []common.Parameter{one}, more)
}

// queryOf are the query parameters that an options struct is read from, save the excluded ones.
func queryOf(options any, excluded ...string) []common.Parameter {
	var docs map[string]string
	if d, ok := options.(interface{ SwaggerDoc() map[string]string }); ok {
		docs = d.SwaggerDoc()
	}
	var list []common.Parameter
	for _, f := range reflect.VisibleFields(reflect.TypeOf(options)) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		dataType, ok := dataTypeOf(f.Type)
		if name == "" || !ok || len(f.Index) > 1 || slices.Contains(excluded, name) {
			continue
		}
		list = append(list, query(name, docs[name], dataType))
	}
	return list
}

// dataTypeOf is the JSON type in which a field stands in a query; lists stand there as one of their items.
// Structs, times among them, are left out.
func dataTypeOf(t reflect.Type) (string, bool) {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Bool:
		return "boolean", true
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "integer", true
	case reflect.String:
		return "string", true
	}
	return "", false
}
