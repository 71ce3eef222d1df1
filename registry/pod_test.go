package registry

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPullPolicyFollowsTag(t *testing.T) {
	digest := "@sha256:0123456789012345678901234567890123456789012345678901234567890123"
	for image, want := range map[string]corev1.PullPolicy{
		"nginx":                       corev1.PullAlways,
		"nginx:latest":                corev1.PullAlways,
		"registry:5000/nginx":         corev1.PullAlways,
		"nginx:1.25":                  corev1.PullIfNotPresent,
		"nginx" + digest:              corev1.PullIfNotPresent,
		"nginx:latest" + digest:       corev1.PullAlways,
		"registry:5000/nginx:1.25":    corev1.PullIfNotPresent,
		"Upper case is no image name": corev1.PullIfNotPresent,
	} {
		if got := defaultPullPolicy(image); got != want {
			t.Errorf("%s: got %s, want %s", image, got, want)
		}
	}
}

func TestOnlyPodsGetRequestsLinksAndHostPorts(t *testing.T) {
	spec := func() corev1.PodSpec {
		return corev1.PodSpec{HostNetwork: true, Containers: []corev1.Container{{
			Ports:     []corev1.ContainerPort{{ContainerPort: 80}},
			Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("1")}},
		}}}
	}
	pod := &corev1.Pod{Spec: spec()}
	defaultPod(pod)
	if c := pod.Spec.Containers[0]; c.Resources.Requests.Cpu().String() != "1" || c.Ports[0].HostPort != 80 || pod.Spec.EnableServiceLinks == nil {
		t.Errorf("pod is not complete: %+v", pod.Spec)
	}
	template := &corev1.PodTemplateSpec{Spec: spec()}
	defaultPodTemplate(template)
	if c := template.Spec.Containers[0]; c.Resources.Requests != nil || c.Ports[0].HostPort != 0 || template.Spec.EnableServiceLinks != nil {
		t.Errorf("template has what is a pod's: %+v", template.Spec)
	}
}

func TestSingleAddressWinsOverList(t *testing.T) {
	ips := func(list ...string) []corev1.PodIP {
		var out []corev1.PodIP
		for _, ip := range list {
			out = append(out, corev1.PodIP{IP: ip})
		}
		return out
	}
	for name, c := range map[string]struct{ have, want corev1.PodStatus }{
		"only the list":   {corev1.PodStatus{PodIPs: ips("a", "b")}, corev1.PodStatus{PodIP: "a", PodIPs: ips("a", "b")}},
		"only the single": {corev1.PodStatus{PodIP: "a"}, corev1.PodStatus{PodIP: "a", PodIPs: ips("a")}},
		"they differ":     {corev1.PodStatus{PodIP: "c", PodIPs: ips("a", "b")}, corev1.PodStatus{PodIP: "c", PodIPs: ips("c")}},
		"they agree":      {corev1.PodStatus{PodIP: "a", PodIPs: ips("a", "b")}, corev1.PodStatus{PodIP: "a", PodIPs: ips("a", "b")}},
	} {
		if normalizePodIPs(&c.have); !cmp.Equal(c.have, c.want) {
			t.Errorf("%s: %s", name, cmp.Diff(c.want, c.have))
		}
	}
}

func TestQOSClass(t *testing.T) {
	container := func(requests, limits corev1.ResourceList) corev1.Container {
		return corev1.Container{Resources: corev1.ResourceRequirements{Requests: requests, Limits: limits}}
	}
	one := corev1.ResourceList{"cpu": resource.MustParse("1"), "memory": resource.MustParse("1Gi")}
	zero := corev1.ResourceList{"cpu": resource.MustParse("0"), "example.com/gpu": resource.MustParse("1")}
	for name, c := range map[string]struct {
		spec corev1.PodSpec
		want corev1.PodQOSClass
	}{
		"nothing asked for":            {corev1.PodSpec{Containers: []corev1.Container{container(nil, nil)}}, corev1.PodQOSBestEffort},
		"zero and devices are nothing": {corev1.PodSpec{Containers: []corev1.Container{container(zero, zero)}}, corev1.PodQOSBestEffort},
		"requests are limits":          {corev1.PodSpec{Containers: []corev1.Container{container(one, one)}}, corev1.PodQOSGuaranteed},
		"an init container has none": {corev1.PodSpec{Containers: []corev1.Container{container(one, one)},
			InitContainers: []corev1.Container{container(nil, nil)}}, corev1.PodQOSBurstable},
		"the pod's own count alone": {corev1.PodSpec{Containers: []corev1.Container{container(nil, nil)},
			Resources: &corev1.ResourceRequirements{Requests: one, Limits: one}}, corev1.PodQOSGuaranteed},
	} {
		if got := computeQOS(&corev1.Pod{Spec: c.spec}); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestGracePeriod(t *testing.T) {
	running := corev1.Pod{Spec: corev1.PodSpec{NodeName: "n", TerminationGracePeriodSeconds: new(int64(30))}}
	pending, finished := running, running
	pending.Spec.NodeName = ""
	finished.Status.Phase = corev1.PodFailed
	for name, c := range map[string]struct {
		pod   corev1.Pod
		asked *int64
		want  int64
	}{
		"the pod's own":          {running, nil, 30},
		"as asked":               {running, new(int64(5)), 5},
		"negative is one":        {running, new(int64(-1)), 1},
		"never reached a node":   {pending, new(int64(5)), 0},
		"containers have ended":  {finished, nil, 0},
		"at once if asked so":    {running, new(int64(0)), 0},
		"none known, none given": {corev1.Pod{Spec: corev1.PodSpec{NodeName: "n"}}, nil, 0},
	} {
		if got := podGracePeriod(&c.pod, c.asked); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

func TestLabelKeysBecomeRequirements(t *testing.T) {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"rev": "1", "app": "a"}},
		Spec: corev1.PodSpec{
			Affinity: &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
					{LabelSelector: &metav1.LabelSelector{}, MatchLabelKeys: []string{"rev", "unknown"}, MismatchLabelKeys: []string{"app"}},
					{MatchLabelKeys: []string{"rev"}},
				},
			}},
		},
	}
	resolveLabelKeys(p)
	terms := p.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	want := []metav1.LabelSelectorRequirement{
		{Key: "rev", Operator: metav1.LabelSelectorOpIn, Values: []string{"1"}},
		{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"a"}},
	}
	if got := terms[0].LabelSelector.MatchExpressions; !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if terms[1].LabelSelector != nil {
		t.Error("a term without a selector matches nothing and has to stay so")
	}
}

func TestWordOfPodStatus(t *testing.T) {
	waiting := func(reason string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
	}
	ended := func(code int32, reason string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}}
	}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	now := metav1.NewTime(time.Unix(1, 0))
	for name, c := range map[string]struct {
		pod  corev1.Pod
		want string
	}{
		"the phase": {corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodPending}}, "Pending"},
		"an init container that waits": {corev1.Pod{
			Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "i"}}},
			Status: corev1.PodStatus{Phase: corev1.PodPending, InitContainerStatuses: []corev1.ContainerStatus{
				{Name: "i", State: waiting("ImagePullBackOff")}}},
		}, "Init:ImagePullBackOff"},
		"how many init containers are done": {corev1.Pod{
			Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "i"}, {Name: "j"}}},
			Status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{
				{Name: "i", State: ended(0, "Completed")}, {Name: "j", State: running}}},
		}, "Init:1/2"},
		"the first container has the last word": {corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
			{State: waiting("CrashLoopBackOff")}, {State: ended(1, "Error")}}}}, "CrashLoopBackOff"},
		"one is done, another runs": {corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
			{State: ended(0, "Completed")}, {State: running, Ready: true}}}}, "NotReady"},
		"one is done, another failed": {corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
			{State: ended(0, "Completed")}, {State: ended(3, "")}}}}, "ExitCode:3"},
		"it is going": {corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now},
			Status: corev1.PodStatus{Phase: corev1.PodRunning}}, "Terminating"},
		"it has finished, and is going": {corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now},
			Status: corev1.PodStatus{Phase: corev1.PodSucceeded}}, "Succeeded"},
	} {
		if got := summarizePod(&c.pod).reason; got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestWhichContainersComeBack(t *testing.T) {
	never, onFailure := corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure
	in := corev1.ContainerRestartRule{Action: corev1.ContainerRestartRuleActionRestart,
		ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{3}}}
	containers := []corev1.Container{
		{Name: "pod's policy"},
		{Name: "own policy", RestartPolicy: &onFailure},
		{Name: "own rules", RestartPolicy: &never, RestartPolicyRules: []corev1.ContainerRestartRule{in}},
	}
	spec := &corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: containers}
	for _, c := range []struct {
		name string
		code int32
		want bool
	}{
		{"pod's policy", 1, false},
		{"own policy", 1, true}, {"own policy", 0, false},
		{"own rules", 3, true}, {"own rules", 4, false},
		{"nobody's", 1, false},
	} {
		if got := wouldRestart(containers, spec, c.name, c.code); got != c.want {
			t.Errorf("%s after %d: got %v, want %v", c.name, c.code, got, c.want)
		}
	}
}

func TestEqualByMeaning(t *testing.T) {
	a, b := validPod(), validPod()
	if !equal(a.Spec, b.Spec) || !equal(a, b) || !equal(&a.Spec, &b.Spec) {
		t.Error("copies are equal")
	}
	a.Spec.Overhead = corev1.ResourceList{"cpu": resource.MustParse("1")}
	b.Spec.Overhead = corev1.ResourceList{"cpu": resource.MustParse("1000m")}
	a.Spec.NodeSelector = map[string]string{}
	if !equal(a.Spec, b.Spec) {
		t.Error("quantities are equal by amount, nil and empty maps are equal")
	}
	if b.Spec.NodeName = "n"; equal(a.Spec, b.Spec) {
		t.Error("a field differs")
	}
	if equal(a, (*corev1.Pod)(nil)) || !equal((*corev1.Pod)(nil), (*corev1.Pod)(nil)) {
		t.Error("nil is equal to nil alone")
	}
}
