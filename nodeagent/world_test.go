package nodeagent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
)

// shelfWith has a ConfigMap "m" and a Secret "s" in namespace "n", and none called "none".
func shelfWith() shelf {
	return shelf{
		{configMapReference, "n", "m"}:    {object: &corev1.ConfigMap{Data: map[string]string{"a": "1", "b": "2"}}},
		{secretReference, "n", "s"}:       {object: &corev1.Secret{Data: map[string][]byte{"k": []byte("hidden")}}},
		{configMapReference, "n", "none"}: {err: apierrors.NewNotFound(corev1.Resource("configmap"), "none")},
		{secretReference, "n", "none"}:    {err: apierrors.NewNotFound(corev1.Resource("secret"), "none")},
	}
}

func fromMap(name, key string, optional bool) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: &optional}}
}

func fromSecret(name, key string, optional bool) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: &optional}}
}

func fromField(path string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
}

func fromResource(name, divisor string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: name, Divisor: resource.MustParse(divisor)}}
}

func TestEnvironment(t *testing.T) {
	pod := podOf(corev1.RestartPolicyAlways, nil, "c")
	pod.Labels, pod.Spec.NodeName = map[string]string{"b": "2", "a": `"1"`}, "node"
	whole := func(name, prefix string, optional bool) corev1.EnvFromSource {
		return corev1.EnvFromSource{Prefix: prefix, ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Optional: &optional}}
	}
	for name, c := range map[string]struct {
		from []corev1.EnvFromSource
		env  []corev1.EnvVar
		want string
	}{
		"single variables win over whole maps":        {[]corev1.EnvFromSource{whole("m", "", false)}, []corev1.EnvVar{{Name: "a", Value: "own"}}, "a=own b=2"},
		"a prefix stands before keys":                 {[]corev1.EnvFromSource{whole("m", "P_", false)}, nil, "P_a=1 P_b=2"},
		"a whole map that is missing":                 {[]corev1.EnvFromSource{whole("none", "", false)}, nil, `configmap "none" not found`},
		"one that may be missing":                     {[]corev1.EnvFromSource{whole("none", "", true)}, nil, ""},
		"variables may use those before them":         {nil, []corev1.EnvVar{{Name: "x", Value: "1"}, {Name: "y", Value: "$(x)2$$(x)$(z)$"}}, "x=1 y=12$(x)$(z)$"},
		"a key":                                       {nil, []corev1.EnvVar{{Name: "x", ValueFrom: fromMap("m", "a", false)}}, "x=1"},
		"a key that is missing":                       {nil, []corev1.EnvVar{{Name: "x", ValueFrom: fromMap("m", "z", false)}}, "couldn't find key z in ConfigMap n/m"},
		"a key that may be missing":                   {nil, []corev1.EnvVar{{Name: "x", ValueFrom: fromMap("m", "z", true)}}, ""},
		"a map that may be missing":                   {nil, []corev1.EnvVar{{Name: "x", ValueFrom: fromMap("none", "z", true)}}, ""},
		"a secret":                                    {nil, []corev1.EnvVar{{Name: "x", ValueFrom: fromSecret("s", "k", false)}}, "x=hidden"},
		"a secret that is missing":                    {nil, []corev1.EnvVar{{Name: "x", ValueFrom: fromSecret("none", "k", false)}}, `secret "none" not found`},
		"a secret's key that is missing":              {nil, []corev1.EnvVar{{Name: "x", ValueFrom: fromSecret("s", "z", false)}}, "couldn't find key z in Secret n/s"},
		"fields of the pod":                           {nil, []corev1.EnvVar{{Name: "x", ValueFrom: fromField("spec.nodeName")}, {Name: "y", ValueFrom: fromField("status.podIP")}}, "x=node y=10.0.0.9"},
		"all labels, sorted":                          {nil, []corev1.EnvVar{{Name: "x", ValueFrom: fromField("metadata.labels")}}, "x=a=\"\\\"1\\\"\"\nb=\"2\""},
		"one label":                                   {nil, []corev1.EnvVar{{Name: "x", ValueFrom: fromField("metadata.labels['b']")}}, "x=2"},
		"a field of which nobody is told":             {nil, []corev1.EnvVar{{Name: "x", ValueFrom: fromField("spec.hostname")}}, "unsupported fieldPath: spec.hostname"},
		"a limit, in parts, rounded up":               {nil, []corev1.EnvVar{{Name: "x", ValueFrom: fromResource("limits.memory", "1Mi")}}, "x=2"},
		"without a limit it is what the node has":     {nil, []corev1.EnvVar{{Name: "x", ValueFrom: fromResource("limits.cpu", "1m")}}, "x=8000"},
		"nothing is requested where nothing is":       {nil, []corev1.EnvVar{{Name: "x", ValueFrom: fromResource("requests.cpu", "0")}}, "x=0"},
		"a resource of which nobody is told":          {nil, []corev1.EnvVar{{Name: "x", ValueFrom: fromResource("limits.gpu", "0")}}, "unsupported container resource : limits.gpu"},
		"a variable from a file is for those who can": {nil, []corev1.EnvVar{{Name: "x", ValueFrom: &corev1.EnvVarSource{FileKeyRef: &corev1.FileKeySelector{}}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			container := &corev1.Container{Name: "c", EnvFrom: c.from, Env: c.env, Resources: corev1.ResourceRequirements{
				Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1025Ki")}}}
			around := &surroundings{shelf: shelfWith(), podIPs: []string{"10.0.0.9"}, allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8")}}
			vars, err := environment(pod, container, around)
			var got []string
			for _, k := range slices.Sorted(maps.Keys(vars)) {
				got = append(got, k+"="+vars[k])
			}
			text := strings.Join(got, " ")
			if err != nil {
				text = err.Error()
			}
			if text != c.want {
				t.Errorf("%s, want %s", text, c.want)
			}
		})
	}
}

func TestServicesInTheEnvironment(t *testing.T) {
	service := func(namespace, name, ip string, ports ...corev1.ServicePort) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: ports}}
	}
	all := []*corev1.Service{service("default", "kubernetes", "10.0.0.1", corev1.ServicePort{Name: "https", Port: 443}),
		service("n", "my-web", "10.0.0.2", corev1.ServicePort{Port: 80, Protocol: corev1.ProtocolUDP}),
		service("n", "headless", corev1.ClusterIPNone, corev1.ServicePort{Port: 1}), service("other", "far", "10.0.0.3", corev1.ServicePort{Port: 1})}
	pod := podOf(corev1.RestartPolicyAlways, nil, "c")
	root := map[string]string{"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443", "KUBERNETES_SERVICE_PORT_HTTPS": "443",
		"KUBERNETES_PORT": "tcp://10.0.0.1:443", "KUBERNETES_PORT_443_TCP": "tcp://10.0.0.1:443", "KUBERNETES_PORT_443_TCP_PROTO": "tcp",
		"KUBERNETES_PORT_443_TCP_PORT": "443", "KUBERNETES_PORT_443_TCP_ADDR": "10.0.0.1"}
	linked := maps.Clone(root)
	maps.Copy(linked, map[string]string{"MY_WEB_SERVICE_HOST": "10.0.0.2", "MY_WEB_SERVICE_PORT": "80", "MY_WEB_PORT": "udp://10.0.0.2:80",
		"MY_WEB_PORT_80_UDP": "udp://10.0.0.2:80", "MY_WEB_PORT_80_UDP_PROTO": "udp", "MY_WEB_PORT_80_UDP_PORT": "80", "MY_WEB_PORT_80_UDP_ADDR": "10.0.0.2"})
	if d := cmp.Diff(linked, serviceVariables(pod, all)); d != "" {
		t.Error(d)
	}
	pod.Spec.EnableServiceLinks = ptr.To(false)
	if d := cmp.Diff(root, serviceVariables(pod, all)); d != "" {
		t.Error(d)
	}
}

func TestVolumes(t *testing.T) {
	pod := podOf(corev1.RestartPolicyAlways, nil, "c")
	s := shelfWith()
	bound := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "bound", Namespace: "n", UID: "1"}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv"},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound}}
	s[reference{claimReference, "n", "bound"}] = finding{object: bound}
	s[reference{claimReference, "n", "p-v"}] = finding{object: bound}
	s[reference{volumeReference, "", "pv"}] = finding{object: &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{UID: "1"}}}}
	s[reference{claimReference, "n", "free"}] = finding{object: &corev1.PersistentVolumeClaim{Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}}}
	s[reference{claimReference, "n", "none"}] = finding{err: apierrors.NewNotFound(corev1.Resource("persistentvolumeclaims"), "none")}
	configMap := func(name string, optional bool, keys ...string) corev1.VolumeSource {
		v := &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Optional: &optional}
		for _, k := range keys {
			v.Items = append(v.Items, corev1.KeyToPath{Key: k, Path: "to/" + k})
		}
		return corev1.VolumeSource{ConfigMap: v}
	}
	claim := func(name string) corev1.VolumeSource {
		return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}
	}
	for name, c := range map[string]struct {
		source corev1.VolumeSource
		want   string
	}{
		"all entries":                     {configMap("m", false), "a=1 b=2"},
		"those that are asked for":        {configMap("m", false, "b"), "to/b=2"},
		"an entry that is missing":        {configMap("m", false, "z"), "configmap references non-existent config key: z"},
		"one that may be":                 {configMap("m", true, "z"), ""},
		"a ConfigMap that is missing":     {configMap("none", false), `configmap "none" not found`},
		"one that may be missing":         {configMap("none", true), ""},
		"a Secret":                        {corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}, "k=hidden"},
		"a Secret that is missing":        {corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "none"}}, `secret "none" not found`},
		"the pod itself":                  {corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{{Path: "name", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}}, "name=p"},
		"several sources, all their lack": {corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}}}, {Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}}}}}}, `[configmap "none" not found, secret "none" not found]`},
		"a token is asked for later":      {corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}}}}, "token="},
		"a claim that is bound":           {claim("bound"), "pv"},
		"one that is not":                 {claim("free"), "error processing PVC n/free: PVC is not bound"},
		"a claim that is missing":         {claim("none"), `error processing PVC n/none: failed to fetch PVC from API server: persistentvolumeclaims "none" not found`},
		"another's ephemeral claim":       {corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}, "PVC n/bound was not created for pod n/p (pod is not owner)"},
		"what needs no object":            {corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := volumeContent(pod, &corev1.Volume{Name: "v", VolumeSource: c.source}, &surroundings{shelf: s})
			var texts []string
			for _, k := range slices.Sorted(maps.Keys(got.files)) {
				texts = append(texts, fmt.Sprintf("%s=%s", k, got.files[k].data))
			}
			if got.volume != nil {
				texts = append(texts, got.volume.Name)
			}
			text := strings.Join(texts, " ")
			if err != nil {
				text = err.Error()
			}
			if text != c.want {
				t.Errorf("%s, want %s", text, c.want)
			}
		})
	}
}

// What is asked while a question is under way is not answered by it, and is asked once for all.
func TestNobodyGetsAnAnswerOlderThanHisQuestion(t *testing.T) {
	client := fake.NewClientset()
	asked, go_ := make(chan int, 10), make(chan bool)
	count := 0
	client.PrependReactor("get", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		count++
		asked <- count
		<-go_
		return true, &corev1.ConfigMap{Data: map[string]string{"question": fmt.Sprint(count)}}, nil
	})
	l := newLibrary(client)
	r := reference{configMapReference, "n", "m"}
	answers := make(chan string, 10)
	ask := func() {
		m, err := l.gather(context.Background(), []reference{r}).configMap("n", "m")
		if err != nil {
			t.Error(err)
		}
		answers <- m.Data["question"]
	}
	go ask()
	<-asked
	second := []*answer{l.ask(t.Context(), r), l.ask(t.Context(), r), l.ask(t.Context(), r)}
	go_ <- true
	if got := <-answers; got != "1" {
		t.Errorf("the first is answered by question %s", got)
	}
	<-asked
	go_ <- true
	for _, a := range second {
		<-a.done
		if got := a.object.(*corev1.ConfigMap).Data["question"]; got != "2" {
			t.Errorf("one who came later is answered by question %s", got)
		}
	}
	select {
	case n := <-asked:
		t.Errorf("question %d was put for nobody", n)
	default:
	}
}

func (w *workshop) status(t *testing.T, name string) *corev1.PodStatus {
	p, err := w.api.CoreV1().Pods("n").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return &p.Status
}

// markDeleted does what the API does when a pod is deleted that may take its time.
func (w *workshop) markDeleted(t *testing.T, name string, grace int64) {
	t.Helper()
	pods := w.api.CoreV1().Pods("n")
	p, err := pods.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: w.clock.Now().Add(time.Duration(grace) * time.Second)}, &grace
	p.Generation++
	if _, err := pods.Update(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// waits reports why a container waits.
func waits(s *corev1.PodStatus) string {
	if len(s.ContainerStatuses) == 0 || s.ContainerStatuses[0].State.Waiting == nil {
		return ""
	}
	return s.ContainerStatuses[0].State.Waiting.Reason
}

// onNode is a pod that is bound to the workshop's node.
func onNode(names ...string) corev1.Pod {
	p := podOf(corev1.RestartPolicyAlways, nil, names...)
	p.Spec.NodeName = "node"
	for i := range p.Spec.Containers {
		p.Spec.Containers[i].Image = "i"
	}
	return *p
}

func TestAPodWaitsForWhatItNames(t *testing.T) {
	p := onNode("c")
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "m"}}}}}
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
	p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "x", ValueFrom: fromSecret("s", "k", false)}}
	events := record.NewFakeRecorder(1000)
	w := newWorkshop(t, func(c *Config) { c.Events = func(string) record.EventRecorder { return events } }, p)
	heard := func(text string) bool {
		for {
			select {
			case e := <-events.Events:
				if strings.Contains(e, text) {
					return true
				}
			default:
				return false
			}
		}
	}
	eventually(t, "it is told that the volume is missing", func() bool {
		return heard(`Warning FailedMount MountVolume.SetUp failed for volume "v" : configmap "m" not found`)
	})
	eventually(t, "the container waits", func() bool { return waits(w.status(t, "p")) == "ContainerCreating" })
	if _, err := w.api.CoreV1().ConfigMaps("n").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "m"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	turn := func() bool { w.clock.Step(lastMountDelay); return true }
	eventually(t, "the Secret is missing", func() bool { return turn() && waits(w.status(t, "p")) == "CreateContainerConfigError" })
	if got := w.status(t, "p").ContainerStatuses[0].State.Waiting.Message; got != `secret "s" not found` {
		t.Errorf("the message is %s", got)
	}
	if !heard(`Warning Failed Error: secret "s" not found`) {
		t.Error("nobody is told of the Secret")
	}
	if _, err := w.api.CoreV1().Secrets("n").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Data: map[string][]byte{"k": nil}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod runs", func() bool { return turn() && w.status(t, "p").Phase == corev1.PodRunning })
}

func TestWhenAPodHasBeenActiveForTooLong(t *testing.T) {
	at := func(ago time.Duration) *corev1.PodStatus {
		return &corev1.PodStatus{StartTime: ptr.To(metav1.NewTime(noon().Add(-ago)))}
	}
	for name, c := range map[string]struct {
		told    *corev1.PodStatus // and not seen yet
		shown   *corev1.PodStatus // by the API
		overdue bool
		rest    time.Duration
	}{
		"its first round begins":                      {nil, &corev1.PodStatus{}, false, time.Minute},
		"the API does not show yet that it has begun": {at(20 * time.Second), &corev1.PodStatus{}, false, 40 * time.Second},
		"it has begun":                                {nil, at(20 * time.Second), false, 40 * time.Second},
		"its time is over":                            {nil, at(time.Minute), true, 0},
		"it has ended by itself":                      {nil, &corev1.PodStatus{Phase: corev1.PodSucceeded, StartTime: at(time.Hour).StartTime}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			pod := onNode("c")
			pod.Spec.ActiveDeadlineSeconds, pod.Status = ptr.To[int64](60), *c.shown
			a := &Agent{Config: Config{Clock: clocktesting.NewFakeClock(noon())}, recorders: map[string]record.EventRecorder{"node": &record.FakeRecorder{}}}
			overdue, when := a.deadline(&work{status: c.told}, &pod)
			var rest time.Duration
			if !when.IsZero() {
				rest = when.Sub(noon())
			}
			if overdue != c.overdue || rest != c.rest {
				t.Errorf("overdue %v, in %v; want %v, in %v", overdue, rest, c.overdue, c.rest)
			}
		})
	}
}

func TestHooks(t *testing.T) {
	hooked := func(annotation, value string, hooks *corev1.Lifecycle) corev1.Pod {
		p := onNode("c")
		p.Annotations = map[string]string{annotationPrefix + annotation: value}
		p.Spec.Containers[0].Lifecycle = hooks
		return p
	}
	exec := &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}}
	t.Run("a container whose postStart hook fails is stopped", func(t *testing.T) {
		w := newWorkshop(t, nil, hooked("fail", "post-start", &corev1.Lifecycle{PostStart: exec}))
		eventually(t, "the container waits", func() bool {
			s := w.status(t, "p")
			return waits(s) == "PostStartHookError" || waits(s) == "CrashLoopBackOff"
		})
	})
	t.Run("it is not running before the hook is done", func(t *testing.T) {
		w := newWorkshop(t, nil, hooked("post-start-after", "1h", &corev1.Lifecycle{PostStart: exec}))
		eventually(t, "the hook runs", w.clock.waited(time.Hour))
		if s := w.status(t, "p"); s.Phase == corev1.PodRunning {
			t.Error("the pod runs")
		}
		w.clock.Step(time.Hour)
		eventually(t, "the pod runs", func() bool { return w.status(t, "p").Phase == corev1.PodRunning })
	})
	t.Run("a preStop hook takes from the grace", func(t *testing.T) {
		p := hooked("stop-after", "1h", &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 20}}})
		p.Spec.TerminationGracePeriodSeconds = ptr.To(int64(30))
		w := newWorkshop(t, nil, p)
		eventually(t, "the pod runs", func() bool { return w.status(t, "p").Phase == corev1.PodRunning })
		w.markDeleted(t, "p", 30)
		ended := func() bool {
			_, err := w.api.CoreV1().Pods("n").Get(t.Context(), "p", metav1.GetOptions{})
			return apierrors.IsNotFound(err)
		}
		eventually(t, "the hook sleeps", w.clock.waited(20*time.Second))
		w.clock.Step(20 * time.Second)
		eventually(t, "it has what is left", w.clock.waited(10*time.Second))
		w.clock.Step(9 * time.Second)
		if ended() {
			t.Error("it ended before its grace was over")
		}
		w.clock.Step(time.Second)
		eventually(t, "it is killed", ended)
	})
}
