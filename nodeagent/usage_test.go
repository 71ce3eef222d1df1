package nodeagent

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// TestWhatIsUsedIsWhatIsSaid: of CPU time, what was used before rules changed stays, and what ended pods used stays the node's.
func TestWhatIsUsedIsWhatIsSaid(t *testing.T) {
	busy, idle := onNode("c", "d"), onNode("c")
	busy.Annotations = map[string]string{annotationPrefix + "memory.c": "64Mi", annotationPrefix + "memory": "1Mi"}
	busy.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("100Mi")}
	idle.Name, idle.UID = "idle", "idle"
	w := newWorkshop(t, func(c *Config) {
		c.Capacity = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("10"), corev1.ResourceMemory: resource.MustParse("1Gi")}
	})
	says := func(cpu string) {
		w.Runtime.(*Simulated).SetRules(&Simulation{Rules: []SimulationRule{{Containers: []string{"c"}, Behavior: map[string]string{"cpu": cpu},
			selector: labels.SelectorFromSet(labels.Set{"busy": "yes"})}}})
	}
	busy.Labels = map[string]string{"busy": "yes"}
	says("250m")
	w.create(t, &busy)
	w.create(t, &idle)
	for _, name := range []string{"p", "idle"} {
		eventually(t, name+" runs", func() bool { return w.status(t, name).Phase == corev1.PodRunning })
	}
	s := asking(t, w, "stats", "metrics")
	summary := func() (all stats.Summary) {
		t.Helper()
		code, body := get(t, s.URL+"/stats/summary", "jane")
		if err := json.Unmarshal([]byte(body), &all); code != 200 || err != nil {
			t.Fatal(code, err, body)
		}
		return all
	}
	told := func(all stats.Summary) string {
		texts := []string{fmt.Sprintf("node %d %d", *all.Node.CPU.UsageNanoCores, *all.Node.CPU.UsageCoreNanoSeconds)}
		for _, p := range all.Pods {
			text := fmt.Sprintf("%s %d %d %d:", p.PodRef.Name, *p.CPU.UsageNanoCores, *p.CPU.UsageCoreNanoSeconds, *p.Memory.WorkingSetBytes>>20)
			for _, c := range p.Containers {
				text += fmt.Sprintf(" %s %d %d %d", c.Name, *c.CPU.UsageNanoCores, *c.CPU.UsageCoreNanoSeconds, *c.Memory.WorkingSetBytes>>20)
			}
			texts = append(texts, text)
		}
		return strings.Join(texts, "; ")
	}
	w.clock.Step(10 * time.Second)
	all := summary()
	if got, want := told(all), "node 250000000 2500000000; idle 0 0 0: c 0 0 0; p 250000000 2500000000 65: c 250000000 2500000000 64 d 0 0 1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if c := all.Pods[1].Containers[0]; *c.Memory.AvailableBytes != 36<<20 || *all.Node.Memory.AvailableBytes != 959<<20 || all.Pods[0].Containers[0].Memory.AvailableBytes != nil {
		t.Errorf("%+v %+v", c.Memory, all.Node.Memory)
	}
	says("500m")
	w.clock.Step(10 * time.Second)
	if got, want := told(summary()), "node 500000000 7500000000; idle 0 0 0: c 0 0 0; p 500000000 7500000000 65: c 500000000 7500000000 64 d 0 0 1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	_, body := get(t, s.URL+"/metrics/resource", "jane")
	for _, want := range []string{`container_cpu_usage_seconds_total{container="c",namespace="n",pod="p"} 7.5`, `pod_memory_working_set_bytes{namespace="n",pod="p"} 6.815744e+07`,
		"node_cpu_usage_seconds_total 7.5", `container_cpu_usage_seconds_total{container="c",namespace="n",pod="idle"} 0`, "resource_scrape_error 0"} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not in\n%s", want, body)
		}
	}
	w.markDeleted(t, "p", 0)
	eventually(t, "the pod is gone", func() bool {
		_, err := w.api.CoreV1().Pods("n").Get(t.Context(), "p", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	if got, want := told(summary()), "node 0 7500000000; idle 0 0 0: c 0 0 0"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
