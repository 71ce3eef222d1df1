package auth

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/registry"
)

// followed is a cluster of objects that followers are told of, by plural.
type followed map[string][]func(old, now registry.Object)

func (f followed) Get(_ context.Context, group, plural, _, name string) (registry.Object, error) {
	return nil, apierrors.NewNotFound(schema.GroupResource{Group: group, Resource: plural}, name)
}

func (f followed) Labels(_ context.Context, group, plural, _, name string) (labels.Labels, error) {
	return nil, apierrors.NewNotFound(schema.GroupResource{Group: group, Resource: plural}, name)
}

func (f followed) List(context.Context, string, string, string) ([]registry.Object, error) {
	return nil, nil
}

func (f followed) Follow(_ context.Context, _, plural string, changed func(old, now registry.Object)) error {
	f[plural] = append(f[plural], changed)
	return nil
}

func (f followed) tell(plural string, old, now registry.Object) {
	for _, changed := range f[plural] {
		changed(old, now)
	}
}

func nodeUser(name string) registry.User {
	return registry.User{Name: "system:node:" + name, Groups: []string{"system:nodes", authenticatedGroup}}
}

func boundPod(node, name string, spec corev1.PodSpec) *corev1.Pod {
	spec.NodeName = node
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name)}, Spec: spec}
}

// cluster is a node authorizer with one pod on each of two nodes, and what they use.
func cluster(t *testing.T) (followed, *Node) {
	t.Helper()
	objects := followed{}
	n, err := NewNode(objects, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	n.start(t.Context())
	objects.tell("pods", nil, boundPod("n1", "p1", corev1.PodSpec{
		ServiceAccountName: "robot",
		ImagePullSecrets:   []corev1.LocalObjectReference{{Name: "pull"}},
		InitContainers:     []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "env"}}}}}},
		Volumes: []corev1.Volume{
			{Name: "m", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "map"}}}},
			{Name: "d", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
			{Name: "tmp", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}},
		},
		ResourceClaims: []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: ptr.To("gpu")}},
	}))
	objects.tell("pods", nil, boundPod("n2", "p2", corev1.PodSpec{ServiceAccountName: "other"}))
	mirror := boundPod("n2", "mirror", corev1.PodSpec{ImagePullSecrets: []corev1.LocalObjectReference{{Name: "stolen"}}})
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	objects.tell("pods", nil, mirror)
	objects.tell("persistentvolumes", nil, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: corev1.PersistentVolumeSpec{
		ClaimRef: &corev1.ObjectReference{Namespace: "ns", Name: "data"},
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
			NodeStageSecretRef:         &corev1.SecretReference{Namespace: "storage", Name: "stage"},
			ControllerPublishSecretRef: &corev1.SecretReference{Namespace: "storage", Name: "publish"},
		}},
	}})
	objects.tell("persistentvolumes", nil, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "free"}})
	objects.tell("volumeattachments", nil, &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: "va"}, Spec: storagev1.VolumeAttachmentSpec{NodeName: "n1"}})
	objects.tell("resourceslices", nil, &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: "slice"}, Spec: resourcev1.ResourceSliceSpec{NodeName: ptr.To("n1")}})
	return objects, n
}

// wish is a request in one line: VERB GROUP/RESOURCE[/SUB] [NAMESPACE/]NAME [FIELD=VALUE].
func wish(t *testing.T, user registry.User, text string) *registry.Attributes {
	t.Helper()
	words := append(strings.Fields(text), "", "")
	group, resource, _ := strings.Cut(words[1], "/")
	resource, sub, _ := strings.Cut(resource, "/")
	a := &registry.Attributes{User: user, Verb: words[0], ResourceRequest: true, Group: group, Resource: resource, Subresource: sub, Name: words[2]}
	if namespace, name, ok := strings.Cut(words[2], "/"); ok {
		a.Namespace, a.Name = namespace, name
	}
	terms, err := registry.ParseFieldRequirements(words[3])
	if err != nil {
		t.Fatal(err)
	}
	a.Fields = terms
	return a
}

func TestWhatANodeMayDo(t *testing.T) {
	_, n := cluster(t)
	const none = "no relationship found between node 'n1' and this object"
	for request, want := range map[string]string{ // allowed, or the reason
		"get /secrets ns/pull":                                   "allowed",
		"get /secrets ns/env":                                    "allowed",
		"list /secrets ns/pull":                                  "allowed",
		"watch /configmaps ns/map":                               "allowed",
		"get /secrets ns/unused":                                 none,
		"get /secrets other/pull":                                none,
		"list /secrets ns/":                                      "No Object name found",
		"list /secrets":                                          "can only read namespaced object of this type",
		"update /secrets ns/pull":                                "can only read resources of this type",
		"get /configmaps/status ns/map":                          "cannot read subresource",
		"get /secrets storage/stage":                             "allowed",
		"get /secrets storage/publish":                           none,
		"get /persistentvolumeclaims ns/data":                    "allowed",
		"get /persistentvolumeclaims ns/p1-tmp":                  "allowed",
		"list /persistentvolumeclaims ns/data":                   "can only get individual resources of this type",
		"patch /persistentvolumeclaims/status ns/data":           "allowed",
		"get /persistentvolumeclaims/status ns/data":             "can only get/update/patch this type",
		"get /persistentvolumes pv":                              "allowed",
		"get /persistentvolumes free":                            none,
		"get /persistentvolumes/status pv":                       "cannot get subresource",
		"get resource.k8s.io/resourceclaims ns/gpu":              "allowed",
		"get storage.k8s.io/volumeattachments va":                "allowed",
		"get /serviceaccounts ns/robot":                          "allowed",
		"get /serviceaccounts ns/other":                          none,
		"list /serviceaccounts ns/robot":                         "can only create tokens for individual service accounts",
		"create /serviceaccounts/token ns/robot":                 "allowed",
		"create /serviceaccounts ns/robot":                       "can only create token subresource of serviceaccount",
		"create /serviceaccounts/token ns/other":                 none,
		"get /pods ns/p1":                                        "allowed",
		"get /pods ns/p2":                                        none,
		"get /pods/log ns/p1":                                    "",
		"list /pods / spec.nodeName=n1":                          "allowed",
		"watch /pods / spec.nodeName=n2":                         "can only list/watch pods with spec.nodeName field selector",
		"list /pods / spec.nodeName!=n1":                         "can only list/watch pods with spec.nodeName field selector",
		"watch /pods ns/p1":                                      "allowed",
		"create /pods ns/":                                       "allowed",
		"delete /pods ns/p2":                                     "allowed",
		"patch /pods ns/p1":                                      "",
		"patch /pods/status ns/p1":                               "allowed",
		"create /pods/eviction ns/p1":                            "allowed",
		"get /nodes n1":                                          "allowed",
		"get /nodes n2":                                          "node 'n1' cannot read 'n2', only its own Node object",
		"list /nodes":                                            "node 'n1' cannot read all nodes, only its own Node object",
		"create /nodes":                                          "allowed",
		"patch /nodes/status n2":                                 "allowed",
		"delete /nodes n1":                                       "",
		"get coordination.k8s.io/leases kube-node-lease/n1":      "allowed",
		"create coordination.k8s.io/leases kube-node-lease/":     "allowed",
		"get coordination.k8s.io/leases kube-node-lease/n2":      "can only access node lease with the same name as the requesting node",
		"get coordination.k8s.io/leases kube-system/n1":          `can only access leases in the "kube-node-lease" system namespace`,
		"list coordination.k8s.io/leases kube-node-lease/":       "can only get, create, update, patch, or delete a node lease",
		"update storage.k8s.io/csinodes n1":                      "allowed",
		"update storage.k8s.io/csinodes n2":                      "can only access CSINode with the same name as the requesting node",
		"get storage.k8s.io/csinodes/status n1":                  "cannot authorize CSINode subresources",
		"create resource.k8s.io/resourceslices":                  "allowed",
		"delete resource.k8s.io/resourceslices slice":            "allowed",
		"delete resource.k8s.io/resourceslices strange":          none,
		"list resource.k8s.io/resourceslices / spec.nodeName=n1": "allowed",
		"list resource.k8s.io/resourceslices":                    "can only list/watch/deletecollection resourceslices with nodeName field selector",
		"list /services":                                         "allowed",
		"create /events ns/":                                     "allowed",
		"list apps/deployments":                                  "",
		"get certificates.k8s.io/podcertificaterequests ns/r":    "",
	} {
		t.Run(request, func(t *testing.T) {
			decision, reason, err := n.Authorize(t.Context(), wish(t, nodeUser("n1"), request))
			if err != nil {
				t.Fatal(err)
			}
			got := reason
			if decision == registry.Allow {
				got = "allowed"
			}
			if got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

func TestMirrorPodsGiveNoRights(t *testing.T) {
	_, n := cluster(t)
	if d, _, _ := n.Authorize(t.Context(), wish(t, nodeUser("n2"), "get /secrets ns/stolen")); d == registry.Allow {
		t.Error("a node gave itself a secret")
	}
	if d, _, _ := n.Authorize(t.Context(), wish(t, nodeUser("n2"), "get /pods ns/mirror")); d != registry.Allow {
		t.Error("a node cannot read its mirror pod")
	}
}

func TestOnlyNodesHaveTheRightsOfNodes(t *testing.T) {
	_, n := cluster(t)
	request := wish(t, registry.User{Name: "system:node:n1"}, "get /pods ns/p1")
	if d, reason, _ := n.Authorize(t.Context(), request); d != registry.NoOpinion || reason != "" {
		t.Errorf("without the group: %v %q", d, reason)
	}
	request.User = nodeUser("")
	if d, reason, _ := n.Authorize(t.Context(), request); d != registry.NoOpinion || reason != `unknown node for user "system:node:"` {
		t.Errorf("without a name: %v %q", d, reason)
	}
}

// lateTelling tells what it holds back only to those who wait for it.
type lateTelling struct {
	followed
	held func()
}

func (l *lateTelling) Settle(_ context.Context, _, plural string) {
	if plural == "pods" && l.held != nil {
		l.held()
	}
}

func TestAPodBoundThisMomentGivesRights(t *testing.T) {
	objects := &lateTelling{followed: followed{}}
	n, err := NewNode(objects, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	n.start(t.Context())
	objects.held = func() {
		objects.held = nil
		objects.tell("pods", nil, boundPod("n1", "p1", corev1.PodSpec{ServiceAccountName: "robot"}))
	}
	if d, reason, _ := n.Authorize(t.Context(), wish(t, nodeUser("n1"), "get /serviceaccounts ns/robot")); d != registry.Allow {
		t.Error(reason)
	}
}

func TestRightsEndWithWhatTheyFollowFrom(t *testing.T) {
	objects, n := cluster(t)
	may := func(request string) bool {
		d, _, _ := n.Authorize(t.Context(), wish(t, nodeUser("n1"), request))
		return d == registry.Allow
	}
	second := boundPod("n1", "p3", corev1.PodSpec{ServiceAccountName: "robot"})
	objects.tell("pods", nil, second)
	objects.tell("pods", second, nil)
	if !may("get /serviceaccounts ns/robot") {
		t.Error("the end of one pod took another's rights")
	}
	unbound := boundPod("", "p4", corev1.PodSpec{ServiceAccountName: "late"})
	objects.tell("pods", nil, unbound)
	bound := boundPod("n1", "p4", unbound.Spec)
	bound.Spec.NodeName = "n1"
	if may("get /serviceaccounts ns/late") {
		t.Error("a pod without a node gives rights")
	}
	objects.tell("pods", unbound, bound)
	debugged := bound.DeepCopy()
	debugged.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Env: []corev1.EnvVar{{ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "debug"}}}}}}}}
	objects.tell("pods", bound, debugged)
	if !may("get /serviceaccounts ns/late") || !may("get /secrets ns/debug") {
		t.Error("a bound pod, and a debugging container, give no rights")
	}
	objects.tell("pods", debugged, nil)
	if may("get /secrets ns/debug") || may("get /pods ns/p4") {
		t.Error("rights outlive the pod")
	}
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "free"}}
	claimed := volume.DeepCopy()
	claimed.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "ns", Name: "data"}
	objects.tell("persistentvolumes", volume, claimed)
	if !may("get /persistentvolumes free") {
		t.Error("a volume is not reached through its claim")
	}
	objects.tell("persistentvolumes", claimed, nil)
	if may("get /persistentvolumes free") {
		t.Error("a volume that is gone is reached")
	}
}

// TestReachForgetsEverything tells it of many pods, and of their end.
func TestReachForgetsEverything(t *testing.T) {
	r := newReach()
	pods := manyPods(1000)
	for _, p := range pods {
		r.podChanged(nil, p)
	}
	for _, p := range pods {
		r.podChanged(p, nil)
	}
	if len(r.from) > 0 || len(r.through) > 0 {
		t.Errorf("left over: %d nodes, %d ways", len(r.from), len(r.through))
	}
}

// manyPods are ten on each node, with what each pod has: a service account, its token volume and a secret of its own.
func manyPods(n int) []*corev1.Pod {
	pods := make([]*corev1.Pod, n)
	for i := range pods {
		pods[i] = boundPod(fmt.Sprintf("node-%d", i/10), fmt.Sprintf("pod-%d", i), corev1.PodSpec{
			ServiceAccountName: "default",
			Volumes: []corev1.Volume{
				{VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}}}},
				{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: fmt.Sprintf("secret-%d", i)}}},
			},
		})
		pods[i].Namespace = fmt.Sprintf("ns-%d", i%100)
	}
	return pods
}

// BenchmarkNodeDecision asks for a secret of the node's pods among 50,000 pods, and shows what these cost in memory.
func BenchmarkNodeDecision(b *testing.B) {
	n, err := NewNode(followed{}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	pods := manyPods(50000)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for _, p := range pods {
		n.reach.podChanged(nil, p)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	a := &registry.Attributes{User: nodeUser("node-7"), Verb: "get", ResourceRequest: true, Resource: "secrets", Namespace: "ns-75", Name: "secret-75"}
	for b.Loop() {
		if d, reason, _ := n.Authorize(b.Context(), a); d != registry.Allow {
			b.Fatal(reason)
		}
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
	runtime.KeepAlive(pods)
}

func TestDecisionsAndChangesDoNotMeet(t *testing.T) {
	objects, n := cluster(t)
	request := wish(t, nodeUser("n1"), "get /secrets storage/stage")
	var busy sync.WaitGroup
	for range 4 {
		busy.Go(func() {
			for range 1000 {
				if d, reason, _ := n.Authorize(t.Context(), request); d != registry.Allow {
					t.Error(reason)
					return
				}
			}
		})
	}
	for _, p := range manyPods(1000) {
		objects.tell("pods", nil, p)
	}
	busy.Wait()
}
