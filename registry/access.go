package registry

import (
	"context"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/knarr-dev/knarr/registry/store"
)

// Objects reads the cluster's objects for authentication, authorization and admission: from the watch cache, without a copy.
// What it returns is shared and must not be changed.
type Objects interface {
	// Get returns an object; a NotFound error if there is none.
	Get(ctx context.Context, group, plural, namespace, name string) (Object, error)
	// Labels returns those of an object, which is not decoded for it; a NotFound error if there is none.
	Labels(ctx context.Context, group, plural, namespace, name string) (labels.Labels, error)
	// List returns the objects of a namespace, or of all if it is empty.
	List(ctx context.Context, group, plural, namespace string) ([]Object, error)
	// Follow calls changed for every object that there is, with old nil, and then for each change, in order of revision
	// and before the change can be read: now is nil for an object that is gone. Where a row Governs, a writer is
	// answered after that. changed must be quick, and must neither read nor write objects. An error means that what there
	// is could not be read yet; it will be told once it is.
	Follow(ctx context.Context, group, plural string, changed func(old, now Object)) error
}

// Identity is what tells an object from others that have borne its name, and whether it still counts.
type Identity = store.Identity

// Identities reads which objects there are, without decoding them: the cheapest of questions.
type Identities interface {
	// Identity returns that of an object; a NotFound error if there is none.
	Identity(ctx context.Context, group, plural, namespace, name string) (Identity, error)
}

// Authorizer says whether a user may do something. Package auth satisfies it; access reviews and the server ask it.
type Authorizer interface {
	// Authorize returns a decision and, for people, its reason. An error may come with any decision: what could
	// not be evaluated does not take back what something else allowed. The attributes are read only, and not kept.
	Authorize(ctx context.Context, a *Attributes) (Decision, string, error)
}

// RuleLister is an Authorizer that can say all that a user may do; SelfSubjectRulesReview asks it.
type RuleLister interface {
	// Rules returns what the user may do in a namespace. incomplete means that the user may be allowed more than that,
	// an error tells why.
	Rules(ctx context.Context, user User, namespace string) (rules []rbacv1.PolicyRule, incomplete bool, err error)
}

// RoleRules knows what roles allow. Package auth/rbac satisfies it; who writes roles and bindings is judged by it.
type RoleRules interface {
	// RuleLister lists what a user may do by roles; without a namespace, what it may do everywhere.
	RuleLister
	// RoleRules returns the rules of the role that a binding in a namespace (none for a ClusterRoleBinding) refers to;
	// NotFound if there is no such role.
	RoleRules(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error)
}

// TokenAuthenticator says whose a bearer token is. Package auth satisfies it; TokenReview asks it.
type TokenAuthenticator interface {
	// AuthenticateToken returns the token's user and those of the wanted audiences that it was made for (all of the
	// API server's when none are wanted). A token that nobody knows gives nil and no error.
	AuthenticateToken(ctx context.Context, token string, audiences []string) (*User, []string, error)
}

// Decision is an authorizer's answer.
type Decision int

const (
	NoOpinion Decision = iota // ask the next one; refused if nobody allows it
	Allow
	Deny // refused, whatever others say
)

// Attributes are what an authorizer decides on: who wants to do what to which resource or path.
type Attributes struct {
	User            User
	Verb            string // "get", "list", ..., "impersonate"; for a path the lower-cased HTTP method
	ResourceRequest bool   // the fields down to Name count; else Path does
	Namespace       string
	Group           string
	Version         string
	Resource        string // plural
	Subresource     string
	Name            string
	Path            string // of the URL
	// Fields and Labels are what a list, watch or deletion of a collection selects by, as far as it could be understood:
	// they only narrow what is asked for, so that an authorizer may pass over them.
	Fields fields.Requirements
	Labels labels.Requirements
}

// nodeUser begins the user names of nodes.
const nodeUser = "system:node:"

// Node is the node that the user is; is tells a node whose name is missing from other users.
func (u *User) Node() (name string, is bool) {
	name, is = strings.CutPrefix(u.Name, nodeUser)
	if !is || !slices.Contains(u.Groups, "system:nodes") {
		return "", false
	}
	return name, true
}
