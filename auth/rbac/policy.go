package rbac

import (
	"context"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"github.com/knarr-dev/knarr/registry"
)

// Policy is the roles and bindings of a cluster.
type Policy struct {
	holdings holdings

	mu       sync.Mutex // orders writers, and guards the fields below
	roles    map[roleKey]*role
	bindings map[bindingKey]*binding
	given    map[gift]*given
}

// gift is what bindings give: a role to a holder.
type gift struct {
	holder
	role *role
}

// New returns a policy without roles and bindings, which allows nothing.
func New() *Policy {
	return &Policy{holdings: holdings{seed: maphash.MakeSeed()}, roles: map[roleKey]*role{}, bindings: map[bindingKey]*binding{}, given: map[gift]*given{}}
}

// Follow keeps the policy as the cluster has it.
func (p *Policy) Follow(ctx context.Context, objects registry.Objects) error {
	var all sync.WaitGroup
	plurals := []string{"clusterroles", "roles", "clusterrolebindings", "rolebindings"}
	errs := make([]error, len(plurals))
	for i, plural := range plurals {
		all.Go(func() { errs[i] = objects.Follow(ctx, rbacv1.GroupName, plural, p.Change) })
	}
	all.Wait()
	return utilerrors.NewAggregate(errs)
}

// Change tells of a role or binding that is new (old is nil), another than it was, or gone (now is nil). It holds for
// every decision that begins afterwards.
func (p *Policy) Change(old, now registry.Object) {
	p.mu.Lock()
	defer p.mu.Unlock()
	some := now
	if now == nil {
		some = old
	}
	switch some.(type) {
	case *rbacv1.ClusterRole, *rbacv1.Role:
		key := roleKey{some.GetNamespace(), some.GetName()}
		if now == nil {
			p.dropRole(key)
			return
		}
		p.setRole(key, rulesOf(now))
	case *rbacv1.ClusterRoleBinding, *rbacv1.RoleBinding:
		p.replaceBinding(bindingKey{some.GetNamespace(), some.GetName()}, bindingOf(now))
	}
}

func rulesOf(obj registry.Object) []rbacv1.PolicyRule {
	if r, ok := obj.(*rbacv1.ClusterRole); ok {
		return r.Rules
	}
	return obj.(*rbacv1.Role).Rules
}

// bindingOf is what decisions need of a binding; nil if there is none.
func bindingOf(obj registry.Object) *binding {
	switch b := obj.(type) {
	case *rbacv1.ClusterRoleBinding:
		return &binding{bindingKey: bindingKey{name: b.Name}, ref: b.RoleRef, subjects: b.Subjects}
	case *rbacv1.RoleBinding:
		return &binding{bindingKey: bindingKey{b.Namespace, b.Name}, ref: b.RoleRef, subjects: b.Subjects}
	}
	return nil
}

// role is the place of a role, made if need be.
func (p *Policy) role(key roleKey) *role {
	r := p.roles[key]
	if r == nil {
		r = &role{key: key}
		p.roles[key] = r
	}
	return r
}

func (p *Policy) setRole(key roleKey, rules []rbacv1.PolicyRule) {
	p.role(key).rules.Store(newRuleSet(rules))
}

func (p *Policy) dropRole(key roleKey) {
	p.role(key).rules.Store(nil)
	p.forget(key)
}

// forget gives up the place of a role that neither exists nor is bound.
func (p *Policy) forget(key roleKey) {
	if r := p.roles[key]; r.bound == 0 && r.rules.Load() == nil {
		delete(p.roles, key)
	}
}

// replaceBinding puts a binding (nil: none) in the place of the one of that name. What both give is held throughout.
func (p *Policy) replaceBinding(key bindingKey, b *binding) {
	before := p.bindings[key]
	if b != nil {
		p.bind(b)
	}
	if before != nil {
		p.unbind(before, b)
	}
	if b == nil {
		delete(p.bindings, key)
		return
	}
	p.bindings[key] = b
}

func (p *Policy) bind(b *binding) {
	key, ok := keyOf(b.ref, b.namespace)
	if !ok {
		return
	}
	r := p.role(key)
	r.bound++
	for _, h := range b.holders() {
		to := gift{h, r}
		if p.given[to] == nil {
			p.given[to] = &given{}
		}
		p.given[to].put(b)
		p.show(to)
	}
}

// show lets readers see who holds what by the first of the bindings that give it.
func (p *Policy) show(to gift) {
	g, now := p.given[to], p.holdings.of(&to.holder)
	i, has := now.find(to.role)
	switch {
	case len(g.bindings) == 0:
		delete(p.given, to)
		p.holdings.set(to.holder, now.without(to.role))
	case !has || now[i].by != g.bindings[0]:
		p.holdings.set(to.holder, now.with(to.role, g.bindings[0]))
	}
}

// unbind takes away what a binding gave and the one in its place (nil: none) does not.
func (p *Policy) unbind(b, by *binding) {
	key, ok := keyOf(b.ref, b.namespace)
	if !ok {
		return
	}
	r := p.role(key)
	still := map[holder]bool{}
	if by != nil {
		if now, _ := keyOf(by.ref, by.namespace); now == key {
			for _, h := range by.holders() {
				still[h] = true
			}
		}
	}
	for _, h := range b.holders() {
		if !still[h] {
			to := gift{h, r}
			p.given[to].remove(b.bindingKey)
			p.show(to)
		}
	}
	r.bound--
	p.forget(key)
}

// appendHolders adds as whom a user may hold something: everywhere first, then in the namespace, if one is named; as
// himself, then as a member of his groups.
func appendHolders(all []holder, user *registry.User, namespace string) []holder {
	for in := ""; ; in = namespace {
		all = append(all, holder{name: user.Name, namespace: in})
		for _, group := range user.Groups {
			all = append(all, holder{group: true, name: group, namespace: in})
		}
		if in == namespace {
			return all
		}
	}
}

// heldBy is what a user has, and as whom, in the order of appendHolders.
func (p *Policy) heldBy(user *registry.User, namespace string) iter.Seq2[held, holder] {
	return func(yield func(held, holder) bool) {
		for _, h := range appendHolders(nil, user, namespace) {
			for _, one := range p.holdings.of(&h) {
				if !yield(one, h) {
					return
				}
			}
		}
	}
}

// Authorize allows what a rule of one of the user's roles allows, and has no opinion on anything else.
func (p *Policy) Authorize(_ context.Context, a *registry.Attributes) (registry.Decision, string, error) {
	q := ask(a)
	lost := false
	var few [8]holder // most users are in two or three groups
	holders := appendHolders(few[:0], &a.User, a.Namespace)
	for i := range holders {
		for _, one := range p.holdings.of(&holders[i]) {
			rules := one.role.rules.Load()
			if rules == nil {
				lost = true
			} else if rules.allowing(&q) != nil {
				return registry.Allow, one.by.reason(&a.User), nil
			}
		}
	}
	if lost {
		return registry.NoOpinion, fmt.Sprintf("RBAC: %v", p.missing(&a.User, a.Namespace)), nil
	}
	return registry.NoOpinion, "", nil
}

// missing is an error that names the roles that the user is bound to and that do not exist.
func (p *Policy) missing(user *registry.User, namespace string) error {
	var errs []error
	for one := range p.heldBy(user, namespace) {
		if one.role.rules.Load() == nil {
			errs = append(errs, one.role.key.notFound())
		}
	}
	return utilerrors.NewAggregate(errs)
}

// notFound is the error about a role that does not exist. It names the kind, as kube-apiserver's informers do.
func (k roleKey) notFound() error {
	kind := "role"
	if k.namespace == "" {
		kind = "clusterrole"
	}
	return apierrors.NewNotFound(schema.GroupResource{Group: rbacv1.GroupName, Resource: kind}, k.name)
}

// Rules returns all that the user may do in a namespace (everywhere, if it names none), once for each binding that gives
// it. An error names roles that do not exist; the rules of the others are returned all the same.
func (p *Policy) Rules(_ context.Context, user registry.User, namespace string) (rules []rbacv1.PolicyRule, incomplete bool, err error) {
	told := map[gift]bool{}
	for one, h := range p.heldBy(&user, namespace) {
		to := gift{h, one.role}
		if set := one.role.rules.Load(); set != nil && !told[to] {
			told[to] = true
			for _, b := range p.giving(to) {
				if first, _ := holderOf(&b.subjects[b.subject(&user)], b.namespace); first == h {
					rules = append(rules, set.rules...)
				}
			}
		}
	}
	return rules, false, p.missing(&user, namespace)
}

// giving are the bindings that give something.
func (p *Policy) giving(to gift) []*binding {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g := p.given[to]; g != nil {
		return slices.Clone(g.bindings)
	}
	return nil
}

// RoleRules returns the rules of the role that a binding in a namespace (none for a ClusterRoleBinding) refers to. The
// error of a role that does not exist is NotFound.
func (p *Policy) RoleRules(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	key, ok := keyOf(ref, namespace)
	if !ok {
		return nil, fmt.Errorf("unsupported role reference kind: %q", ref.Kind)
	}
	p.mu.Lock()
	r := p.roles[key]
	p.mu.Unlock()
	if r != nil {
		if set := r.rules.Load(); set != nil {
			return set.rules, nil
		}
	}
	return nil, key.notFound()
}
