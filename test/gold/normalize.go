package gold

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"slices"
	"sort"
	"strings"

	"sigs.k8s.io/yaml"
)

// textLimit bounds the part of a text that is compared.
const textLimit = 1 << 16

// normalize is the answer in the form in which it was recorded.
func (x *mask) normalize(c *Case, from reply) *Answer {
	got := &Answer{Status: from.status}
	for _, w := range from.header.Values("Warning") {
		got.Warnings = append(got.Warnings, x.str(w))
	}
	sort.Strings(got.Warnings)
	for _, k := range []string{"Allow", "Retry-After", "Www-Authenticate", "Location", "Accept-Patch"} {
		if v := from.header.Get(k); v != "" {
			if got.Headers == nil {
				got.Headers = map[string]any{}
			}
			got.Headers[k] = x.str(v)
		}
	}
	var media string
	got.CT, media = contentType(from.header.Get("Content-Type"))
	if c.Method == "HEAD" {
		return got
	}
	switch {
	case strings.HasPrefix(media, "application/vnd.kubernetes.protobuf"):
		got.Body = x.proto(from.body, c.Watch)
	case c.Watch && from.status == 200:
		events, err := watchEvents(from.body)
		if err != nil {
			got.Text = "stream: " + err.Error()
		}
		got.Body = x.walk(map[string]any{"events": events}, "")
	default:
		x.decoded(media, from.body, got)
	}
	special(c.Norm, got)
	if c.Expand != "" && from.status == 200 {
		split(c.Expand, got)
	}
	return got
}

// contentType is a header's media type, with and without the parameters that matter.
func contentType(header string) (whole, media string) {
	media, params, err := mime.ParseMediaType(header)
	if err != nil {
		return header, media
	}
	whole = media
	for _, k := range []string{"as", "g", "v", "stream"} {
		if params[k] != "" {
			whole += ";" + k + "=" + params[k]
		}
	}
	return whole, media
}

// decoded reads JSON or YAML; what is neither is text.
func (x *mask) decoded(media string, body []byte, into *Answer) {
	var v any
	if strings.HasPrefix(media, "application/yaml") {
		if j, err := yaml.YAMLToJSON(body); err == nil && decode(j, &v) == nil {
			into.Body = x.walk(v, "")
			return
		}
	}
	if (strings.Contains(media, "json") || bytes.HasPrefix(bytes.TrimSpace(body), []byte("{"))) && decode(body, &v) == nil {
		into.Body = x.walk(v, "")
		return
	}
	into.Text = x.str(string(body[:min(len(body), textLimit)]))
}

// watchEvents are the events of a stream but for periodic bookmarks, which depend on timing.
func watchEvents(body []byte) ([]any, error) {
	events := []any{}
	d := json.NewDecoder(bufio.NewReader(bytes.NewReader(body)))
	d.UseNumber()
	for {
		var v any
		err := d.Decode(&v)
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return events, err
		}
		if kind, _ := lookup(v, "type"); kind != "BOOKMARK" || endsInitialEvents(v) {
			events = append(events, v)
		}
	}
}

func endsInitialEvents(event any) bool {
	annotations := object(object(object(object(event)["object"])["metadata"])["annotations"])
	return annotations["k8s.io/initial-events-end"] == "true"
}

// object is nil for what is no JSON object.
func object(v any) map[string]any {
	o, _ := v.(map[string]any)
	return o
}

// special masks what is particular to the case's kind of answer.
func special(kind string, a *Answer) {
	switch kind {
	case "version": // numbers count, the rest is about the build
		numbers := []string{"major", "minor", "emulationMajor", "emulationMinor", "minCompatibilityMajor", "minCompatibilityMinor", "gitVersion"}
		for k, v := range object(a.Body) {
			if s, ok := v.(string); ok && s != "" && !slices.Contains(numbers, k) {
				object(a.Body)[k] = "{set}"
			}
		}
	case "health": // [+]name ok, in any order
		lines := strings.Split(strings.TrimSpace(a.Text), "\n")
		sort.Strings(lines)
		a.Text = strings.Join(lines, "\n")
	case "openapi":
		a.Body = withoutDescriptions(a.Body)
	case "openapi3index":
		for _, v := range object(object(a.Body)["paths"]) {
			if url, ok := object(v)["serverRelativeURL"].(string); ok {
				object(v)["serverRelativeURL"] = reHash.ReplaceAllString(url, "?hash={hash}")
			}
		}
	case "sortitems": // lists whose order is not defined by names of the case's own
		sortList(object(a.Body)["items"], func(v any) string { name, _ := lookup(v, "metadata.name"); return name })
	case "statusonly":
		if object(a.Body)["kind"] != "Status" {
			a.Body = nil
		}
		a.Text = ""
	case "rules": // the order of SelfSubjectRulesReview's rules is not defined
		for _, k := range []string{"resourceRules", "nonResourceRules"} {
			sortList(object(object(a.Body)["status"])[k], func(v any) string { return string(encode(v)) })
		}
	}
}

func sortList(v any, key func(any) string) {
	if list, ok := v.([]any); ok {
		sort.SliceStable(list, func(i, j int) bool { return key(list[i]) < key(list[j]) })
	}
}

func withoutDescriptions(v any) any {
	switch t := v.(type) {
	case map[string]any:
		for k, e := range t {
			if _, text := e.(string); text && k == "description" {
				delete(t, k)
				continue
			}
			t[k] = withoutDescriptions(e)
		}
	case []any:
		for i := range t {
			t[i] = withoutDescriptions(t[i])
		}
	}
	return v
}
