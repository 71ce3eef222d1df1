package gold

import (
	"maps"
	"strconv"
)

// split takes a big answer apart, so that its parts are scored one by one.
func split(how string, a *Answer) {
	body := object(a.Body)
	if body == nil {
		return
	}
	parts := map[string]any{}
	take := func(prefix string, from map[string]any, key string) {
		for k, e := range object(from[key]) {
			parts[prefix+k] = e
		}
		delete(from, key)
	}
	switch how {
	case "items", "groups", "resources":
		maps.Copy(parts, byName(body[how]))
		delete(body, how)
	case "openapi2":
		take("def:", body, "definitions")
		take("path:", body, "paths")
	case "openapi3":
		if components := object(body["components"]); components != nil {
			take("schema:", components, "schemas")
		}
		take("path:", body, "paths")
	case "paths":
		if list, ok := body["paths"].([]any); ok {
			for _, e := range list {
				if s, ok := e.(string); ok {
					parts[s] = true
				}
			}
		}
		take("", body, "paths")
	}
	parts["#rest"] = body
	a.Parts, a.Body = parts, nil
}

// byName is a list as a map, by what names its items.
func byName(v any) map[string]any {
	list, _ := v.([]any)
	named := map[string]any{}
	for i, e := range list {
		name := strconv.Itoa(i)
		for _, path := range []string{"metadata.name", "name", "resource", "version", "groupVersion"} {
			if s, ok := lookup(e, path); ok && s != "" {
				name = s
				break
			}
		}
		named[name] = e
	}
	return named
}
