package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/diff"
	kubelet "k8s.io/kubelet/pkg/apis"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/registry"
)

// nodeRestriction lets a node write only what is its own: its Node object without labels and taints that steer pods,
// mirror pods bound to it, the status of its pods and of their claims, tokens for them, its lease, CSI node and resource
// slices. The authorizer Node asks whether a node may do a thing at all; here is looked at what it does.
func nodeRestriction(host Host) (Plugin, error) {
	r := restriction{host.Objects, host.Authorizer}
	return Plugin{Operations: []Operation{Create, Update, Delete}, Mutate: func(ctx context.Context, a *Attributes) error {
		node, is := a.User.Node()
		switch {
		case !is:
			return nil
		case node == "":
			return a.forbid("could not determine node from user %q", a.User.Name)
		}
		return r.admit(ctx, node, a)
	}}, nil
}

// restriction is what the plugin goes by.
type restriction struct {
	objects    Objects
	authorizer registry.Authorizer
}

func (r restriction) admit(ctx context.Context, node string, a *Attributes) error {
	switch a.Resource.GroupResource() {
	case schema.GroupResource{Resource: "pods"}:
		return r.admitPods(ctx, node, a)
	case schema.GroupResource{Resource: "nodes"}:
		return admitNode(node, a)
	case schema.GroupResource{Resource: "persistentvolumeclaims"}:
		return admitClaim(node, a)
	case schema.GroupResource{Resource: "serviceaccounts"}:
		return r.admitToken(ctx, node, a)
	case schema.GroupResource{Group: certificatesv1.GroupName, Resource: "podcertificaterequests"}:
		return a.forbid("PodCertificateRequest feature gate is disabled")
	case schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"}:
		return admitLease(node, a)
	case schema.GroupResource{Group: storagev1.GroupName, Resource: "csinodes"}:
		return ownNameOnly(node, a, "can only access CSINode with the same name as the requesting node")
	case schema.GroupResource{Group: resourcev1.GroupName, Resource: "resourceslices"}:
		return admitSlice(node, a)
	case schema.GroupResource{Group: certificatesv1.GroupName, Resource: "certificatesigningrequests"}:
		return admitCSR(node, a)
	}
	return nil
}

// requestedName is the object's name, also of one that is being created.
func (a *Attributes) requestedName() string {
	if a.Name == "" && a.Object != nil {
		return a.Object.GetName()
	}
	return a.Name
}

func ownNameOnly(node string, a *Attributes, otherwise string) error {
	if a.requestedName() != node {
		return a.forbid("%s", otherwise)
	}
	return nil
}

func admitLease(node string, a *Attributes) error {
	if a.Namespace != corev1.NamespaceNodeLease {
		return a.forbid("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	}
	return ownNameOnly(node, a, "can only access node lease with the same name as the requesting node")
}

// admitSlice looks at creation, and at each slice that goes with its collection; the rest is for the authorizer.
func admitSlice(node string, a *Attributes) error {
	slice, verb := a.Object, "create"
	switch a.Operation {
	case Update:
		return nil
	case Delete:
		slice, verb = a.Old, "delete"
	}
	if s, ok := slice.(*resourcev1.ResourceSlice); !ok || ptr.Deref(s.Spec.NodeName, "") != node {
		return a.forbid("can only %s ResourceSlice with the same NodeName as the requesting node", verb)
	}
	return nil
}

// admitCSR keeps a node from asking for another node's certificate.
func admitCSR(node string, a *Attributes) error {
	csr, ok := a.Object.(*certificatesv1.CertificateSigningRequest)
	if !ok || a.Operation != Create {
		return nil
	}
	if s := csr.Spec.SignerName; s != certificatesv1.KubeletServingSignerName && s != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	request, err := parseCSR(csr.Spec.Request)
	if err != nil {
		return a.forbid("unable to parse csr: %w", err)
	}
	if request.Subject.CommonName != "system:node:"+node {
		return a.forbid("can only create a node CSR with CN=system:node:%s", node)
	}
	return nil
}

// admitClaim lets the node report on a claim's size, and nothing else.
func admitClaim(node string, a *Attributes) error {
	if a.Subresource != "status" {
		return a.forbid("may only update PVC status")
	}
	claim, ok := a.Object.(*corev1.PersistentVolumeClaim)
	if !ok || a.Operation != Update {
		return a.forbid("unexpected operation %q", a.Operation)
	}
	was, is := a.Old.DeepCopyObject().(*corev1.PersistentVolumeClaim), claim.DeepCopy()
	for _, c := range []*corev1.PersistentVolumeClaim{was, is} {
		c.ResourceVersion, c.ManagedFields = "", nil
		c.Status.Capacity, c.Status.Conditions = nil, nil
		c.Status.AllocatedResources, c.Status.AllocatedResourceStatuses = nil, nil
	}
	if !equality.Semantic.DeepEqual(was, is) {
		return a.forbid("node %q is not allowed to update fields other than status.quantity and status.conditions: %v", node, diff.Diff(was, is))
	}
	return nil
}

// admitNode guards what steers pods to a node, or away from it.
func admitNode(node string, a *Attributes) error {
	if name := a.requestedName(); name != node {
		return a.forbid("node %q is not allowed to modify node %q", node, name)
	}
	is, _ := a.Object.(*corev1.Node)
	switch a.Operation {
	case Create:
		if is.Spec.ConfigSource != nil {
			return a.forbid("node %q is not allowed to create pods with a non-nil configSource", node)
		}
		if labels := guardedLabels(is.Labels, nil); len(labels) > 0 {
			return a.forbid("node %q is not allowed to set the following labels: %s", node, strings.Join(labels, ", "))
		}
	case Update:
		was := a.Old.(*corev1.Node)
		switch {
		case is.Spec.ConfigSource != nil && !equality.Semantic.DeepEqual(is.Spec.ConfigSource, was.Spec.ConfigSource):
			return a.forbid("node %q is not allowed to update configSource to a new non-nil configSource", node)
		case !equality.Semantic.DeepEqual(is.Spec.Taints, was.Spec.Taints):
			return a.forbid("node %q is not allowed to modify taints", node)
		case !equality.Semantic.DeepEqual(is.OwnerReferences, was.OwnerReferences):
			return a.forbid("node %q is not allowed to modify ownerReferences", node)
		}
		if labels := guardedLabels(is.Labels, was.Labels); len(labels) > 0 {
			return a.forbid("is not allowed to modify labels: %s", strings.Join(labels, ", "))
		}
	}
	return nil
}

// guardedLabels are the changed labels that are not a node's to set, in order: those made for keeping it out, and those
// of Kubernetes that a kubelet does not know.
func guardedLabels(is, was map[string]string) []string {
	keys := maps.Clone(was)
	if keys == nil {
		keys = map[string]string{}
	}
	maps.Copy(keys, is)
	var guarded []string
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		before, had := was[key]
		now, has := is[key]
		if (had != has || before != now) && guardedLabel(key) {
			guarded = append(guarded, key)
		}
	}
	return guarded
}

func guardedLabel(key string) bool {
	domain, _, prefixed := strings.Cut(key, "/")
	if !prefixed {
		return false
	}
	of := func(parent string) bool { return domain == parent || strings.HasSuffix(domain, "."+parent) }
	return of(corev1.LabelNamespaceNodeRestriction) || (of("kubernetes.io") || of("k8s.io")) && !kubelet.IsKubeletLabel(key)
}

// find reads an object. One that is missing is named by its singular, as client-go's listers name it.
func find[T registry.Object](ctx context.Context, objects Objects, group, plural, namespace, name string) (T, error) {
	var none T
	found, err := objects.Get(ctx, group, plural, namespace, name)
	if apierrors.IsNotFound(err) {
		return none, apierrors.NewNotFound(schema.GroupResource{Group: group, Resource: strings.TrimSuffix(plural, "s")}, name)
	}
	if err != nil {
		return none, err
	}
	object, ok := found.(T)
	if !ok {
		return none, fmt.Errorf("unexpected type %T", found)
	}
	return object, nil
}
