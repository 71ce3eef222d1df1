package rbac

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/knarr-dev/knarr/registry"
)

// bindingKey names a binding; without a namespace it is a ClusterRoleBinding.
type bindingKey struct{ namespace, name string }

// binding is a binding as far as decisions need it. It is not changed, but replaced.
type binding struct {
	bindingKey
	ref      rbacv1.RoleRef
	subjects []rbacv1.Subject
	said     atomic.Pointer[reason] // the last reason that was given
}

// reason is why the binding allows something to one of its subjects.
type reason struct {
	subject int
	text    string
}

// kind is the binding's kind.
func (k bindingKey) kind() string {
	if k.namespace == "" {
		return "ClusterRoleBinding"
	}
	return "RoleBinding"
}

// reason says that the binding allows something to the user, who is one of its subjects.
func (b *binding) reason(user *registry.User) string {
	subject := 0
	if len(b.subjects) > 1 {
		subject = b.subject(user)
	}
	if r := b.said.Load(); r != nil && r.subject == subject {
		return r.text
	}
	r := &reason{subject, fmt.Sprintf("RBAC: allowed by %s %q of %s %q to %s",
		b.kind(), b.path(), b.ref.Kind, b.ref.Name, describe(&b.subjects[subject], b.namespace))}
	b.said.Store(r)
	return r.text
}

// path is the binding's name as reasons have it.
func (k bindingKey) path() string {
	if k.namespace == "" {
		return k.name
	}
	return k.name + "/" + k.namespace
}

// subject is the index of the first subject that is the user, or one of its groups.
func (b *binding) subject(user *registry.User) int {
	return slices.IndexFunc(b.subjects, func(s rbacv1.Subject) bool {
		who, ok := holderOf(&s, b.namespace)
		return ok && (who.group && has(user.Groups, who.name) || !who.group && who.name == user.Name)
	})
}

// describe names a subject of a binding in a namespace.
func describe(s *rbacv1.Subject, namespace string) string {
	if s.Kind == rbacv1.ServiceAccountKind {
		return fmt.Sprintf("%s %q", s.Kind, s.Name+"/"+cmp.Or(s.Namespace, namespace))
	}
	return fmt.Sprintf("%s %q", s.Kind, s.Name)
}

// holder is who holds roles: a user or a group, in a namespace or, without one, everywhere.
type holder struct {
	group     bool
	name      string
	namespace string
}

// accountPrefix begins the user names of service accounts: system:serviceaccount:NAMESPACE:NAME.
const accountPrefix = "system:serviceaccount:"

// holderOf is who a subject of a binding in a namespace is. A service account that names no namespace is of the
// binding's; in a ClusterRoleBinding it is nobody.
func holderOf(s *rbacv1.Subject, namespace string) (holder, bool) {
	switch s.Kind {
	case rbacv1.UserKind:
		return holder{name: s.Name, namespace: namespace}, true
	case rbacv1.GroupKind:
		return holder{group: true, name: s.Name, namespace: namespace}, true
	case rbacv1.ServiceAccountKind:
		home := cmp.Or(s.Namespace, namespace)
		return holder{name: accountPrefix + home + ":" + s.Name, namespace: namespace}, home != ""
	}
	return holder{}, false
}

// holders are those that a binding's subjects are, each once.
func (b *binding) holders() []holder {
	var all []holder
	for i := range b.subjects {
		if h, ok := holderOf(&b.subjects[i], b.namespace); ok && !slices.Contains(all, h) {
			all = append(all, h)
		}
	}
	return all
}

// held is a role that somebody holds, and a binding that gives it.
type held struct {
	role *role
	by   *binding
}

// holding is what one holder has, by role. It is not changed, but replaced: with and without make others.
type holding []held

func (h holding) find(r *role) (int, bool) {
	return slices.BinarySearchFunc(h, r.key, func(one held, key roleKey) int {
		return cmp.Or(strings.Compare(one.role.key.namespace, key.namespace), strings.Compare(one.role.key.name, key.name))
	})
}

// with also has a role by a binding, or has it by another one.
func (h holding) with(r *role, by *binding) holding {
	next := slices.Clone(h)
	i, ok := h.find(r)
	if ok {
		next[i].by = by
		return next
	}
	return slices.Insert(next, i, held{r, by})
}

// without no longer has a role.
func (h holding) without(r *role) holding {
	i, ok := h.find(r)
	if !ok {
		return h
	}
	return slices.Delete(slices.Clone(h), i, i+1)
}

// given are the bindings that give one role to one holder: one of them is as good as all, so that readers see the first
// alone. It belongs to the writers.
type given struct {
	bindings []*binding
	at       map[bindingKey]int // where they stand; nil while they are few
}

// few bindings are looked through.
const few = 16

func (g *given) index(key bindingKey) int {
	if g.at != nil {
		if i, ok := g.at[key]; ok {
			return i
		}
		return -1
	}
	return slices.IndexFunc(g.bindings, func(b *binding) bool { return b.bindingKey == key })
}

// put adds a binding, or replaces the one of its name.
func (g *given) put(b *binding) {
	if i := g.index(b.bindingKey); i >= 0 {
		g.bindings[i] = b
		return
	}
	g.bindings = append(g.bindings, b)
	if n := len(g.bindings); g.at != nil {
		g.at[b.bindingKey] = n - 1
	} else if n > few {
		g.at = make(map[bindingKey]int, n)
		for i, b := range g.bindings {
			g.at[b.bindingKey] = i
		}
	}
}

// remove takes a binding out; the last one takes its place.
func (g *given) remove(key bindingKey) {
	i, last := g.index(key), len(g.bindings)-1
	if i < 0 {
		return
	}
	moved := g.bindings[last]
	g.bindings[i], g.bindings[last] = moved, nil
	g.bindings = g.bindings[:last]
	if g.at != nil {
		g.at[moved.bindingKey] = i
		delete(g.at, key)
	}
}
