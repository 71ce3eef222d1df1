package auth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/knarr-dev/knarr/registry"
)

// impersonationMode is one way to be allowed to act as others.
type impersonationMode struct {
	name string                                        // empty for the old way
	fits func(requester, wanted registry.User) bool    // what the mode is for; nil: everything
	see  func(registry.Attributes) registry.Attributes // how the authorizer is asked; nil: as it is
}

// impersonationModes are all of them, in the order in which they are tried.
func impersonationModes() []impersonationMode {
	return []impersonationMode{
		{name: "associated-node", fits: ownNode, see: anyNodeOfAccount},
		{name: "arbitrary-node", fits: func(_, wanted registry.User) bool {
			_, node := nodeOfUser(wanted.Name)
			return node && onlyNamed(wanted)
		}},
		{name: "serviceaccount", fits: func(_, wanted registry.User) bool {
			_, _, account := accountOfUser(wanted.Name)
			return account && onlyNamed(wanted)
		}},
		{name: "user-info", fits: func(_, wanted registry.User) bool {
			_, node := nodeOfUser(wanted.Name)
			_, _, account := accountOfUser(wanted.Name)
			return !node && !account
		}},
		{},
	}
}

func onlyNamed(u registry.User) bool { return u.UID == "" && len(u.Groups) == 0 && len(u.Extra) == 0 }

// ownNode is a service account that wants to act as the node on which its pod runs, as its token says.
func ownNode(requester, wanted registry.User) bool {
	node, ok := nodeOfUser(wanted.Name)
	_, _, account := accountOfUser(requester.Name)
	on := requester.Extra["authentication.kubernetes.io/node-name"]
	return ok && account && onlyNamed(wanted) && len(on) == 1 && on[0] == node
}

// anyNodeOfAccount asks for all nodes at once: that it is the right one has been seen to. Of the requester's extra
// the names of the keys are told, for the values are of one pod.
func anyNodeOfAccount(a registry.Attributes) registry.Attributes {
	a.User.Extra = map[string][]string{
		"authentication.kubernetes.io/associated-node-keys": slices.Sorted(maps.Keys(a.User.Extra)),
	}
	if a.Verb == "impersonate:associated-node" {
		a.Name = "*"
	}
	return a
}

func (m impersonationMode) constrained() bool { return m.name != "" }

func (m impersonationMode) constraint() string {
	if !m.constrained() {
		return ""
	}
	return "impersonate:" + m.name
}

// impersonate returns the user that is acted as, if all questions about it are answered with yes.
func (m impersonationMode) impersonate(ctx context.Context, by registry.Authorizer, wanted registry.User, request registry.Attributes) (registry.User, error) {
	if m.constrained() {
		on := request
		on.Verb = "impersonate-on:" + m.name + ":" + request.Verb
		if err := m.allowed(ctx, by, on); err != nil {
			return registry.User{}, err
		}
	}
	q := question{impersonationMode: m, ctx: ctx, by: by, requester: request.User}
	for _, check := range []func(registry.User) error{q.name, q.uid, q.groups, q.extra} {
		if err := check(wanted); err != nil {
			return registry.User{}, err
		}
	}
	return m.complete(wanted), nil
}

// complete gives the user the groups that it always has.
func (m impersonationMode) complete(u registry.User) registry.User {
	if namespace, _, ok := accountOfUser(u.Name); ok && len(u.Groups) == 0 {
		u.Groups = accountGroups(namespace)
	}
	if _, ok := nodeOfUser(u.Name); ok && m.constrained() {
		u.Groups = []string{"system:nodes"}
	}
	group := authenticatedGroup
	if u.Name == anonymousUser {
		group = unauthenticatedGroup
	}
	if !slices.Contains(u.Groups, group) && !slices.Contains(u.Groups, unauthenticatedGroup) {
		u.Groups = append(slices.Clip(u.Groups), group)
	}
	return u
}

// allowed asks the authorizer.
func (m impersonationMode) allowed(ctx context.Context, by registry.Authorizer, a registry.Attributes) error {
	if m.see != nil {
		a = m.see(a)
	}
	decision, reason, err := by.Authorize(ctx, &a)
	switch {
	case decision == registry.Allow: // what could not be evaluated does not take that back
		return nil
	case err != nil && reason != "":
		reason = fmt.Sprintf("%v: %s", err, reason)
	case err != nil:
		reason = err.Error()
	}
	return &Refusal{Attributes: a, Reason: reason}
}

// question asks for one part of a user after the other.
type question struct {
	impersonationMode
	ctx       context.Context
	by        registry.Authorizer
	requester registry.User
}

// manyQuestions is from how many values on it is worth asking for all at once, before asking for each.
const manyQuestions = 4

// about is the question whether a value may be taken on. Users and groups moved into the group of authentication with
// the constrained modes.
func (q question) about(resource, subresource, name string) registry.Attributes {
	a := registry.Attributes{User: q.requester, Verb: "impersonate", ResourceRequest: true, Group: authenticationv1.GroupName,
		Version: "v1", Resource: resource, Subresource: subresource, Name: name}
	if q.constrained() {
		a.Verb = q.constraint()
	} else if resource == "users" || resource == "groups" || resource == "serviceaccounts" {
		a.Group = ""
	}
	return a
}

func (q question) ask(a registry.Attributes) error { return q.allowed(q.ctx, q.by, a) }

func (q question) name(wanted registry.User) error {
	a := q.about("users", "", wanted.Name)
	if node, ok := nodeOfUser(wanted.Name); ok && q.constrained() {
		a.Resource, a.Name = "nodes", node
	}
	if namespace, name, ok := accountOfUser(wanted.Name); ok {
		a = q.about("serviceaccounts", "", name)
		a.Namespace = namespace
	}
	return q.ask(a)
}

func (q question) uid(wanted registry.User) error {
	if wanted.UID == "" {
		return nil
	}
	return q.ask(q.about("uids", "", wanted.UID))
}

func (q question) groups(wanted registry.User) error {
	if q.constrained() {
		if slices.Contains(wanted.Groups, "") {
			return &Refusal{q.about("groups", "", ""), "impersonating the empty string group is not allowed"}
		}
		if slices.Contains(wanted.Groups, mastersGroup) {
			return &Refusal{q.about("groups", "", mastersGroup), "impersonating the system:masters group is not allowed"}
		}
		if len(wanted.Groups) >= manyQuestions && q.ask(q.about("groups", "", "*")) == nil {
			return nil
		}
	}
	for _, group := range wanted.Groups {
		if err := q.ask(q.about("groups", "", group)); err != nil {
			return err
		}
	}
	return nil
}

func (q question) extra(wanted registry.User) error {
	if q.constrained() && len(wanted.Extra) > 0 {
		if err := checkExtra(wanted.Extra); err != nil {
			return &Refusal{q.about("userextras", "", ""), err.Error()}
		}
		if manyExtra(wanted.Extra) && q.ask(q.about("userextras", "*", "*")) == nil {
			return nil
		}
	}
	for _, key := range slices.Sorted(maps.Keys(wanted.Extra)) {
		for _, value := range wanted.Extra[key] {
			if err := q.ask(q.about("userextras", key, value)); err != nil {
				return err
			}
		}
	}
	return nil
}

func manyExtra(extra map[string][]string) bool {
	values := 0
	for _, of := range extra {
		values += len(of)
	}
	return len(extra) >= manyQuestions || values >= manyQuestions
}

// checkExtra is what the constrained modes want of keys and values.
func checkExtra(extra map[string][]string) error {
	for _, key := range slices.Sorted(maps.Keys(extra)) {
		values := extra[key]
		malformed := utilvalidation.IsDomainPrefixedPath(field.NewPath("extra", "key"), key).ToAggregate()
		switch {
		case key == "":
			return errors.New("impersonating the empty string key in extra is not allowed")
		case malformed != nil:
			return fmt.Errorf("impersonating an invalid key in extra is not allowed: %w", malformed)
		case key != strings.ToLower(key):
			return fmt.Errorf("impersonating a non-lowercase key in extra is not allowed: %q", key)
		case len(values) == 0:
			return errors.New("impersonating empty values in extra is not allowed")
		case slices.Contains(values, ""):
			return errors.New("impersonating the empty string value in extra is not allowed")
		}
	}
	return nil
}

// nodeOfUser is the node whose kubelet goes by the user's name.
func nodeOfUser(user string) (node string, ok bool) {
	node, ok = strings.CutPrefix(user, "system:node:")
	return node, ok && len(validation.NameIsDNSSubdomain(node, false)) == 0
}

// accountOfUser is the service account that goes by the user's name.
func accountOfUser(user string) (namespace, name string, ok bool) {
	both, ok := strings.CutPrefix(user, accountPrefix)
	if !ok {
		return "", "", false
	}
	namespace, name, _ = strings.Cut(both, ":")
	ok = len(validation.ValidateNamespaceName(namespace, false)) == 0 && len(validation.ValidateServiceAccountName(name, false)) == 0
	return namespace, name, ok
}
