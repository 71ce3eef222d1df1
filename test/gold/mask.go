package gold

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"
)

var (
	reUUID    = regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`)
	reJWT     = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`)
	reKAA     = regexp.MustCompile(`kube-api-access-[a-z0-9]{5}\b`)
	reIP      = regexp.MustCompile(`\b(?:10\.0|172\.3[01])\.\d{1,3}\.\d{1,3}\b`)
	reCellNP  = regexp.MustCompile(`:3[0-2]\d{3}/`)
	reRecRV   = regexp.MustCompile(`(ResourceVersion in record \()\d+`)
	reNP      = regexp.MustCompile(`\b3[0-2]\d{3}\b`)
	reRVMsg   = regexp.MustCompile(`(ResourceVersion in (?:precondition|object meta): )\d+`)
	reCurrent = regexp.MustCompile(`(current: )\d+`)
	reTooOld  = regexp.MustCompile(`(too old resource version: \d+ \()\d+\)`)
	reTime    = regexp.MustCompile(`\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z`)
	reCell    = regexp.MustCompile(`^(<invalid>|\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h|d|y)(?:\d+(?:s|m|h|d))?)$`)
	reAgo     = regexp.MustCompile(`\([^()]* ago\)`)
	reHash    = regexp.MustCompile(`\?hash=[0-9A-Za-z]+`)
	reGoTime  = regexp.MustCompile(`\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? \+0000 UTC(?: m=[+-][\d.]+)?`)
	reDigits  = regexp.MustCompile(`^\d+$`)
)

// mask replaces what differs from run to run: names, times, UIDs, revisions, allocated addresses and ports.
type mask struct {
	namespace string
	camel     string          // the namespace as OpenAPI's operation ids of custom resources have it
	host      string          // of the server
	custom    bool            // of a suite with resources of its own
	named     map[string]bool // addresses and ports that requests named: not masked
	generated []string        // names that the server completed
}

func newMask(namespace, host string, custom bool) *mask {
	camel := ""
	for part := range strings.SplitSeq(namespace, "-") {
		camel += strings.ToUpper(part[:1]) + part[1:]
	}
	return &mask{namespace: namespace, camel: camel, host: host, custom: custom, named: map[string]bool{}}
}

// sent notes the addresses and ports that a request names.
func (x *mask) sent(body []byte) {
	s := string(body)
	for _, found := range append(reIP.FindAllString(s, -1), reNP.FindAllString(s, -1)...) {
		x.named[found] = true
	}
}

// near reports whether a time is one that the server took from its clock.
func near(t time.Time) bool { return time.Since(t).Abs() < 72*time.Hour }

// str masks a text.
func (x *mask) str(s string) string {
	for _, g := range x.generated {
		if strings.Contains(s, g) {
			s = strings.ReplaceAll(s, g, g[:len(g)-5]+"{rand}")
		}
	}
	s = strings.ReplaceAll(s, x.namespace, "{ns}")
	s = strings.ReplaceAll(s, x.camel, "{Ns}") // operation ids of custom resources
	s = strings.ReplaceAll(s, x.camel[1:], "{Ns}")
	s = strings.ReplaceAll(s, x.host, "{server}")
	if len(s) >= 36 {
		s = reUUID.ReplaceAllString(s, "{uid}")
		s = reJWT.ReplaceAllString(s, "{jwt}")
	}
	s = reKAA.ReplaceAllString(s, "kube-api-access-{rand}")
	if strings.Contains(s, "10.0.") || strings.Contains(s, "172.3") {
		s = reIP.ReplaceAllStringFunc(s, func(ip string) string {
			if x.named[ip] {
				return ip
			}
			return "{ip}"
		})
	}
	s = reRVMsg.ReplaceAllString(s, "${1}{rv}")
	s = reRecRV.ReplaceAllString(s, "${1}{rv}")
	s = reCurrent.ReplaceAllString(s, "${1}{rv}")
	s = reTooOld.ReplaceAllString(s, "${1}{rv})")
	return times(s)
}

// times masks the times of this run.
func times(s string) string {
	if len(s) >= 20 && strings.Contains(s, "T") {
		s = reTime.ReplaceAllStringFunc(s, func(m string) string {
			if t, err := time.Parse(time.RFC3339Nano, m); err == nil && near(t) {
				if strings.Contains(m, ".") {
					return "{microtime}"
				}
				return "{time}"
			}
			return m
		})
	}
	if strings.Contains(s, "+0000 UTC") {
		s = reGoTime.ReplaceAllStringFunc(s, func(m string) string {
			if t, err := time.Parse("2006-01-02", m[:10]); err == nil && near(t) {
				return "{time}"
			}
			return m
		})
	}
	return s
}

// walk masks all of a decoded body. key is the name of the field that holds v.
func (x *mask) walk(v any, key string) any {
	switch t := v.(type) {
	case map[string]any:
		x.noteGenerated(t)
		masked := make(map[string]any, len(t))
		for k, e := range t {
			if key == "metadata" || key == "objectMeta" {
				if k == "selfLink" {
					continue
				}
				e = maskMetadata(k, e)
			}
			masked[x.str(k)] = x.walk(x.field(k, e), k)
		}
		return masked
	case []any:
		for i := range t {
			t[i] = x.walk(t[i], "")
		}
		return t
	case string:
		return x.str(t)
	}
	return v
}

// noteGenerated remembers the name of an object that the server named.
func (x *mask) noteGenerated(object map[string]any) {
	metadata, _ := object["metadata"].(map[string]any)
	prefix, _ := metadata["generateName"].(string)
	name, _ := metadata["name"].(string)
	if prefix != "" && strings.HasPrefix(name, prefix) && len(name) == len(prefix)+5 && !slices.Contains(x.generated, name) {
		x.generated = append(x.generated, name)
	}
}

func maskMetadata(key string, v any) any {
	s, _ := v.(string)
	switch {
	case key == "resourceVersion" && s != "" && s != "0" && reDigits.MatchString(s):
		return "{rv}"
	case key == "continue" && s != "":
		return "{continue}"
	}
	return v
}

// field masks values that only their field's name tells.
func (x *mask) field(key string, v any) any {
	switch key {
	case "nodePort", "healthCheckNodePort":
		if n, ok := v.(json.Number); ok && reNP.MatchString(n.String()) && !x.named[n.String()] {
			return "{nodePort}"
		}
	case "storageVersionHash":
		if x.custom { // it depends on the group's name
			return "{hash}"
		}
	case "serverAddress":
		return "{server}"
	case "cells":
		cells, _ := v.([]any)
		for i := range cells {
			if s, ok := cells[i].(string); ok {
				cells[i] = x.cell(s)
			}
		}
	}
	return v
}

// cell masks ages and node ports in a table's cell.
func (x *mask) cell(s string) string {
	if reCell.MatchString(s) {
		return "{age}"
	}
	s = reCellNP.ReplaceAllStringFunc(s, func(port string) string {
		if x.named[port[1:6]] {
			return port
		}
		return ":{nodePort}/"
	})
	return reAgo.ReplaceAllString(s, "({age} ago)")
}
