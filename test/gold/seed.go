package gold

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// clone is a deep copy of decoded JSON.
func clone(v any) any {
	switch t := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(t))
		for k, e := range t {
			m[k] = clone(e)
		}
		return m
	case []any:
		l := make([]any, len(t))
		for i, e := range t {
			l[i] = clone(e)
		}
		return l
	}
	return v
}

// edit applies an operation to a body, which may be changed on the way. Operations are
//
//	["root", _, value]        replace the whole body
//	["set", path, value]      "-" at the path's end appends to a list
//	["del", path]
//	["rename", path, key]
//	["dup", path]             repeat the first item of a list
//	["rep", path, text, n]    set to n times the text
func edit(body any, op []any) (any, error) {
	if len(op) < 2 {
		return nil, errors.New("short operation")
	}
	e := edition{}
	e.kind, _ = op[0].(string)
	path, _ := op[1].(string)
	e.args = op[2:]
	if e.kind == "root" {
		return clone(e.args[0]), nil
	}
	return e.at(body, strings.Split(strings.TrimPrefix(path, "/"), "/"))
}

// edition is an operation on its way down a path.
type edition struct {
	kind string
	args []any
}

func (e edition) at(v any, path []string) (any, error) {
	key := strings.NewReplacer("~1", "/", "~0", "~").Replace(path[0])
	switch t := v.(type) {
	case map[string]any:
		return e.inObject(t, key, path[1:])
	case []any:
		return e.inList(t, key, path[1:])
	}
	return nil, fmt.Errorf("no container at %q", key)
}

func (e edition) inObject(o map[string]any, key string, rest []string) (any, error) {
	if len(rest) > 0 {
		next, ok := o[key]
		if !ok && e.kind != "set" && e.kind != "rep" {
			return nil, fmt.Errorf("no field %q", key)
		}
		if !ok {
			next = map[string]any{}
		}
		changed, err := e.at(next, rest)
		o[key] = changed
		return o, err
	}
	switch e.kind {
	case "set", "rep":
		o[key] = e.value()
	case "del":
		delete(o, key)
	case "rename":
		to, _ := e.args[0].(string)
		o[to] = o[key]
		delete(o, key)
	case "dup":
		l, ok := o[key].([]any)
		if !ok || len(l) == 0 {
			return nil, fmt.Errorf("no list %q", key)
		}
		o[key] = append(append([]any{}, l...), clone(l[0]))
	default:
		return nil, fmt.Errorf("unknown operation %q", e.kind)
	}
	return o, nil
}

func (e edition) inList(l []any, key string, rest []string) (any, error) {
	if key == "-" && len(rest) == 0 && e.kind == "set" {
		return append(l, e.value()), nil
	}
	n, err := strconv.Atoi(key)
	if err != nil || n < 0 || n >= len(l) {
		return nil, fmt.Errorf("no index %q", key)
	}
	if len(rest) > 0 {
		l[n], err = e.at(l[n], rest)
		return l, err
	}
	switch e.kind {
	case "set", "rep":
		l[n] = e.value()
	case "del":
		return append(append([]any{}, l[:n]...), l[n+1:]...), nil
	default:
		return nil, fmt.Errorf("unknown operation %q on a list's item", e.kind)
	}
	return l, nil
}

// value is what set and rep write.
func (e edition) value() any {
	if e.kind == "rep" {
		text, _ := e.args[0].(string)
		n, _ := e.args[1].(json.Number).Int64()
		return strings.Repeat(text, int(n))
	}
	return clone(e.args[0])
}
