package nodeagent

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const manifest = `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "n", "labels": {"v": %q}},
	"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Always"}}`

func TestStaticPodsAreTheirNodes(t *testing.T) {
	m := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	a, err := staticPod(m, fileSource, "/etc/web", "Node-1", noon())
	if err != nil {
		t.Fatal(err)
	}
	b, _ := staticPod(m, fileSource, "/etc/web", "node-2", noon())
	m.Labels = map[string]string{"v": "2"}
	c, _ := staticPod(m, fileSource, "/etc/web", "Node-1", noon())
	if a.Name != "web-node-1" || a.Namespace != "default" || a.Spec.NodeName != "Node-1" || a.Annotations[configSource] != "file" || a.Annotations[configHash] != string(a.UID) {
		t.Errorf("it is %+v", a)
	}
	if len(a.Spec.Tolerations) != 1 || a.Spec.Tolerations[0].Effect != corev1.TaintEffectNoExecute {
		t.Errorf("it tolerates %v", a.Spec.Tolerations)
	}
	if a.UID == b.UID || a.UID == c.UID {
		t.Error("on another node, or with another content, it is the same pod")
	}
	if _, err := staticPod(&corev1.Pod{}, fileSource, "", "node", noon()); err == nil {
		t.Error("it needs no name")
	}
}

// mirror is the mirror of the static pod web; nil if there is none.
func (w *workshop) mirror(t *testing.T) *corev1.Pod {
	t.Helper()
	list, err := w.api.CoreV1().Pods("n").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		if list.Items[i].Name == "web-node" {
			return &list.Items[i]
		}
	}
	return nil
}

func (w *workshop) mirrorRuns(t *testing.T, label string) func() bool {
	return func() bool {
		w.clock.Step(filePeriod)
		m := w.mirror(t)
		return m != nil && m.Labels["v"] == label && m.Status.Phase == corev1.PodRunning
	}
}

func TestAStaticPodRunsAsItsFileSays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "web.yaml")
	write := func(label string) {
		t.Helper()
		if err := os.WriteFile(file, fmt.Appendf(nil, manifest, label), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	w := newWorkshop(t, func(c *Config) {
		c.Manifests.Path, c.Complete = filepath.Dir(file), func(*corev1.Pod) error { return nil }
	})
	eventually(t, "it runs, and is mirrored", w.mirrorRuns(t, "one"))
	m := w.mirror(t)
	if owner := metav1.GetControllerOf(m); owner == nil || owner.Kind != "Node" || owner.Name != "node" || m.Annotations[configMirror] != m.Annotations[configHash] {
		t.Errorf("the mirror is %+v", m.ObjectMeta)
	}
	container := m.Status.ContainerStatuses[0].ContainerID

	if err := w.api.CoreV1().Pods("n").Delete(t.Context(), "web-node", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the mirror is back", w.mirrorRuns(t, "one"))
	if now := w.mirror(t).Status.ContainerStatuses[0].ContainerID; now != container {
		t.Errorf("the container is another one: %s, was %s", now, container)
	}

	write("another")
	eventually(t, "the changed pod runs", w.mirrorRuns(t, "another"))
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "bad.yaml"), []byte("kind: Secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.clock.Step(filePeriod)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is left of it", func() bool {
		w.clock.Step(filePeriod)
		return w.mirror(t) == nil && len(w.podsAtWork()) == 0
	})
}

func TestAMirrorWithoutAStaticPodGoes(t *testing.T) {
	p := onNode("c")
	p.Name, p.Annotations = "web-node", map[string]string{configSource: fileSource, configHash: "h", configMirror: "h"}
	w := newWorkshop(t, func(c *Config) { c.Manifests.Path = t.TempDir() }, p)
	eventually(t, "the mirror is gone", func() bool { return w.mirror(t) == nil })
}

func TestStaticPodsFromAURL(t *testing.T) {
	var body atomic.Value
	body.Store(fmt.Sprintf(`{"apiVersion": "v1", "kind": "PodList", "items": [`+manifest+`]}`, "list"))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Key") != "value" {
			http.Error(w, "who is that?", http.StatusForbidden)
			return
		}
		fmt.Fprint(w, body.Load())
	}))
	defer s.Close()
	w := newWorkshop(t, func(c *Config) {
		c.Manifests, c.Complete = Manifests{URL: s.URL, Header: http.Header{"Key": {"value"}}, Period: filePeriod}, func(*corev1.Pod) error { return nil }
	})
	eventually(t, "it runs", w.mirrorRuns(t, "list"))
	body.Store("") // an answer without a word is none
	w.clock.Step(filePeriod)
	body.Store(fmt.Sprintf(manifest, "single"))
	eventually(t, "the changed pod runs", w.mirrorRuns(t, "single"))
}
