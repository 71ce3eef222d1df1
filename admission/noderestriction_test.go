package admission

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/registry"
)

// shelf is a cluster's objects by plural, namespace and name.
type shelf map[string]registry.Object

func (s shelf) Get(_ context.Context, group, plural, namespace, name string) (registry.Object, error) {
	if o, ok := s[plural+" "+namespace+"/"+name]; ok {
		return o, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Group: group, Resource: plural}, name)
}

func (s shelf) Labels(ctx context.Context, group, plural, namespace, name string) (labels.Labels, error) {
	o, err := s.Get(ctx, group, plural, namespace, name)
	if err != nil {
		return nil, err
	}
	return labels.Set(o.GetLabels()), nil
}

func (s shelf) List(context.Context, string, string, string) ([]registry.Object, error) {
	return nil, nil
}

func (s shelf) Follow(context.Context, string, string, func(old, now registry.Object)) error {
	return nil
}

// allowing allows what it names, as VERB GROUP/RESOURCE[/SUB] [NAMESPACE/]NAME, and nothing else.
type allowing []string

func (l allowing) Authorize(_ context.Context, a *registry.Attributes) (registry.Decision, string, error) {
	text := a.Verb + " " + a.Group + "/" + a.Resource
	if a.Subresource != "" {
		text += "/" + a.Subresource
	}
	text += " "
	if a.Namespace != "" {
		text += a.Namespace + "/"
	}
	for _, one := range l {
		if one == text+a.Name {
			return registry.Allow, "", nil
		}
	}
	return registry.NoOpinion, "no rule", nil
}

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

func inNS(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name)}
}

// write is a request of the node n1 in one line: OPERATION GROUP/RESOURCE[/SUB].
func write(t *testing.T, text string, object, old registry.Object) *Attributes {
	t.Helper()
	operation, what, _ := strings.Cut(text, " ")
	group, plural, _ := strings.Cut(what, "/")
	plural, sub, _ := strings.Cut(plural, "/")
	a := &Attributes{Operation: Operation(operation), Resource: schema.GroupVersionResource{Group: group, Version: "v1", Resource: plural},
		Subresource: sub, Object: object, Old: old, User: registry.User{Name: "system:node:n1", Groups: []string{"system:nodes"}}}
	if old != nil {
		a.Name, a.Namespace = old.GetName(), old.GetNamespace()
	} else {
		a.Namespace = object.GetNamespace()
	}
	if sub != "" && old == nil {
		a.Name = object.GetName()
	}
	return a
}

func mirrorPod(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: inNS("mirror"), Spec: corev1.PodSpec{NodeName: "n1"}}
	p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n1", UID: "uid-n1", Controller: ptr.To(true)}}
	change(p)
	return p
}

func podOn(node string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: inNS("p-" + node), Spec: corev1.PodSpec{NodeName: node, ServiceAccountName: "robot"}}
	change(p)
	return p
}

func node(name string, labels map[string]string, change func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	change(n)
	return n
}

func claim(change func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: inNS("data"), Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv"}}
	change(c)
	return c
}

func token(pod, uid string, audiences ...string) *authenticationv1.TokenRequest {
	t := &authenticationv1.TokenRequest{ObjectMeta: inNS("robot"), Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
	if pod != "" {
		t.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod, UID: types.UID(uid)}
	}
	return t
}

func certificateRequest(t *testing.T, signer, name string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{ObjectMeta: named("c"), Spec: certificatesv1.CertificateSigningRequestSpec{
		SignerName: signer, Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})}}
}

func asIs[T any](T) {}

func TestANodeWritesOnlyWhatIsItsOwn(t *testing.T) {
	driver := &storagev1.CSIDriver{ObjectMeta: named("driver"), Spec: storagev1.CSIDriverSpec{TokenRequests: []storagev1.TokenRequest{{Audience: "vault"}}}}
	running := podOn("n1", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{
			{Name: "t", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "bank"}}}}}},
			{Name: "d", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
		}
	})
	objects := shelf{
		"nodes /n1": node("n1", nil, func(n *corev1.Node) { n.UID = "uid-n1" }), "pods ns/p-n1": running, "pods ns/p-n2": podOn("n2", asIs),
		"persistentvolumeclaims ns/data": claim(asIs), "csidrivers /driver": driver,
		"persistentvolumes /pv": &corev1.PersistentVolume{ObjectMeta: named("pv"), Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "driver"}}}},
	}
	plugin, err := nodeRestriction(Host{Objects: objects, Authorizer: allowing{"request-serviceaccounts-token-audience /friend ns/robot"}})
	if err != nil {
		t.Fatal(err)
	}
	slice := func(node string) *resourcev1.ResourceSlice {
		return &resourcev1.ResourceSlice{ObjectMeta: named("s"), Spec: resourcev1.ResourceSliceSpec{NodeName: &node}}
	}
	lease := func(namespace, name string) *coordinationv1.Lease {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	n1 := node("n1", map[string]string{"a": "b"}, asIs)
	for _, c := range []struct {
		write       string
		object, old registry.Object
		want        string // the end of the refusal; empty if there is none
	}{
		{"CREATE /pods", mirrorPod(asIs), nil, ""},
		{"CREATE /pods", podOn("n1", asIs), nil, `pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods`},
		{"CREATE /pods", mirrorPod(func(p *corev1.Pod) { p.Spec.NodeName = "n2" }), nil, `node "n1" can only create pods with spec.nodeName set to itself`},
		{"CREATE /pods", mirrorPod(func(p *corev1.Pod) { p.OwnerReferences = nil }), nil, `node "n1" can only create pods with an owner reference set to itself`},
		{"CREATE /pods", mirrorPod(func(p *corev1.Pod) { p.OwnerReferences[0].Controller = nil }), nil, `node "n1" can only create pods with a controller owner reference set to itself`},
		{"CREATE /pods", mirrorPod(func(p *corev1.Pod) { p.OwnerReferences[0].BlockOwnerDeletion = ptr.To(true) }), nil, `node "n1" must not set blockOwnerDeletion on an owner reference`},
		{"CREATE /pods", mirrorPod(func(p *corev1.Pod) { p.OwnerReferences[0].UID = "old" }), nil, `node n1 UID mismatch: expected old got uid-n1`},
		{"CREATE /pods", mirrorPod(func(p *corev1.Pod) { p.Spec.ServiceAccountName = "robot" }), nil, `node "n1" can not create pods that reference serviceaccounts`},
		{"CREATE /pods", mirrorPod(func(p *corev1.Pod) { p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "s"}} }), nil, `node "n1" can not create pods that reference secrets`},
		{"CREATE /pods", mirrorPod(func(p *corev1.Pod) { p.Spec.Volumes = running.Spec.Volumes[:1] }), nil, `node "n1" can not create pods that reference serviceaccounts (via projected volumes)`},
		{"CREATE /pods", mirrorPod(func(p *corev1.Pod) { p.Spec.Volumes = []corev1.Volume{{Name: "v"}} }), nil, `error checking mirror pod for API references: unknown volume type for volume  "v"`},
		{"UPDATE /pods", running, running, `unexpected operation "UPDATE", node "n1" can only create and delete mirror pods`},
		{"DELETE /pods", nil, running, ""},
		{"DELETE /pods", nil, podOn("n2", asIs), `node "n1" can only delete pods with spec.nodeName set to itself`},
		{"CREATE /pods/binding", running, nil, `unexpected pod subresource "binding", only 'status' and 'eviction' are allowed`},
		{"UPDATE /pods/status", running, running, ""},
		{"UPDATE /pods/status", podOn("n2", asIs), podOn("n2", asIs), `node "n1" can only update pod status for pods with spec.nodeName set to itself`},
		{"UPDATE /pods/status", podOn("n1", func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b"} }), running, `node "n1" cannot update labels through pod status`},
		{"UPDATE /pods/status", podOn("n1", func(p *corev1.Pod) { p.Status.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "c"}} }), running, `node "n1" cannot update resource claim statues`},
		{"UPDATE /pods/status", podOn("n1", func(p *corev1.Pod) { p.Status.ExtendedResourceClaimStatus = &corev1.PodExtendedResourceClaimStatus{} }), running, `node "n1" cannot update extended resource claim status`},
		{"CREATE /pods/eviction", &policyv1.Eviction{ObjectMeta: inNS("p-n1")}, nil, ""},
		{"CREATE /pods/eviction", &policyv1.Eviction{ObjectMeta: inNS("p-n2")}, nil, `node n1 can only evict pods with spec.nodeName set to itself`},
		{"CREATE /pods/eviction", &policyv1.Eviction{ObjectMeta: inNS("none")}, nil, `pod "none" not found`},
		{"CREATE /nodes", node("n2", nil, asIs), nil, `node "n1" is not allowed to modify node "n2"`},
		{"CREATE /nodes", node("n1", map[string]string{"kubernetes.io/os": "linux", "own": "x", "kubelet.kubernetes.io/x": "y"}, asIs), nil, ""},
		{"CREATE /nodes", node("n1", map[string]string{"x.node-restriction.kubernetes.io/a": "", "a.k8s.io/b": "", "k8s.io": ""}, asIs), nil,
			`node "n1" is not allowed to set the following labels: a.k8s.io/b, x.node-restriction.kubernetes.io/a`},
		{"UPDATE /nodes", node("n1", nil, asIs), n1, ""},
		{"UPDATE /nodes", node("n1", nil, asIs), node("n1", map[string]string{"node-role.kubernetes.io/master": ""}, asIs), `is not allowed to modify labels: node-role.kubernetes.io/master`},
		{"UPDATE /nodes/status", node("n1", nil, func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "a"}} }), n1, `node "n1" is not allowed to modify taints`},
		{"UPDATE /nodes", node("n1", nil, func(n *corev1.Node) { n.OwnerReferences = []metav1.OwnerReference{{}} }), n1, `node "n1" is not allowed to modify ownerReferences`},
		{"DELETE /nodes", nil, node("n2", nil, asIs), `node "n1" is not allowed to modify node "n2"`},
		{"UPDATE /persistentvolumeclaims", claim(asIs), claim(asIs), "may only update PVC status"},
		{"UPDATE /persistentvolumeclaims/status", claim(func(c *corev1.PersistentVolumeClaim) {
			c.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
		}), claim(asIs), ""},
		{"UPDATE /persistentvolumeclaims/status", claim(func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimBound }), claim(asIs), "+  \"phase\": \"Bound\"\n+ }\n }\n"},
		{"CREATE coordination.k8s.io/leases", lease("kube-node-lease", "n1"), nil, ""},
		{"CREATE coordination.k8s.io/leases", lease("kube-node-lease", "n2"), nil, "can only access node lease with the same name as the requesting node"},
		{"CREATE coordination.k8s.io/leases", lease("default", "n1"), nil, `can only access leases in the "kube-node-lease" system namespace`},
		{"CREATE storage.k8s.io/csinodes", &storagev1.CSINode{ObjectMeta: named("n2")}, nil, "can only access CSINode with the same name as the requesting node"},
		{"CREATE resource.k8s.io/resourceslices", slice("n1"), nil, ""},
		{"CREATE resource.k8s.io/resourceslices", slice("n2"), nil, "can only create ResourceSlice with the same NodeName as the requesting node"},
		{"DELETE resource.k8s.io/resourceslices", nil, slice("n2"), "can only delete ResourceSlice with the same NodeName as the requesting node"},
		{"CREATE certificates.k8s.io/certificatesigningrequests", certificateRequest(t, certificatesv1.KubeletServingSignerName, "system:node:n1"), nil, ""},
		{"CREATE certificates.k8s.io/certificatesigningrequests", certificateRequest(t, certificatesv1.KubeletServingSignerName, "system:node:n2"), nil, "can only create a node CSR with CN=system:node:n1"},
		{"CREATE certificates.k8s.io/certificatesigningrequests", certificateRequest(t, "example.com/any", "anybody"), nil, ""},
		{"CREATE /serviceaccounts/token", token("", ""), nil, "node requested token not bound to a pod"},
		{"CREATE /serviceaccounts/token", token("p-n1", ""), nil, "node requested token with a pod binding without a uid"},
		{"CREATE /serviceaccounts/token", token("p-n1", "old"), nil, "the UID in the bound object reference (old) does not match the UID in record. The object might have been deleted and then recreated"},
		{"CREATE /serviceaccounts/token", token("p-n2", "uid-p-n2"), nil, "node requested token bound to a pod scheduled on a different node"},
		{"CREATE /serviceaccounts/token", token("p-n1", "uid-p-n1", "bank"), nil, ""},
		{"CREATE /serviceaccounts/token", token("p-n1", "uid-p-n1", "vault"), nil, ""},
		{"CREATE /serviceaccounts/token", token("p-n1", "uid-p-n1", "friend"), nil, ""},
		{"CREATE /serviceaccounts/token", token("p-n1", "uid-p-n1"), nil, `audience "" not found in pod spec volume, system:node:n1 is not authorized to request tokens for this audience`},
		{"CREATE /serviceaccounts/token", token("p-n1", "uid-p-n1", "a", "b"), nil, "node may only request 0 or 1 audiences"},
		{"CREATE /configmaps", &corev1.ConfigMap{ObjectMeta: inNS("any")}, nil, ""},
	} {
		a := write(t, c.write, c.object, c.old)
		err := plugin.Mutate(t.Context(), a)
		if got := ending(err); !strings.HasSuffix(got, c.want) || (c.want == "") != (err == nil) {
			t.Errorf("%s %s: %v\nwant ... %s", c.write, a.objectName(), err, c.want)
		}
	}
}

func ending(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestOthersAreNotRestrictedAsNodes(t *testing.T) {
	plugin, err := nodeRestriction(Host{})
	if err != nil {
		t.Fatal(err)
	}
	a := write(t, "CREATE /nodes", node("n2", nil, asIs), nil)
	a.User = registry.User{Name: "system:node:n1", Groups: []string{"others"}}
	if err := plugin.Mutate(t.Context(), a); err != nil {
		t.Error(err)
	}
	a.User = registry.User{Name: "system:node:", Groups: []string{"system:nodes"}}
	if err := plugin.Mutate(t.Context(), a); ending(err) != `nodes "n2" is forbidden: could not determine node from user "system:node:"` {
		t.Error(err)
	}
}

func TestSignersHaveTheirOwnApproversAndIssuers(t *testing.T) {
	csr := certificateRequest(t, "example.com/signer", "x")
	issued := csr.DeepCopy()
	issued.Status.Certificate = []byte("c")
	for name, c := range map[string]struct {
		plugin func(Host) (Plugin, error)
		write  string
		object registry.Object
		may    allowing
		want   string
	}{
		"approval for one signer":       {certificateApproval, "UPDATE certificates.k8s.io/certificatesigningrequests/approval", csr, allowing{"approve certificates.k8s.io/signers example.com/signer"}, ""},
		"approval for a domain":         {certificateApproval, "UPDATE certificates.k8s.io/certificatesigningrequests/approval", csr, allowing{"approve certificates.k8s.io/signers example.com/*"}, ""},
		"approval by nobody":            {certificateApproval, "UPDATE certificates.k8s.io/certificatesigningrequests/approval", csr, allowing{"sign certificates.k8s.io/signers example.com/signer"}, `user not permitted to approve requests with signerName "example.com/signer"`},
		"other doors are not asked for": {certificateApproval, "UPDATE certificates.k8s.io/certificatesigningrequests", csr, nil, ""},
		"issuing":                       {certificateSigning, "UPDATE certificates.k8s.io/certificatesigningrequests/status", issued, allowing{"sign certificates.k8s.io/signers example.com/signer"}, ""},
		"issuing by nobody":             {certificateSigning, "UPDATE certificates.k8s.io/certificatesigningrequests/status", issued, nil, `user not permitted to sign requests with signerName "example.com/signer"`},
		"a status that issues nothing":  {certificateSigning, "UPDATE certificates.k8s.io/certificatesigningrequests/status", csr, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := c.plugin(Host{Authorizer: c.may})
			if err != nil {
				t.Fatal(err)
			}
			err = p.Validate(t.Context(), write(t, c.write, c.object, csr))
			if !strings.HasSuffix(ending(err), c.want) || (c.want == "") != (err == nil) {
				t.Errorf("%v, want ... %s", err, c.want)
			}
		})
	}
}

func TestOwnersNeedRights(t *testing.T) {
	owned := func(refs ...metav1.OwnerReference) *corev1.Pod {
		p := podOn("n1", asIs)
		p.OwnerReferences = refs
		return p
	}
	plain := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "c", UID: "u"}
	blocking := plain
	blocking.BlockOwnerDeletion = ptr.To(true)
	unknown := metav1.OwnerReference{APIVersion: "v1", Kind: "Ship", Name: "s", UID: "s", BlockOwnerDeletion: ptr.To(true)}
	rows := func() []*registry.Resource {
		return []*registry.Resource{{Plural: "configmaps", Kind: "ConfigMap", Namespaced: true, Versions: []registry.Version{{Name: "v1"}}}}
	}
	mayDelete, mayFinalize := "delete /pods ns/p-n1", "update /configmaps/finalizers ns/c"
	for name, c := range map[string]struct {
		write   string
		is, was *corev1.Pod
		may     allowing
		want    string
	}{
		"who creates sets owners":               {"CREATE /pods", owned(plain), nil, nil, ""},
		"who updates needs the right to delete": {"UPDATE /pods", owned(plain), owned(), nil, "cannot set an ownerRef on a resource you can't delete: no rule, <nil>"},
		"and has it":                            {"UPDATE /pods", owned(plain), owned(), allowing{mayDelete}, ""},
		"other changes need nothing":            {"UPDATE /pods", owned(plain), owned(plain), nil, ""},
		"a status cannot change owners":         {"UPDATE /pods/status", owned(plain), owned(), nil, ""},
		"blocking needs the owner's finalizers": {"CREATE /pods", owned(blocking), nil, nil, "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: no rule, <nil>"},
		"and has them":                          {"CREATE /pods", owned(blocking), nil, allowing{mayFinalize}, ""},
		"or all":                                {"CREATE /pods", owned(blocking), nil, allowing{"update */*/finalizers *"}, ""},
		"what blocked before is not asked for":  {"UPDATE /pods", owned(blocking, plain), owned(blocking), allowing{mayDelete}, ""},
		"beginning to block is":                 {"UPDATE /pods", owned(blocking), owned(plain), allowing{mayDelete}, "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: no rule, <nil>"},
		"an owner of an unknown kind":           {"CREATE /pods", owned(unknown), nil, nil, `cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion v1 Kind Ship: no matches for kind "Ship" in version "v1"`},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := ownerReferences(Host{Authorizer: c.may, Rows: rows})
			if err != nil {
				t.Fatal(err)
			}
			var old registry.Object
			if c.was != nil {
				old = c.was
			}
			err = p.Validate(t.Context(), write(t, c.write, c.is, old))
			if !strings.HasSuffix(ending(err), c.want) || (c.want == "") != (err == nil) {
				t.Errorf("%v, want ... %s", err, c.want)
			}
		})
	}
}
