package gold

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
)

// Result is a comparison that counts: a case, or a part of one.
type Result struct {
	Suite    string   `json:"suite"`
	File     string   `json:"file"`
	ID       string   `json:"id"`
	Level    int      `json:"level"` // the highest that is reached, 0 to 3
	Request  string   `json:"request,omitempty"`
	Expected int      `json:"expectedStatus"`
	Got      int      `json:"gotStatus"`
	Diff     []string `json:"diff,omitempty"`
	Body     string   `json:"-"` // of the request, as the recording has it
}

const (
	diffLines = 14
	diffWidth = 300
)

// compareFile compares a file's answers with those recorded.
func compareFile(f *File, answers []*Answer) []Result {
	var results []Result
	for i, e := range f.Entries {
		if !e.Case.Setup && e.Resp != nil {
			results = append(results, compare(f, e.Case, e.Resp, plain(answers[i]))...)
		}
	}
	return results
}

// plain is the answer as it reads after a trip through JSON, as the recorded one made it.
func plain(a *Answer) *Answer {
	b, _ := json.Marshal(a)
	read := &Answer{}
	if err := decode(b, read); err != nil {
		return &Answer{Err: err.Error()}
	}
	return read
}

func compare(f *File, c *Case, want, got *Answer) []Result {
	base := Result{Suite: f.Header.Suite, File: f.Header.File, ID: c.ID, Expected: want.Status, Got: got.Status,
		Request: requestLine(c), Body: bodyLine(c)}
	head, level := compareHead(want, got)
	if want.Parts == nil {
		return []Result{base.body(want.Body, got.Body, head, level)}
	}
	var results []Result
	for _, name := range slices.Sorted(maps.Keys(want.Parts)) {
		part := base
		part.ID += "/" + name
		if v, ok := got.Parts[name]; ok {
			part = part.body(want.Parts[name], v, head, level)
		} else {
			part.Diff = append(slices.Clone(head), "missing part "+name)
		}
		results = append(results, part)
	}
	return append(results, base.extra(want.Parts, got.Parts))
}

// extra scores that there are no parts that nobody wanted.
func (r Result) extra(want, got map[string]any) Result {
	var unwanted []string
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			unwanted = append(unwanted, name)
		}
	}
	r.ID += "/#extra"
	r.Level = 3
	if len(unwanted) > 0 || got == nil {
		r.Level = 0
		r.Diff = []string{"unexpected parts: " + clip(strings.Join(unwanted, " "), diffWidth)}
	}
	return r
}

// compareHead compares all but the body, and returns the level that is possible with it: 0, 1 or 2.
func compareHead(want, got *Answer) (diffs []string, level int) {
	if got.Err != "" {
		diffs = append(diffs, "request failed: "+got.Err)
	}
	if want.Status != got.Status {
		diffs = append(diffs, fmt.Sprintf("status: want %d got %d", want.Status, got.Status))
	}
	if a, b := reason(want), reason(got); a != b {
		diffs = append(diffs, fmt.Sprintf("reason: want %q got %q", a, b))
	}
	wrong := len(diffs)
	if want.CT != got.CT {
		diffs = append(diffs, fmt.Sprintf("content-type: want %q got %q", want.CT, got.CT))
	}
	if !slices.Equal(want.Warnings, got.Warnings) {
		diffs = append(diffs, fmt.Sprintf("warnings: want %q got %q", want.Warnings, got.Warnings))
	}
	diffs = append(diffs, diff("header", headers(want), headers(got))...)
	if want.Text != got.Text {
		diffs = append(diffs, fmt.Sprintf("text: want %s got %s", clip(want.Text, diffWidth), clip(got.Text, diffWidth)))
	}
	switch {
	case wrong > 0:
		return diffs, 0
	case len(diffs) > 0:
		return diffs, 1
	}
	return diffs, 2
}

// body compares bodies, first without, then with managedFields. possible is the level that the head allows.
func (r Result) body(want, got any, head []string, possible int) Result {
	r.Level = min(possible, 1)
	diffs := diff("", canon(want, false), canon(got, false))
	if possible == 2 && len(diffs) == 0 {
		r.Level = 2
		if diffs = diff("", canon(want, true), canon(got, true)); len(diffs) == 0 {
			r.Level = 3
			return r
		}
	}
	r.Diff = slices.Clone(head)
	if r.Level == 0 && len(diffs) > 0 && r.Expected != r.Got {
		r.Diff = append(r.Diff, "got body: "+short(got))
		if r.Expected >= 400 {
			r.Diff = append(r.Diff, "want body: "+short(want))
		}
		return r
	}
	r.Diff = append(r.Diff, diffs[:min(len(diffs), diffLines)]...)
	if len(diffs) > diffLines {
		r.Diff = append(r.Diff, fmt.Sprintf("... and %d more differences", len(diffs)-diffLines))
	}
	return r
}

func reason(a *Answer) string {
	status := object(a.Body)
	if status["kind"] != "Status" {
		return ""
	}
	s, _ := status["reason"].(string)
	return s
}

func requestLine(c *Case) string {
	line := c.Method + " " + c.Path
	if c.User != "" {
		line += " (as " + c.User + ")"
	}
	for _, k := range slices.Sorted(maps.Keys(c.Headers)) {
		line += fmt.Sprintf(" %s:%q", k, c.Headers[k])
	}
	return line
}

func bodyLine(c *Case) string {
	switch {
	case c.Seed != "":
		return clip(fmt.Sprintf("body: seed %s with %s", c.Seed, encode(c.Ops)), 4*diffWidth)
	case c.Raw != nil:
		return clip("body: "+*c.Raw, 4*diffWidth)
	case len(c.Body) > 0:
		return clip("body: "+string(c.Body), 4*diffWidth)
	}
	return ""
}

func headers(a *Answer) any {
	if a.Headers == nil {
		return map[string]any{}
	}
	return a.Headers
}

// diff lists the places in which two decoded bodies differ.
func diff(path string, want, got any) []string {
	switch a := want.(type) {
	case map[string]any:
		if b, ok := got.(map[string]any); ok {
			return diffObjects(path, a, b)
		}
	case []any:
		if b, ok := got.([]any); ok {
			return diffLists(path, a, b)
		}
	case json.Number:
		if b, ok := got.(json.Number); ok && sameNumber(a, b) {
			return nil
		}
	default:
		if want == got {
			return nil
		}
	}
	return []string{fmt.Sprintf("%s: want %s got %s", path, val(want), val(got))}
}

func diffObjects(path string, want, got map[string]any) []string {
	var diffs []string
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if v, ok := got[k]; ok {
			diffs = append(diffs, diff(path+"."+k, want[k], v)...)
		} else {
			diffs = append(diffs, fmt.Sprintf("%s.%s: want %s got (absent)", path, k, val(want[k])))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok {
			diffs = append(diffs, fmt.Sprintf("%s.%s: want (absent) got %s", path, k, val(got[k])))
		}
	}
	return diffs
}

func diffLists(path string, want, got []any) []string {
	if len(want) != len(got) {
		return []string{fmt.Sprintf("%s: want %d items got %d: want %s got %s", path, len(want), len(got), val(want), val(got))}
	}
	var diffs []string
	for i := range want {
		diffs = append(diffs, diff(fmt.Sprintf("%s[%d]", path, i), want[i], got[i])...)
	}
	return diffs
}

func sameNumber(a, b json.Number) bool {
	if a == b {
		return true
	}
	x, ok := new(big.Rat).SetString(a.String())
	y, ok2 := new(big.Rat).SetString(b.String())
	return ok && ok2 && x.Cmp(y) == 0
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "..."
	}
	return s
}

func short(v any) string { return clip(string(encode(v)), 2*diffWidth) }

func val(v any) string {
	if v == nil {
		return "null"
	}
	return clip(string(encode(v)), diffWidth)
}
