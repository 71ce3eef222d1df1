package registry

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// specOf is the PodSpec of a JSON text, with defaults.
func specOf(t *testing.T, text string) *corev1.PodSpec {
	t.Helper()
	spec := &corev1.PodSpec{}
	if err := json.Unmarshal([]byte(text), spec); err != nil {
		t.Fatal(err)
	}
	defaultPodSpec(spec)
	normalizePodSpec(spec)
	return spec
}

// told is the errors as lines, sorted; each "path: type".
func told(errs field.ErrorList) []string {
	var lines []string
	for _, err := range errs {
		lines = append(lines, err.Field+": "+err.Type.String())
	}
	slices.Sort(lines)
	return lines
}

func TestPodSpecRules(t *testing.T) {
	for _, c := range []struct {
		rule, spec string
		want       []string
	}{
		{"a pod needs a container", `{}`, []string{"spec.containers: Required value"}},
		{"names are unique over the lists of containers",
			`{"initContainers":[{"name":"a","image":"i"}],"containers":[{"name":"a","image":"i"}],"ephemeralContainers":[{"name":"a","image":"i"}]}`,
			[]string{"spec.ephemeralContainers[0].name: Duplicate value", "spec.initContainers[0].name: Duplicate value"}},
		{"an init container has no probes unless it is a sidecar",
			`{"initContainers":[{"name":"a","image":"i","livenessProbe":{"exec":{"command":["x"]}}},
			  {"name":"b","image":"i","restartPolicy":"Always","livenessProbe":{"exec":{"command":["x"]}}}],"containers":[{"name":"c","image":"i"}]}`,
			[]string{"spec.initContainers[0].livenessProbe: Forbidden"}},
		{"the rules of an init container without a policy are not looked at",
			`{"initContainers":[{"name":"a","image":"i","restartPolicyRules":[{"action":"x"}]}],"containers":[{"name":"c","image":"i","restartPolicyRules":[{"action":"x"}]}]}`,
			[]string{"spec.containers[0].restartPolicy: Required value", "spec.containers[0].restartPolicyRules[0].action: Unsupported value",
				"spec.containers[0].restartPolicyRules[0].exitCodes: Required value", "spec.initContainers[0].restartPolicy: Required value"}},
		{"an ephemeral container takes no part in the pod's service",
			`{"containers":[{"name":"c","image":"i"}],"ephemeralContainers":[{"name":"e","image":"i","ports":[{"containerPort":1,"protocol":"TCP"}],"targetContainerName":"x"}]}`,
			[]string{"spec.ephemeralContainers[0].ports: Forbidden", "spec.ephemeralContainers[0].targetContainerName: Not found"}},
		{"host ports collide by protocol and address, and not over init containers",
			`{"initContainers":[{"name":"a","image":"i","ports":[{"containerPort":1,"hostPort":80}]}],
			  "containers":[{"name":"b","image":"i","ports":[{"containerPort":1,"hostPort":80},{"containerPort":1,"hostPort":80,"protocol":"UDP"}]},
			  {"name":"c","image":"i","ports":[{"containerPort":2,"hostPort":80}]}]}`,
			[]string{"spec.containers[1].ports[0].hostPort: Duplicate value"}},
		{"on the host's network a port is the host's",
			`{"hostNetwork":true,"containers":[{"name":"c","image":"i","ports":[{"containerPort":1,"hostPort":80}]}]}`,
			[]string{"spec.containers[0].ports[0].hostPort: Invalid value"}},
		{"a broken volume is none to mount",
			`{"volumes":[{"name":"v","hostPath":{"path":"a/../b"}}],"containers":[{"name":"c","image":"i","volumeMounts":[{"name":"v","mountPath":"/v"}]}]}`,
			[]string{"spec.containers[0].volumeMounts[0].name: Not found", "spec.volumes[0].hostPath.path: Invalid value"}},
		{"a volume has one source", `{"volumes":[{"name":"v","emptyDir":{},"downwardAPI":{}},{"name":"w"}],"containers":[{"name":"c","image":"i"}]}`,
			[]string{"spec.volumes[0].downwarAPI: Forbidden"}},
		{"projected sources share no file",
			`{"volumes":[{"name":"v","projected":{"sources":[{"secret":{"name":"s","items":[{"key":"k","path":"p"}]}},{"configMap":{"name":"c","items":[{"key":"k","path":"p"}]}}]}}],"containers":[{"name":"c","image":"i"}]}`,
			[]string{"spec.volumes[0].projected: Invalid value"}},
		{"a file of variables lies in a directory of the pod's own",
			`{"volumes":[{"name":"v","configMap":{"name":"x"}}],"containers":[{"name":"c","image":"i","env":[{"name":"A","valueFrom":{"fileKeyRef":{"volumeName":"v","path":"p","key":"K"}}}]}]}`,
			[]string{"spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Invalid value"}},
		{"one label is a field, a label's name that cannot be is none",
			`{"containers":[{"name":"c","image":"i","env":[{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"metadata.labels['a/b']"}}},
			  {"name":"B","valueFrom":{"fieldRef":{"fieldPath":"metadata.labels['a b']"}}},{"name":"C","valueFrom":{"fieldRef":{"fieldPath":"metadata.labels"}}},
			  {"name":"D","valueFrom":{"fieldRef":{"fieldPath":"spec.host"}}},{"name":"E","valueFrom":{"fieldRef":{"fieldPath":"spec.name['x']"}}}]}]}`,
			[]string{"spec.containers[0].env[1].valueFrom.fieldRef: Invalid value",
				"spec.containers[0].env[2].valueFrom.fieldRef.fieldPath: Unsupported value", "spec.containers[0].env[4].valueFrom.fieldRef.fieldPath: Invalid value"}},
		{"huge pages are not overcommitted, and not asked for alone",
			`{"containers":[{"name":"c","image":"i","resources":{"limits":{"hugepages-2Mi":"4Mi"},"requests":{"hugepages-2Mi":"2Mi"}}}]}`,
			[]string{"spec.containers[0].resources.requests: Invalid value", "spec.containers[0].resources: Forbidden"}},
		{"no part of a claim is referred to twice",
			`{"resourceClaims":[{"name":"a","resourceClaimName":"x"},{"name":"b","resourceClaimName":"x"}],"containers":[{"name":"c","image":"i","resources":{"claims":[
			  {"name":"a","request":"r"},{"name":"a","request":"s"},{"name":"a"},{"name":"b"},{"name":"b","request":"r"},{"name":"z"}]}}]}`,
			[]string{"spec.containers[0].resources.claims[2]: Duplicate value", "spec.containers[0].resources.claims[2]: Duplicate value",
				"spec.containers[0].resources.claims[4]: Duplicate value", "spec.containers[0].resources.claims[5]: Not found"}},
		{"the pod has room for its containers together",
			`{"resources":{"requests":{"cpu":"1"},"limits":{"cpu":"1"}},"containers":[{"name":"c","image":"i","resources":{"requests":{"cpu":"800m"}}},
			  {"name":"d","image":"i","resources":{"requests":{"cpu":"300m"},"limits":{"cpu":"2"}}}]}`,
			[]string{"spec.resources.containers[1][cpu].limits: Invalid value", "spec.resources.requests[cpu]: Invalid value"}},
		{"a label key that stands in the selector beside its merged requirement was there before",
			`{"containers":[{"name":"c","image":"i"}],"topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"z","whenUnsatisfiable":"DoNotSchedule","matchLabelKeys":["k","l"],
			  "labelSelector":{"matchLabels":{"k":"v"},"matchExpressions":[{"key":"k","operator":"In","values":["v"]},{"key":"l","operator":"In","values":["v"]}]}}]}`,
			[]string{"spec.topologySpreadConstraints[0][0]: Invalid value"}},
		{"a Windows pod has nothing of Linux", `{"os":{"name":"windows"},"hostPID":true,"containers":[{"name":"c","image":"i","securityContext":{"runAsUser":1}}]}`,
			[]string{"spec.containers[0].securityContext.runAsUser: Forbidden", "spec.hostPID: Forbidden"}},
		{"host processes are all of a pod or none, on the host's network",
			`{"containers":[{"name":"c","image":"i","securityContext":{"windowsOptions":{"hostProcess":true}}},{"name":"d","image":"i"}]}`,
			[]string{"spec.hostNetwork: Invalid value", "spec: Invalid value"}},
		{"a user namespace is not combined with the host's", `{"hostUsers":false,"hostIPC":true,"containers":[{"name":"c","image":"i"}]}`,
			[]string{"spec.HostIPC: Forbidden"}},
		{"a sysctl of a namespace of the host is the host's",
			`{"hostNetwork":true,"securityContext":{"sysctls":[{"name":"net.core.somaxconn","value":"1"},{"name":"kernel.shmmax","value":"1"}]},"containers":[{"name":"c","image":"i"}]}`,
			[]string{"spec.securityContext.sysctls[0].name: Invalid value"}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			meta := &metav1.ObjectMeta{Name: "pod"}
			got := told(validatePodSpec(specOf(t, c.spec), meta, field.NewPath("spec"), podOptions{}))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestATemplateIsLaxer(t *testing.T) {
	spec := specOf(t, `{"hostNetwork":true,"volumes":[{"name":"v","image":{}}],"containers":[{"name":"c","image":" i","ports":[{"containerPort":1}]}]}`)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod"}, Spec: *spec}
	pod.Spec.ServiceAccountName = "default"
	want := []string{"spec.containers[0].image: Invalid value", "spec.containers[0].ports[0].hostPort: Invalid value", "spec.volumes[0].image.reference: Required value"}
	if diff := cmp.Diff(want, told(validateNewPod(pod))); diff != "" {
		t.Errorf("pod: %s", diff)
	}
	template := &corev1.PodTemplateSpec{Spec: *spec}
	if errs := validatePodTemplateSpec(template, field.NewPath("template"), podOptions{}); len(errs) > 0 {
		t.Errorf("template: %v", errs)
	}
}

func TestOldPodsKeepWhatTheyHave(t *testing.T) {
	const pod = `"containers":[{"name":"c","image":"i"}]`
	for _, c := range []struct{ what, spec string }{
		{"a selector's bad value", `{` + pod + `,"affinity":{"podAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"topologyKey":"z","labelSelector":{"matchExpressions":[{"key":"a","operator":"In","values":["a b"]}]}}]}}}`},
		{"a node affinity's bad value", `{` + pod + `,"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"a","operator":"In","values":["a b"]}]}]}}}}`},
		{"a spread constraint's bad selector", `{` + pod + `,"topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"z","whenUnsatisfiable":"DoNotSchedule","labelSelector":{"matchLabels":{"a":"a b"}}}]}`},
		{"huge pages that are no multiple", `{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"1","hugepages-2Mi":"3Mi"},"requests":{"cpu":"1","hugepages-2Mi":"3Mi"}}}]}`},
		{"a token outside of its volume", `{` + pod + `,"volumes":[{"name":"v","projected":{"sources":[{"serviceAccountToken":{"path":"/t"}}]}}]}`},
		{"a sysctl of the host", `{` + pod + `,"hostIPC":true,"securityContext":{"sysctls":[{"name":"kernel.shmmax","value":"1"}]}}`},
		{"a SELinux change policy", `{` + pod + `,"securityContext":{"seLinuxChangePolicy":"MountOption"}}`},
		{"an init container that restarts on resize", `{` + pod + `,"initContainers":[{"name":"a","image":"i","resizePolicy":[{"resourceName":"cpu","restartPolicy":"RestartContainer"}]}]}`},
		{"devices in a user namespace", `{"hostUsers":false,"volumes":[{"name":"v","persistentVolumeClaim":{"claimName":"c"}}],"containers":[{"name":"c","image":"i","volumeDevices":[{"name":"v","devicePath":"/d"}]}]}`},
		{"the host's network in a user namespace", `{"hostUsers":false,"hostNetwork":true,` + pod + `}`},
		{"a toleration that compares numbers", `{` + pod + `,"tolerations":[{"key":"a","operator":"Gt","value":"5"}]}`},
	} {
		t.Run(c.what, func(t *testing.T) {
			spec, path := specOf(t, c.spec), field.NewPath("spec")
			if errs := validatePodSpec(spec, nil, path, podOptions{}); len(errs) == 0 {
				t.Error("a new pod may have it")
			}
			if errs := validatePodSpec(spec, nil, path, podOptionsFrom(spec, nil)); len(errs) > 0 {
				t.Errorf("a pod that has it: %v", errs)
			}
		})
	}
}

func TestDeletionCostIsAPlainInteger(t *testing.T) {
	for cost, want := range map[string]bool{"5": true, "-5": true, "0": true, "-0": true, "2147483647": true,
		"": false, "+5": false, "05": false, "2147483648": false, "x": false} {
		if got := isDeletionCost(map[string]string{corev1.PodDeletionCost: cost}); got != want {
			t.Errorf("%q: %v", cost, got)
		}
	}
}

func TestProfileAnnotationsMatchFields(t *testing.T) {
	spec := specOf(t, `{"securityContext":{"seccompProfile":{"type":"RuntimeDefault"},"appArmorProfile":{"type":"Localhost","localhostProfile":"p"}},"containers":[{"name":"c","image":"i"}]}`)
	meta := &metav1.ObjectMeta{Annotations: map[string]string{
		corev1.SeccompPodAnnotationKey: corev1.DeprecatedSeccompProfileDockerDefault,
		appArmorPrefix + "c":           "localhost/q",
	}}
	want := []string{"spec.containers[0].securityContext.appArmorProfile.localhostProfile: Forbidden"}
	if diff := cmp.Diff(want, told(validateProfileAnnotations(meta, spec, field.NewPath("spec")))); diff != "" {
		t.Error(diff)
	}
	spec.OS = &corev1.PodOS{Name: corev1.Windows}
	if errs := validateProfileAnnotations(meta, spec, field.NewPath("spec")); len(errs) > 0 {
		t.Errorf("on Windows: %v", errs)
	}
}

func TestPersistentVolumeToleratesASecondFlexVolume(t *testing.T) {
	source := &corev1.PersistentVolumeSource{
		HostPath:   &corev1.HostPathVolumeSource{Path: "/a"},
		FlexVolume: &corev1.FlexPersistentVolumeSource{Driver: "d"},
		Local:      &corev1.LocalVolumeSource{Path: "/a"},
	}
	want := []string{"spec.local: Forbidden"}
	if diff := cmp.Diff(want, told(validatePVSource(source, "pv", field.NewPath("spec")))); diff != "" {
		t.Error(diff)
	}
}

func TestWindowsUserNames(t *testing.T) {
	for name, want := range map[string]int{"user": 0, `DOM\user`: 0, `a.example.com\user`: 0, "": 1, "a\tb": 1, `a\b\c`: 1, `.dom\user`: 1,
		`DOM\`: 1, ". .": 1, "a/b": 1, strings.Repeat("a", 105): 1, strings.Repeat("a", 256) + `\u`: 2} {
		if got := windowsUserComplaints(name); len(got) != want {
			t.Errorf("%q: %q", name, got)
		}
	}
}
