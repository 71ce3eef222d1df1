package gold

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// watchTimeout ends a watch that the server does not end: requests ask for one second.
const watchTimeout = 6 * time.Second

// session is the replay of one file, in a namespace of its own.
type session struct {
	*client
	file      *File
	namespace string
	vars      map[string]string // {name} in paths, headers and bodies
	saved     map[string][]byte
	seeds     map[string]any
	mask      *mask
}

// replay sends a file's requests. run tells the names of this run from those of others.
func replay(c *client, f *File, run string, keep bool) ([]*Answer, error) {
	x, err := newSession(c, f, run)
	if err != nil {
		return nil, err
	}
	if !f.Header.NoNS {
		x.makeNamespace()
	}
	answers := make([]*Answer, len(f.Entries))
	for i, e := range f.Entries {
		answers[i] = x.do(e.Case)
		if c.lost() {
			return nil, fmt.Errorf("server %s: no answer to %d requests in a row, last: %s", c.URL, lostAfter, answers[i].Err)
		}
	}
	if !keep {
		x.cleanup()
	}
	return answers, nil
}

func newSession(c *client, f *File, run string) (*session, error) {
	sum := sha256.Sum256([]byte(f.Header.Suite + "/" + f.Header.File))
	ns := fmt.Sprintf("g-%x-%s", sum[:3], run)
	x := &session{client: c, file: f, namespace: ns, vars: map[string]string{"ns": ns}, saved: map[string][]byte{},
		seeds: map[string]any{}, mask: newMask(ns, c.host, f.Header.Suite == "crd")}
	for name, raw := range f.Header.Seeds {
		var seed any
		if err := decode(raw, &seed); err != nil {
			return nil, fmt.Errorf("%s/%s: seed %s: %w", f.Header.Suite, f.Header.File, name, err)
		}
		x.seeds[name] = seed
	}
	return x, nil
}

// makeNamespace makes the file's namespace, with the service account that a controller would make: the reference ran
// without controllers.
func (x *session) makeNamespace() {
	answer, err := x.send(message{method: "POST", path: "/api/v1/namespaces",
		body: fmt.Appendf(nil, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q,"labels":{"gold":%q}}}`, x.namespace, x.namespace)})
	if err != nil || answer.status != 201 {
		fmt.Fprintf(os.Stderr, "%s/%s: creating namespace %s: status %d, error %v %.200s\n",
			x.file.Header.Suite, x.file.Header.File, x.namespace, answer.status, err, answer.body)
		return
	}
	accounts := "/api/v1/namespaces/" + x.namespace + "/serviceaccounts"
	for range 4 {
		if answer, err := x.send(message{method: "GET", path: accounts + "/default"}); err == nil && answer.status == 200 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	x.send(message{method: "POST", path: accounts,
		body: []byte(`{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}}`)})
}

// do sends one case and normalizes the answer.
func (x *session) do(c *Case) *Answer {
	body, err := x.body(c)
	if err != nil {
		return &Answer{Err: "case: " + err.Error()}
	}
	if c.From == "" {
		x.mask.sent(body)
	}
	m := message{method: c.Method, path: x.expand(c.Path), user: c.User, headers: map[string]string{}, body: body}
	for k, v := range c.Headers {
		m.headers[k] = x.expand(v)
	}
	if c.Watch {
		m.timeout = watchTimeout
	}
	answer, err := x.send(m)
	if err != nil && (!c.Watch || answer.status != 200) {
		return &Answer{Status: answer.status, Err: strings.ReplaceAll(err.Error(), x.URL, "")}
	}
	x.remember(c, answer.body)
	got := x.mask.normalize(c, answer)
	if err != nil {
		got.Text = "the stream was not closed after timeoutSeconds"
	}
	time.Sleep(time.Duration(c.SettleMs) * time.Millisecond) // what a controller inside the reference needed
	return got
}

// remember keeps what later cases need of an answer.
func (x *session) remember(c *Case, body []byte) {
	if c.Save != "" {
		x.saved[c.Save] = body
	}
	if len(c.Capture) == 0 {
		return
	}
	var v any
	if decode(body, &v) != nil {
		return
	}
	for name, path := range c.Capture {
		if s, ok := lookup(v, path); ok {
			x.vars[name] = s
		}
	}
}

// body is the request's body: bytes of an earlier answer, text, a seed with operations, or an object.
func (x *session) body(c *Case) ([]byte, error) {
	switch {
	case c.From != "":
		return x.saved[c.From], nil
	case c.Raw != nil:
		text := x.expand(*c.Raw)
		if c.Pad > 0 {
			text = strings.ReplaceAll(text, "{pad}", strings.Repeat("x", c.Pad))
		}
		return []byte(text), nil
	case c.Seed != "":
		body, err := seeded(x.seeds, c)
		return []byte(x.expand(string(encode(body)))), err
	case len(c.Body) > 0:
		return []byte(x.expand(string(c.Body))), nil
	}
	return nil, nil
}

// seeded is a case's seed after its operations.
func seeded(seeds map[string]any, c *Case) (any, error) {
	seed, ok := seeds[c.Seed]
	if !ok {
		return nil, fmt.Errorf("no seed %q", c.Seed)
	}
	body := clone(seed)
	for _, op := range c.Ops {
		var err error
		if body, err = edit(body, op); err != nil {
			return nil, fmt.Errorf("operation %v: %w", op, err)
		}
	}
	return body, nil
}

func (x *session) expand(s string) string {
	if !strings.Contains(s, "{") {
		return s
	}
	for name, value := range x.vars {
		s = strings.ReplaceAll(s, "{"+name+"}", value)
	}
	return s
}

// lookup finds a string or number at a dotted path.
func lookup(v any, path string) (string, bool) {
	for key := range strings.SplitSeq(path, ".") {
		switch t := v.(type) {
		case map[string]any:
			v = t[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(t) {
				return "", false
			}
			v = t[i]
		default:
			return "", false
		}
	}
	switch t := v.(type) {
	case string:
		return t, true
	case json.Number:
		return t.String(), true
	}
	return "", false
}
