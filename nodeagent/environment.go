package nodeagent

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/ptr"
)

// surroundings is what a container learns of the world outside of its pod's spec.
type surroundings struct {
	shelf       shelf
	services    []*corev1.Service // of its namespace, and "kubernetes"
	podIPs      []string
	hostIPs     []string
	allocatable corev1.ResourceList // what the node has: the limit of those that have none
}

// environment is what a container's program finds in its environment: pure.
//
// Whole ConfigMaps and Secrets come first, then single variables in their order, each of which may use those before it, then
// what tells of Services, where nothing else has the name. An object or key that is missing is an error unless it is
// optional.
func environment(p *corev1.Pod, c *corev1.Container, around *surroundings) (map[string]string, error) {
	services := serviceVariables(p, around.services)
	vars := map[string]string{}
	for _, from := range c.EnvFrom {
		if err := takeAll(p, &from, around.shelf, vars); err != nil {
			return nil, err
		}
	}
	for _, v := range c.Env {
		value, absent := expand(v.Value, variables(vars, services)), false
		if v.Value == "" && v.ValueFrom != nil {
			var err error
			if value, absent, err = valueFrom(p, c, v.ValueFrom, around); err != nil {
				return nil, err
			}
		}
		if !absent {
			vars[v.Name] = value
		}
	}
	for name, value := range services {
		if _, taken := vars[name]; !taken {
			vars[name] = value
		}
	}
	return vars, nil
}

// takeAll takes over a whole ConfigMap or Secret.
func takeAll(p *corev1.Pod, from *corev1.EnvFromSource, s shelf, vars map[string]string) error {
	switch {
	case from.ConfigMapRef != nil:
		m, err := s.configMap(p.Namespace, from.ConfigMapRef.Name)
		if err != nil {
			return unlessOptional(err, from.ConfigMapRef.Optional)
		}
		for k, v := range m.Data {
			vars[from.Prefix+k] = v
		}
	case from.SecretRef != nil:
		m, err := s.secret(p.Namespace, from.SecretRef.Name)
		if err != nil {
			return unlessOptional(err, from.SecretRef.Optional)
		}
		for k, v := range m.Data {
			vars[from.Prefix+k] = string(v)
		}
	}
	return nil
}

func unlessOptional(err error, optional *bool) error {
	if apierrors.IsNotFound(err) && ptr.Deref(optional, false) {
		return nil
	}
	return err
}

// valueFrom is the value of a variable that stands elsewhere; absent if it may be missing and is. Variables from files are
// for runtimes that have files.
func valueFrom(p *corev1.Pod, c *corev1.Container, from *corev1.EnvVarSource, around *surroundings) (value string, absent bool, err error) {
	switch {
	case from.FieldRef != nil:
		value, err = podField(p, from.FieldRef.FieldPath, around)
		return value, false, err
	case from.ResourceFieldRef != nil:
		value, err = resourceField(p, c, from.ResourceFieldRef, around.allocatable)
		return value, false, err
	case from.ConfigMapKeyRef != nil:
		k := from.ConfigMapKeyRef
		m, err := around.shelf.configMap(p.Namespace, k.Name)
		if err != nil {
			err = unlessOptional(err, k.Optional)
			return "", true, err
		}
		value, found := m.Data[k.Key]
		if !found && !ptr.Deref(k.Optional, false) {
			return "", false, fmt.Errorf("couldn't find key %v in ConfigMap %v/%v", k.Key, p.Namespace, k.Name)
		}
		return value, !found, nil
	case from.SecretKeyRef != nil:
		k := from.SecretKeyRef
		m, err := around.shelf.secret(p.Namespace, k.Name)
		if err != nil {
			err = unlessOptional(err, k.Optional)
			return "", true, err
		}
		value, found := m.Data[k.Key]
		if !found && !ptr.Deref(k.Optional, false) {
			return "", false, fmt.Errorf("couldn't find key %v in Secret %v/%v", k.Key, p.Namespace, k.Name)
		}
		return string(value), !found, nil
	}
	return "", from.FileKeyRef != nil, nil
}

// expand puts values in place of $(NAME); $$ is a dollar.
func expand(text string, value func(name string) string) string {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		name, after, closed := strings.Cut(strings.TrimPrefix(rest, "("), ")")
		switch {
		case strings.HasPrefix(rest, "$"):
			out.WriteByte('$')
			text = rest[1:]
		case strings.HasPrefix(rest, "(") && closed:
			out.WriteString(value(name))
			text = after
		default:
			out.WriteByte('$')
			text = rest
		}
	}
}

// variables has the values of the first map that knows the name. What none knows stays as it is.
func variables(from ...map[string]string) func(string) string {
	return func(name string) string {
		for _, m := range from {
			if value, found := m[name]; found {
				return value
			}
		}
		return "$(" + name + ")"
	}
}

// keyValues are variables as the runtime takes them.
func keyValues(vars map[string]string) (list []*cri.KeyValue) {
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		list = append(list, &cri.KeyValue{Key: name, Value: []byte(vars[name])})
	}
	return list
}

// expandAll is a command with the values of variables.
func expandAll(words []string, vars map[string]string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = expand(w, variables(vars))
	}
	return out
}
