package admission

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/registry"
)

// admit walks a write through one plugin and returns the refusal, empty if there is none.
func admit(t *testing.T, h Host, plugin string, a *Attributes) string {
	t.Helper()
	for _, row := range table() {
		if row.name != plugin {
			continue
		}
		p, err := row.plugin(h)
		if err != nil {
			t.Fatal(err)
		}
		c := Chain{p}
		if err = c.Mutate(t.Context(), a); err == nil {
			err = c.Validate(t.Context(), a)
		}
		if err != nil {
			return err.Error()
		}
	}
	return ""
}

func secretEnv(name string) corev1.EnvVar {
	return corev1.EnvVar{Name: "E", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}}
}

func TestPodsRunAsWhatTheirAccountLets(t *testing.T) {
	strict := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "strict", Annotations: map[string]string{"kubernetes.io/enforce-mountable-secrets": "true"}},
		Secrets: []corev1.ObjectReference{{Name: "mine"}}, ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}}}
	objects := shelf{"serviceaccounts a/default": &corev1.ServiceAccount{ObjectMeta: named("default")}, "serviceaccounts a/strict": strict}
	mirror := func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }
	as := func(name string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.ServiceAccountName = name } }
	attached := podWith("", "", as("strict"), func(p *corev1.Pod) {
		p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "e", Env: []corev1.EnvVar{secretEnv("other")}}}}
	})
	for _, c := range []struct {
		rule  string
		write *Attributes
		want  string
	}{
		{"the account must exist", writeOf("pods", "", podWith("", "", as("nosuch")), nil), `pods "x" is forbidden: error looking up service account a/nosuch: serviceaccount "nosuch" not found`},
		{"a strict one lists its secrets", writeOf("pods", "", podWith("", "", as("strict"), func(p *corev1.Pod) { p.Spec.Containers[0].Env = []corev1.EnvVar{secretEnv("mine")} }), nil), ""},
		{"and allows no others", writeOf("pods", "", podWith("", "", as("strict"), func(p *corev1.Pod) { p.Spec.Containers[0].Env = []corev1.EnvVar{secretEnv("other")} }), nil),
			`pods "x" is forbidden: container c with envVar E referencing secret.secretName="other" is not allowed because service account strict does not reference that secret`},
		{"nor to what is attached", writeOf("pods", "ephemeralcontainers", attached, attached),
			`ephemeral container e with envVar E referencing secret.secretName="other" is not allowed because service account strict does not reference that secret`},
		{"updates are not looked at", writeOf("pods", "", podWith("", "", as("nosuch")), podWith("", "")), ""},
		{"a mirror pod has none", writeOf("pods", "", podWith("", "", mirror), nil), ""},
		{"and must not", writeOf("pods", "", podWith("", "", mirror, as("default")), nil), `pods "x" is forbidden: a mirror pod may not reference service accounts`},
		{"nor read secrets in any way", writeOf("pods", "", podWith("", "", mirror, func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{NodePublishSecretRef: &corev1.LocalObjectReference{Name: "s"}}}}}
		}), nil), `pods "x" is forbidden: a mirror pod may not reference secrets`},
	} {
		if got := admit(t, Host{Objects: objects}, "ServiceAccount", c.write); got != c.want {
			t.Errorf("%s: got %q, want %q", c.rule, got, c.want)
		}
	}
	pod := podWith("", "", as("strict"))
	if got := admit(t, Host{Objects: objects}, "ServiceAccount", writeOf("pods", "", pod, nil)); got != "" {
		t.Fatal(got)
	}
	if diff := cmp.Diff(strict.ImagePullSecrets, pod.Spec.ImagePullSecrets); diff != "" || len(pod.Spec.Volumes) != 1 || len(pod.Spec.Containers[0].VolumeMounts) != 1 {
		t.Errorf("a pod gets pull secrets and a token: got %v %v", diff, pod.Spec.Volumes)
	}
}

// late is a shelf on which everything appears after some looks.
type late struct {
	shelf
	looks int
}

func (l *late) Get(ctx context.Context, group, plural, namespace, name string) (registry.Object, error) {
	if l.looks--; l.looks >= 0 {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: plural}, name)
	}
	return l.shelf.Get(ctx, group, plural, namespace, name)
}

func TestDefaultAccountOfANewNamespaceIsAwaited(t *testing.T) {
	objects := &late{shelf{"serviceaccounts a/default": &corev1.ServiceAccount{ObjectMeta: named("default")}}, 2}
	if got := admit(t, Host{Objects: objects}, "ServiceAccount", writeOf("pods", "", podWith("", ""), nil)); got != "" {
		t.Errorf("got %s", got)
	}
}

func TestTolerationsOfARuntimeClassAreMerged(t *testing.T) {
	toleration := func(key string, op corev1.TolerationOperator, value string, effect corev1.TaintEffect, seconds *int64) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: op, Value: value, Effect: effect, TolerationSeconds: seconds}
	}
	own := []corev1.Toleration{
		toleration("a", "Equal", "1", "NoSchedule", nil),
		toleration("b", "Exists", "", "NoExecute", ptr.To[int64](5)),
		toleration("c", "Exists", "", "", nil),
	}
	classes := []corev1.Toleration{
		toleration("a", "Exists", "", "NoSchedule", nil),              // covers the pod's
		toleration("b", "Exists", "", "NoExecute", ptr.To[int64](60)), // lasts longer
		toleration("c", "Equal", "x", "NoSchedule", nil),              // is covered
		toleration("d", "Exists", "", "", nil),
	}
	class := &nodev1.RuntimeClass{ObjectMeta: named("r"), Scheduling: &nodev1.Scheduling{Tolerations: classes}}
	pod := podWith("", "", func(p *corev1.Pod) { p.Spec.RuntimeClassName, p.Spec.Tolerations = ptr.To("r"), own })
	if got := admit(t, Host{Objects: shelf{"runtimeclasses /r": class}}, "RuntimeClass", writeOf("pods", "", pod, nil)); got != "" {
		t.Fatal(got)
	}
	if diff := cmp.Diff([]corev1.Toleration{own[2], classes[0], classes[1], classes[3]}, pod.Spec.Tolerations); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestClaimsGrowWhereTheirClassLetsThem(t *testing.T) {
	class := func(name string, grows *bool) *storagev1.StorageClass {
		return &storagev1.StorageClass{ObjectMeta: named(name), AllowVolumeExpansion: grows}
	}
	objects := shelf{"storageclasses /grow": class("grow", ptr.To(true)), "storageclasses /fixed": class("fixed", nil)}
	claimOf := func(size, class, annotation string, phase corev1.PersistentVolumeClaimPhase) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: named("x"), Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: ptr.To(class),
			Resources: corev1.VolumeResourceRequirements{Requests: amounts("storage=" + size)}}, Status: corev1.PersistentVolumeClaimStatus{Phase: phase}}
		if annotation != "" {
			c.Annotations = map[string]string{corev1.BetaStorageClassAnnotation: annotation}
		}
		return c
	}
	const refused = `persistentvolumeclaims "x" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize`
	for _, c := range []struct {
		rule     string
		now, old *corev1.PersistentVolumeClaim
		want     string
	}{
		{"a class that can grow", claimOf("2Gi", "grow", "", "Bound"), claimOf("1Gi", "grow", "", "Bound"), ""},
		{"one that cannot", claimOf("2Gi", "fixed", "", "Bound"), claimOf("1Gi", "fixed", "", "Bound"), refused},
		{"the annotation counts before the field", claimOf("2Gi", "fixed", "grow", "Bound"), claimOf("1Gi", "fixed", "grow", "Bound"), ""},
		{"the class must not change", claimOf("2Gi", "grow", "", "Bound"), claimOf("1Gi", "fixed", "", "Bound"), refused},
		{"no class", claimOf("2Gi", "", "", "Bound"), claimOf("1Gi", "", "", "Bound"), refused},
		{"a claim that is not bound", claimOf("2Gi", "grow", "", "Pending"), claimOf("1Gi", "grow", "", "Pending"),
			`persistentvolumeclaims "x" is forbidden: Only bound persistent volume claims can be expanded`},
		{"a claim that shrinks is not the plugin's business", claimOf("1Gi", "fixed", "", "Bound"), claimOf("2Gi", "fixed", "", "Bound"), ""},
	} {
		if got := admit(t, Host{Objects: objects}, "PersistentVolumeClaimResize", writeOf("persistentvolumeclaims", "", c.now, c.old)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.rule, got, c.want)
		}
	}
}

func TestServicesKeepTheExternalAddressesThatTheyHave(t *testing.T) {
	service := func(ips ...string) *corev1.Service {
		return &corev1.Service{ObjectMeta: named("x"), Spec: corev1.ServiceSpec{ExternalIPs: ips}}
	}
	const refused = `services "x" is forbidden: Use of external IPs is denied by admission control`
	for _, c := range []struct {
		rule     string
		now, old *corev1.Service
		want     string
	}{
		{"a new Service has none", service("192.0.2.1"), nil, refused},
		{"an old one keeps its own", service("192.0.2.1"), service("192.0.2.2", "192.0.2.1"), ""},
		{"and gets no other", service("192.0.2.1", "192.0.2.3"), service("192.0.2.1"), refused},
	} {
		a := writeOf("services", "", c.now, nil)
		if c.old != nil {
			a = writeOf("services", "", c.now, c.old)
		}
		if got := admit(t, Host{}, "DenyServiceExternalIPs", a); got != c.want {
			t.Errorf("%s: got %q, want %q", c.rule, got, c.want)
		}
	}
}

func TestPodsAreResizedWithinTheirNode(t *testing.T) {
	nodes := shelf{
		"nodes /linux":   node("linux", map[string]string{corev1.LabelOSStable: "linux"}, func(n *corev1.Node) { n.Status.Allocatable = amounts("cpu=2 memory=1Gi") }),
		"nodes /windows": node("windows", map[string]string{corev1.LabelOSStable: "windows"}, asIs),
		"nodes /old":     node("old", nil, func(n *corev1.Node) { n.Status.Allocatable = amounts("cpu=2 memory=1Gi") }),
	}
	on := func(node, requests string, generation int64) *corev1.Pod {
		return podWith(requests, "", func(p *corev1.Pod) { p.Spec.NodeName, p.Generation = node, generation })
	}
	podLevel := on("old", "cpu=1", 2)
	podLevel.Spec.Resources = &corev1.ResourceRequirements{Requests: amounts("cpu=1")}
	for _, c := range []struct {
		rule, plugin, want string
		now, old           *corev1.Pod
	}{
		{"as big as its node can carry", "PodResizeValidator", "", on("linux", "cpu=2", 2), on("linux", "cpu=1", 1)},
		{"no bigger", "PodResizeValidator", `pods "x" is forbidden: node didn't have enough allocatable resources: cpu, requested: 2500, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824`,
			on("linux", "cpu=2500m memory=2Gi", 2), on("linux", "cpu=1", 1)},
		{"not where nodes cannot resize", "PodResizeValidator", `pods "x" is forbidden: pod resize is only supported on linux nodes, node "windows" is "windows"`, on("windows", "cpu=2", 2), on("windows", "cpu=1", 1)},
		{"not where the node is gone", "PodResizeValidator", `pods "x" is forbidden: node "gone" not found`, on("gone", "cpu=2", 2), on("gone", "cpu=1", 1)},
		{"a pod without a node waits for one that fits", "PodResizeValidator", "", on("", "cpu=9", 2), on("", "cpu=1", 1)},
		{"what changes nothing is not looked at", "PodResizeValidator", "", on("gone", "cpu=1", 1), on("gone", "cpu=1", 1)},
		{"a node has to understand the change", "NodeDeclaredFeatureValidator",
			`pods "x" is forbidden: pod update requires features InPlacePodLevelResourcesVerticalScaling which are not available on node "old"`, podLevel, on("old", "cpu=1", 1)},
		{"as it does if the change is an old one", "NodeDeclaredFeatureValidator", "", on("old", "cpu=2", 2), on("old", "cpu=1", 1)},
	} {
		if got := admit(t, Host{Objects: nodes}, c.plugin, writeOf("pods", "resize", c.now, c.old)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.rule, got, c.want)
		}
	}
}

func TestImagesOfNewPodsAreAlwaysPulled(t *testing.T) {
	image := func(name string, policy corev1.PullPolicy) *corev1.Pod {
		return podWith("", "", func(p *corev1.Pod) {
			p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = name, policy
			p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{PullPolicy: policy}}}}
		})
	}
	for _, c := range []struct {
		rule     string
		now, old *corev1.Pod
		want     corev1.PullPolicy
	}{
		{"a new pod", image("a", "Never"), nil, "Always"},
		{"an old one with a new image", image("b", "Never"), image("a", "Never"), "Always"},
		{"an old one stays as it is", image("a", "Never"), image("a", "Never"), "Never"},
	} {
		a := writeOf("pods", "", c.now, nil)
		if c.old != nil {
			a = writeOf("pods", "", c.now, c.old)
		}
		if got := admit(t, Host{}, "AlwaysPullImages", a); got != "" || c.now.Spec.Containers[0].ImagePullPolicy != c.want || c.now.Spec.Volumes[0].Image.PullPolicy != c.want {
			t.Errorf("%s: got %q and %v, want %s", c.rule, got, c.now.Spec.Containers[0].ImagePullPolicy, c.want)
		}
	}
	const want = `[pods "x" is forbidden: spec.containers[0].imagePullPolicy: Unsupported value: "Never": supported values: "Always", ` +
		`pods "x" is forbidden: spec.volumes[0].image.pullPolicy: Unsupported value: "Never": supported values: "Always"]`
	if err := alwaysPullImages().Validate(t.Context(), writeOf("pods", "", image("a", "Never"), nil)); err == nil || err.Error() != want {
		t.Errorf("what another plugin changed is refused: got %v", err)
	}
}

func TestNamespacesAreMadeForWhatIsCreatedInThem(t *testing.T) {
	var made []string
	failure := error(nil)
	h := Host{Objects: shelf{"namespaces /there": &corev1.Namespace{ObjectMeta: named("there")}},
		CreateNamespace: func(_ context.Context, name string) error { made = append(made, name); return failure }}
	in := func(namespace string, dry bool) *Attributes {
		a := writeOf("configmaps", "", &corev1.ConfigMap{}, nil)
		a.Namespace, a.DryRun = namespace, dry
		return a
	}
	for _, c := range []struct {
		rule, namespace string
		dry             bool
		err             error
		want            string
	}{
		{"one that is there", "there", false, nil, ""},
		{"what is in none", "", false, nil, ""},
		{"a dry run", "dry", true, nil, ""},
		{"one that is not", "new", false, nil, ""},
		{"one that somebody else makes", "raced", false, apierrors.NewAlreadyExists(schema.GroupResource{Resource: "namespaces"}, "raced"), ""},
		{"one that cannot be made", "Bad", false, errors.New("no such name"), `configmaps "x" is forbidden: no such name`},
	} {
		failure = c.err
		if got := admit(t, h, "NamespaceAutoProvision", in(c.namespace, c.dry)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.rule, got, c.want)
		}
	}
	if diff := cmp.Diff([]string{"new", "raced", "Bad"}, made); diff != "" {
		t.Errorf("made (-want +got)\n%s", diff)
	}
	if got := admit(t, h, "NamespaceExists", in("new", false)); got != `namespaces "new" not found` {
		t.Errorf("NamespaceExists: got %q", got)
	}
}
