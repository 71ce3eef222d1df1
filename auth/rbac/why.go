package rbac

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/knarr-dev/knarr/registry"
)

// Ref names a role or binding.
type Ref struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// Grant is a rule that somebody has, and how.
type Grant struct {
	Binding Ref                `json:"binding"`
	Subject string             `json:"subject"` // of the binding: `User "alice"`
	Role    Ref                `json:"role"`
	Rule    *rbacv1.PolicyRule `json:"rule,omitempty"` // nil where the role does not exist
}

// Lack is the one thing that keeps a rule from allowing what is asked.
type Lack string

// What a rule may lack, nearest first.
const (
	LacksName        Lack = "resourceName" // it is for other objects by name
	LacksVerb        Lack = "verb"
	LacksSubresource Lack = "subresource" // it is for the resource itself, or another of its sub-resources
	LacksGroup       Lack = "apiGroup"
	LacksPath        Lack = "path"      // it is for a path above or below
	LacksNamespace   Lack = "namespace" // it is held in another namespace
	LacksRole        Lack = "role"      // the role that is bound does not exist
	LacksResource    Lack = "resource"
)

// Near is a rule that the user has and that all but allows what is asked.
type Near struct {
	Grant
	Lacks Lack `json:"lacks"`
}

// Offer is a role that allows what is asked, and that the user does not have there.
type Offer struct {
	Role Ref                `json:"role"`
	Rule *rbacv1.PolicyRule `json:"rule"`
	// Rights is how much the role allows: one for each verb on each resource or path, a hundred for each star.
	Rights int `json:"rights"`
}

// Account is what roles and bindings have to say about a request.
type Account struct {
	Grants []Grant `json:"grants,omitempty"` // the rules that allow it; none if it is refused
	// Of a refusal:
	Near   []Near  `json:"near,omitempty"`   // nearest first
	Offers []Offer `json:"offers,omitempty"` // those that allow the least else first
}

// Limits of an account: it is read by people.
const (
	mostGrants = 10
	mostNear   = 10
	mostOffers = 5
)

// Why accounts for the decision on a request. It looks at every binding: it is for people who ask, not for requests.
func (p *Policy) Why(a *registry.Attributes) Account {
	q := ask(a)
	bindings, roles := p.snapshot()
	var account Account
	for _, b := range bindings {
		if subject := b.subject(&a.User); subject >= 0 {
			account.weigh(b, subject, roles, &q)
		}
	}
	slices.SortStableFunc(account.Near, func(a, b Near) int { return cmp.Compare(a.Lacks.distance(), b.Lacks.distance()) })
	if len(account.Grants) > 0 {
		return Account{Grants: first(account.Grants, mostGrants)}
	}
	account.Near = first(account.Near, mostNear)
	account.Offers = first(offers(roles, &q), mostOffers)
	return account
}

func first[T any](list []T, most int) []T { return list[:min(len(list), most)] }

// snapshot is all bindings, those for all namespaces first, and all roles that exist.
func (p *Policy) snapshot() ([]*binding, map[roleKey]*ruleSet) {
	p.mu.Lock() // for no longer than it takes to copy: changes wait
	bindings := slices.AppendSeq(make([]*binding, 0, len(p.bindings)), maps.Values(p.bindings))
	places := maps.Clone(p.roles)
	p.mu.Unlock()
	slices.SortFunc(bindings, func(a, b *binding) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	})
	roles := make(map[roleKey]*ruleSet, len(places))
	for key, r := range places {
		if rules := r.rules.Load(); rules != nil {
			roles[key] = rules
		}
	}
	return bindings, roles
}

// weigh takes in what a binding of the user has to do with the request.
func (account *Account) weigh(b *binding, subject int, roles map[roleKey]*ruleSet, q *question) {
	grant := Grant{Binding: Ref{b.kind(), b.namespace, b.name}, Subject: describe(&b.subjects[subject], b.namespace)}
	here := b.namespace == "" || b.namespace == q.Namespace
	key, _ := keyOf(b.ref, b.namespace)
	grant.Role = Ref{key.kind(), key.namespace, key.name}
	set := roles[key]
	if set == nil {
		if here {
			account.Near = append(account.Near, Near{grant, LacksRole})
		}
		return
	}
	for i := range set.rules {
		grant.Rule = &set.rules[i]
		lacks, near := compare(grant.Rule, q)
		switch {
		case lacks == "" && near && here:
			account.Grants = append(account.Grants, grant)
		case lacks == "" && near:
			account.Near = append(account.Near, Near{grant, LacksNamespace})
		case near && here:
			account.Near = append(account.Near, Near{grant, lacks})
		}
	}
}

// compare says what a rule lacks to allow what is asked: nothing, or one thing. A rule that lacks more is not near.
func compare(r *rbacv1.PolicyRule, q *question) (lacks Lack, near bool) {
	miss := func(what Lack) {
		near = lacks == ""
		lacks = what
	}
	near = true
	if !q.ResourceRequest {
		if len(r.NonResourceURLs) == 0 {
			return "", false
		}
		if !verbMatches(r, q) {
			miss(LacksVerb)
		}
		if near && !urlMatches(r, q) {
			miss(LacksPath)
			near = near && relatedPath(r, q)
		}
		return lacks, near
	}
	if len(r.Resources) == 0 {
		return "", false
	}
	for _, c := range []struct {
		matches func(*rbacv1.PolicyRule, *question) bool
		lacks   Lack
	}{
		{verbMatches, LacksVerb}, {groupMatches, LacksGroup}, {resourceMatches, LacksResource}, {nameMatches, LacksName},
	} {
		if near && !c.matches(r, q) {
			miss(c.lacks)
		}
	}
	if lacks == LacksResource && sameResource(r, q) {
		lacks = LacksSubresource
	}
	return lacks, near
}

// sameResource reports whether a rule is for the same resource, be it for another sub-resource.
func sameResource(r *rbacv1.PolicyRule, q *question) bool {
	return slices.ContainsFunc(r.Resources, func(resource string) bool {
		name, _, _ := strings.Cut(resource, "/")
		return name == q.Resource
	})
}

// relatedPath reports whether a rule is for a path above or below.
func relatedPath(r *rbacv1.PolicyRule, q *question) bool {
	return slices.ContainsFunc(r.NonResourceURLs, func(url string) bool {
		root := strings.TrimRight(url, "*/")
		return root != "" && (strings.HasPrefix(q.Path, root) || strings.HasPrefix(root, q.Path))
	})
}

// distance orders what is lacking.
func (l Lack) distance() int {
	return slices.Index([]Lack{LacksName, LacksVerb, LacksSubresource, LacksGroup, LacksPath, LacksNamespace, LacksRole, LacksResource}, l)
}

// everything is how much a role allows that nobody should be advised to bind for the sake of one right.
const everything = 10_000

// offers are the roles that could be bound to allow what is asked. Those of the system are for the system.
func offers(roles map[roleKey]*ruleSet, q *question) []Offer {
	var all []Offer
	for key, set := range roles {
		here := key.namespace == "" || key.namespace == q.Namespace
		if rule := set.allowing(q); rule != nil && here && !strings.HasPrefix(key.name, "system:") && rights(set.rules) < everything {
			all = append(all, Offer{Ref{key.kind(), key.namespace, key.name}, rule, rights(set.rules)})
		}
	}
	slices.SortFunc(all, func(a, b Offer) int {
		return cmp.Or(cmp.Compare(a.Rights, b.Rights), cmp.Compare(a.Role.Kind, b.Role.Kind), cmp.Compare(a.Role.Name, b.Role.Name))
	})
	return all
}

// rights counts what rules allow.
func rights(rules []rbacv1.PolicyRule) int {
	count := func(list []string) (n int) {
		for _, one := range list {
			if n++; strings.Contains(one, "*") {
				n += 99
			}
		}
		return n
	}
	n := 0
	for _, r := range rules {
		n += count(r.Verbs) * (count(r.APIGroups)*count(r.Resources) + count(r.NonResourceURLs))
	}
	return n
}
