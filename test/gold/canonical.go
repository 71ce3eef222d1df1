package gold

import (
	"encoding/json"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// canon is the form in which bodies are compared: a Status's message and causes without order, managedFields sorted,
// or removed.
func canon(v any, managed bool) any {
	switch t := v.(type) {
	case map[string]any:
		status := t["kind"] == "Status" && t["apiVersion"] == "v1"
		made := make(map[string]any, len(t))
		for k, e := range t {
			if k == "managedFields" && isList(e) && !managed {
				continue
			}
			made[k] = canonField(k, e, status, managed)
		}
		return made
	case []any:
		made := make([]any, len(t))
		for i := range t {
			made[i] = canon(t[i], managed)
		}
		return made
	case string:
		return canonEmbedded(t)
	}
	return v
}

func isList(v any) bool { _, ok := v.([]any); return ok }

func canonField(key string, v any, status, managed bool) any {
	list, _ := v.([]any)
	text, isText := v.(string)
	switch {
	case key == "managedFields" && list != nil:
		entries := canon(list, managed).([]any)
		sortList(entries, func(v any) string {
			m := object(v)
			return string(encode([]any{m["manager"], m["operation"], m["subresource"], m["apiVersion"], m["fieldsV1"]}))
		})
		return entries
	case key == "message" && isText && status:
		return canonMessage(text)
	case key == "causes" && list != nil:
		causes := slices.Clone(list)
		for i := range causes {
			causes[i] = canonCause(causes[i])
		}
		sortList(causes, func(v any) string { return string(encode(v)) })
		return causes
	}
	return canon(v, managed)
}

func canonCause(v any) any {
	cause, ok := v.(map[string]any)
	text, isText := cause["message"].(string)
	if !ok || !isText {
		return v
	}
	made := map[string]any{}
	for k, e := range cause {
		made[k] = e
	}
	made["message"] = canonMessage(text)
	return made
}

// canonEmbedded sorts the keys of a JSON object quoted inside a message (the reference prints patched objects in Go's
// random map order) and masks its resourceVersion.
func canonEmbedded(s string) string {
	i := strings.Index(s, `"{\"`)
	if i < 0 {
		return s
	}
	quoted, err := strconv.QuotedPrefix(s[i:])
	if err != nil {
		return s
	}
	text, err := strconv.Unquote(quoted)
	if err != nil {
		return s
	}
	var v any
	if decode([]byte(text), &v) != nil {
		return s
	}
	if metadata := object(object(v)["metadata"]); metadata["resourceVersion"] != nil {
		metadata["resourceVersion"] = "{rv}"
	}
	return s[:i] + strconv.Quote(string(encode(v))) + canonEmbedded(s[i+len(quoted):])
}

// podDiff is the unified diff of its internal Go structure that the reference appends to a refused pod update.
var podDiff = regexp.MustCompile(`\n@@ -[^\n]*\n(?:[ +\-@][^\n]*\n?)*`)

// quotedValue precedes the value that a field error quotes.
var quotedValue = regexp.MustCompile(`(?:Invalid|Unsupported|Duplicate) value: `)

// canonValues rewrites the structures that field errors quote: the reference prints its internal Go types
// (`{"Type":"X","RollingUpdate":null}`), a server without internal types prints the API's (`{"type":"X"}`).
// Both become the same: keys in lower case, empty members dropped. Diffs of internal types are cut.
func canonValues(s string) string {
	s = podDiff.ReplaceAllString(s, "\n")
	var out strings.Builder
	for {
		at := quotedValue.FindStringIndex(s)
		if at == nil {
			return out.String() + s
		}
		out.WriteString(s[:at[1]])
		s = s[at[1]:]
		if !strings.HasPrefix(s, "{") && !strings.HasPrefix(s, "[") {
			continue
		}
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		var v any
		if d.Decode(&v) != nil {
			continue
		}
		out.Write(encode(loose(v)))
		s = s[d.InputOffset():]
	}
}

// loose lowers keys and drops empty members (null, "", 0, false, {}, []); nil if nothing is left.
func loose(v any) any {
	switch t := v.(type) {
	case map[string]any:
		o := map[string]any{}
		for k, e := range t {
			if e = loose(e); e != nil {
				o[strings.ToLower(k)] = e
			}
		}
		if len(o) > 0 {
			return o
		}
	case []any:
		o := []any{}
		for _, e := range t {
			o = append(o, loose(e))
		}
		if len(o) > 0 {
			return o
		}
	case string:
		if t != "" {
			return t
		}
	case json.Number:
		if t != "0" {
			return t
		}
	case bool:
		if t {
			return t
		}
	}
	return nil
}

// canonMessage ignores the order in which an aggregated message lists its errors.
func canonMessage(s string) string {
	s = canonValues(canonEmbedded(s))
	if !strings.Contains(s, ", ") {
		return s
	}
	parts := strings.Split(strings.NewReplacer("[", "", "]", "").Replace(s), ", ")
	for _, end := range []string{" is invalid: ", " is forbidden: "} {
		if i := strings.Index(parts[0], end); i >= 0 {
			i += len(end)
			parts = append(parts, parts[0][i:])
			parts[0] = parts[0][:i]
			break
		}
	}
	sort.Strings(parts)
	return strings.Join(parts, ", ")
}
