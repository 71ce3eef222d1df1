package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	operators "k8s.io/apimachinery/pkg/selection"

	"github.com/knarr-dev/knarr/registry"
)

// Node is the authorizer of nodes. What a node may read follows from the pods that are bound to it: their secrets,
// config maps, claims, and what those lead to, one object at a time. Its own objects (node, lease, CSI node, resource
// slices) it may write; the admission plugin NodeRestriction sees to it that it writes no others, where the name is not
// known yet. The rest is the same for all nodes, and stands in the role system:node.
//
// The reach of nodes is followed from the first question of a node on: a cluster without nodes, and a start over many
// pods, do not pay for it.
type Node struct {
	same    map[grant]bool
	objects registry.Objects
	log     *slog.Logger

	begin    sync.Once
	reach    *reach
	followed []schema.GroupResource // what it goes by
}

// settler is what Objects may be able to: to wait until followers know what this server has written.
type settler interface {
	Settle(ctx context.Context, group, plural string)
}

// grant is a right that all nodes have.
type grant struct{ verb, group, resource, subresource string }

// NewNode decides by these objects. What of them cannot be read yet is logged, and gives no rights yet.
func NewNode(objects registry.Objects, log *slog.Logger) (*Node, error) {
	rules, err := registry.NodeRules()
	if err != nil {
		return nil, err
	}
	n := &Node{reach: newReach(), same: map[grant]bool{}, objects: objects, log: log}
	for _, r := range rules {
		for _, verb := range r.Verbs {
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					plural, sub, _ := strings.Cut(resource, "/")
					n.same[grant{verb, group, plural, sub}] = true
				}
			}
		}
	}
	return n, nil
}

// start begins to follow. Whoever comes first is the one who waits.
func (n *Node) start(ctx context.Context) {
	n.begin.Do(func() { n.followed = n.reach.follow(context.WithoutCancel(ctx), n.objects, n.log) })
}

// settle waits until the reach is of what this server has written.
func (n *Node) settle(ctx context.Context) {
	if s, ok := n.objects.(settler); ok {
		for _, gr := range n.followed {
			s.Settle(ctx, gr.Group, gr.Resource)
		}
	}
}

// Authorize decides for nodes and has no opinion of others. A node is refused nothing because a pod has been bound to it
// this very moment.
func (n *Node) Authorize(ctx context.Context, a *registry.Attributes) (registry.Decision, string, error) {
	node, is := a.User.Node()
	switch {
	case !is:
		return registry.NoOpinion, "", nil
	case node == "":
		return registry.NoOpinion, fmt.Sprintf("unknown node for user %q", a.User.Name), nil
	}
	n.start(ctx)
	allowed, reason := n.decide(node, a)
	if !allowed && reason != "" {
		n.settle(ctx)
		allowed, reason = n.decide(node, a)
	}
	if !allowed {
		return registry.NoOpinion, reason, nil
	}
	return registry.Allow, "", nil
}

// Rules cannot list what changes with every pod.
func (n *Node) Rules(_ context.Context, user registry.User, _ string) ([]rbacv1.PolicyRule, bool, error) {
	if _, is := user.Node(); is {
		return nil, true, errors.New("node authorizer does not support user rule resolution")
	}
	return nil, false, nil
}

// decide tells what may not be done with a reason, or with none where nodes have no business at all.
func (n *Node) decide(node string, a *registry.Attributes) (allowed bool, reason string) {
	if !a.ResourceRequest {
		return false, ""
	}
	switch a.Group + "/" + a.Resource {
	case "/secrets", "/configmaps":
		return n.read(node, a)
	case "/persistentvolumeclaims":
		if a.Subresource == "status" {
			return n.updateStatus(node, a)
		}
		return n.get(node, a)
	case "/persistentvolumes", "resource.k8s.io/resourceclaims", "storage.k8s.io/volumeattachments":
		return n.get(node, a)
	case "/serviceaccounts":
		return n.serviceAccount(node, a)
	case "coordination.k8s.io/leases":
		return ownLease(node, a)
	case "storage.k8s.io/csinodes":
		return ownCSINode(node, a)
	case "resource.k8s.io/resourceslices":
		return n.resourceSlice(node, a)
	case "/nodes":
		return nodeObject(node, a)
	case "/pods":
		return n.pod(node, a)
	case "certificates.k8s.io/podcertificaterequests":
		return false, ""
	}
	return n.same[grant{a.Verb, a.Group, a.Resource, a.Subresource}], ""
}

// related allows what belongs to a pod on the node.
func (n *Node) related(node string, a *registry.Attributes) (bool, string) {
	switch {
	case a.Name == "":
		return false, "No Object name found"
	case !n.reach.has(node, nameOf(a.Resource, a.Namespace, a.Name)):
		return false, fmt.Sprintf("no relationship found between node '%s' and this object", node)
	}
	return true, ""
}

func (n *Node) get(node string, a *registry.Attributes) (bool, string) {
	switch {
	case a.Verb != "get":
		return false, "can only get individual resources of this type"
	case a.Subresource != "":
		return false, "cannot get subresource"
	}
	return n.related(node, a)
}

// read allows lists and watches too, of one object by its name.
func (n *Node) read(node string, a *registry.Attributes) (bool, string) {
	switch {
	case a.Verb != "get" && a.Verb != "list" && a.Verb != "watch":
		return false, "can only read resources of this type"
	case a.Subresource != "":
		return false, "cannot read subresource"
	case a.Namespace == "":
		return false, "can only read namespaced object of this type"
	}
	return n.related(node, a)
}

func (n *Node) updateStatus(node string, a *registry.Attributes) (bool, string) {
	if a.Verb != "update" && a.Verb != "patch" {
		return false, "can only get/update/patch this type"
	}
	return n.related(node, a)
}

func (n *Node) serviceAccount(node string, a *registry.Attributes) (bool, string) {
	switch {
	case a.Verb == "get" && a.Subresource == "":
		return n.read(node, a)
	case a.Verb != "create" || a.Name == "":
		return false, "can only create tokens for individual service accounts"
	case a.Subresource != "token":
		return false, "can only create token subresource of serviceaccount"
	}
	return n.related(node, a)
}

// ownVerbs are what a node may do to objects that bear its name.
func ownVerbs(verb string) bool {
	switch verb {
	case "get", "create", "update", "patch", "delete":
		return true
	}
	return false
}

func ownLease(node string, a *registry.Attributes) (bool, string) {
	switch {
	case !ownVerbs(a.Verb):
		return false, "can only get, create, update, patch, or delete a node lease"
	case a.Namespace != "kube-node-lease":
		return false, `can only access leases in the "kube-node-lease" system namespace`
	case a.Verb != "create" && a.Name != node:
		return false, "can only access node lease with the same name as the requesting node"
	}
	return true, ""
}

func ownCSINode(node string, a *registry.Attributes) (bool, string) {
	switch {
	case !ownVerbs(a.Verb):
		return false, "can only get, create, update, patch, or delete a CSINode"
	case a.Subresource != "":
		return false, "cannot authorize CSINode subresources"
	case a.Verb != "create" && a.Name != node:
		return false, "can only access CSINode with the same name as the requesting node"
	}
	return true, ""
}

func (n *Node) resourceSlice(node string, a *registry.Attributes) (bool, string) {
	if a.Subresource != "" {
		return false, "cannot authorize ResourceSlice subresources"
	}
	switch a.Verb {
	case "create":
		return true, ""
	case "get", "update", "patch", "delete":
		return n.related(node, a)
	case "watch", "list", "deletecollection":
		if selects(a, "spec.nodeName", node) {
			return true, ""
		}
		return false, "can only list/watch/deletecollection resourceslices with nodeName field selector"
	}
	return false, "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection"
}

// nodeObject compares names, for a node reads its object before there is one.
func nodeObject(node string, a *registry.Attributes) (bool, string) {
	switch door := a.Subresource + "/" + a.Verb; door {
	case "/create", "/update", "/patch", "status/update", "status/patch":
		return true, ""
	case "/get", "/list", "/watch":
		switch a.Name {
		case node:
			return true, ""
		case "":
			return false, fmt.Sprintf("node '%s' cannot read all nodes, only its own Node object", node)
		}
		return false, fmt.Sprintf("node '%s' cannot read '%s', only its own Node object", node, a.Name)
	}
	return false, ""
}

func (n *Node) pod(node string, a *registry.Attributes) (bool, string) {
	switch door := a.Subresource + "/" + a.Verb; door {
	case "/get":
		return n.related(node, a)
	case "/list", "/watch":
		switch {
		case selects(a, "spec.nodeName", node):
			return true, ""
		case a.Name != "":
			return n.related(node, a)
		}
		return false, "can only list/watch pods with spec.nodeName field selector"
	case "/create", "/delete", "status/update", "status/patch", "eviction/create": // NodeRestriction knows whose pod it is
		return true, ""
	}
	return false, ""
}

// selects reports whether only objects with the value are asked for.
func selects(a *registry.Attributes, field, value string) bool {
	for _, term := range a.Fields {
		if term.Field == field && term.Operator == operators.Equals && term.Value == value {
			return true
		}
	}
	return false
}
