package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/test/cluster"
)

// TestPartsInProcessesOfTheirOwn makes a cluster of five processes, kills the controllers that lead, and ends the others:
// at any time somebody who waits takes over, and what was killed gets its own lease back.
func TestPartsInProcessesOfTheirOwn(t *testing.T) {
	t.Parallel()
	// Brief leases, so that the test is.
	election := []string{"--leader-elect-lease-duration=3s", "--leader-elect-renew-deadline=2s", "--leader-elect-retry-period=300ms"}
	api := cluster.Start(t, "apiserver", "--enable-admission-plugins=NodeRestriction", "--kubelet-preferred-address-types=Hostname")
	client := clientset(t, api, formats()["protobuf"])
	leader := api.Beside("controllers", election...)
	holder := func() string {
		lease, err := client.CoordinationV1().Leases(metav1.NamespaceSystem).Get(t.Context(), "kube-controller-manager", metav1.GetOptions{})
		if err != nil {
			return ""
		}
		return ptr.Deref(lease.Spec.HolderIdentity, "")
	}
	eventually(t, "the first controllers lead", func() bool { return holder() != "" })
	first := holder()
	waiting := api.Beside("controllers", election...)
	api.Beside("scheduler", election...)
	manifests := t.TempDir()
	if err := os.WriteFile(filepath.Join(manifests, "static.yaml"), []byte(`{apiVersion: v1, kind: Pod, metadata: {name: static}, spec: {containers: [{name: c, image: i}]}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	api.Agent("--simulated-nodes=2", "--node-ip=127.0.0.1", "--address=127.0.0.1", "--pod-manifest-path="+manifests)

	deploy(t, client, "before")
	awaitAvailable(t, client, "before")
	if log := podLog(t, client); !strings.Contains(log, "simulated") {
		t.Errorf("a node says %q", log)
	}

	// Each node has the static pod, and its mirror comes back.
	running := func(name string) bool {
		p, err := client.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
		return err == nil && p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil
	}
	eventually(t, "a static pod runs on each node", func() bool { return running("static-node-1") && running("static-node-2") })
	if err := client.CoreV1().Pods("default").Delete(t.Context(), "static-node-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its mirror is back", func() bool { return running("static-node-1") })

	killed := time.Now()
	leader.Kill()
	deploy(t, client, "after")
	awaitAvailable(t, client, "after")
	if took := time.Since(killed); took > 3*time.Second+15*time.Second {
		t.Errorf("the others took over after %v; the lease is of 3s", took)
	}
	second := holder()
	if second == first || second == "" {
		t.Errorf("%q leads after %q was killed", second, first)
	}

	// The first waits now, under the identity that it had. When the second is told to end, it need not wait for long.
	leader.Restart()
	waiting.Stop()
	eventually(t, "the first leads again", func() bool { return holder() == first })
	leader.Kill()
	leader.Restart()
	lease, err := client.CoordinationV1().Leases(metav1.NamespaceSystem).Get(t.Context(), "kube-controller-manager", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	renewed := lease.Spec.RenewTime.Time
	eventually(t, "the lease is renewed by who was killed", func() bool {
		lease, err = client.CoordinationV1().Leases(metav1.NamespaceSystem).Get(t.Context(), "kube-controller-manager", metav1.GetOptions{})
		return err == nil && lease.Spec.RenewTime.After(renewed)
	})
	if got := ptr.Deref(lease.Spec.HolderIdentity, ""); got != first || *lease.Spec.LeaseTransitions > 2 {
		t.Errorf("%q leads after %d transitions: who was killed did not get its own lease back", got, *lease.Spec.LeaseTransitions)
	}

	// Each controller acts under its own account, by a token.
	for _, name := range []string{"deployment-controller", "replicaset-controller"} {
		if _, err := client.CoreV1().ServiceAccounts(metav1.NamespaceSystem).Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
}

// TestAllPartsAreHealthy asks the API server, which asks the parts.
func TestAllPartsAreHealthy(t *testing.T) {
	t.Parallel()
	one, another := cluster.Start(t, "up"), cluster.Start(t, "up") // the second finds its ports taken
	for _, c := range []*cluster.Cluster{one, another} {
		list, err := clientset(t, c, formats()["json"]).CoreV1().ComponentStatuses().List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 3 {
			t.Fatalf("%v, %v", list, err)
		}
		for i := range list.Items {
			if s := &list.Items[i]; s.Conditions[0].Status != corev1.ConditionTrue {
				t.Errorf("%s: %+v", s.Name, s.Conditions)
			}
		}
	}
}

// TestStatus asks clusters how they are, by the command that people use.
func TestStatus(t *testing.T) {
	t.Parallel()
	status := func(c *cluster.Cluster) (string, bool) {
		t.Helper()
		out, err := exec.Command(cluster.Binary(t, "knarr"), "status", "--data-dir="+c.DataDir).CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
			t.Fatal(err)
		}
		return string(out), err == nil
	}
	up := cluster.Start(t, "up", "--simulated-nodes=1")
	eventually(t, "all is well", func() bool { _, well := status(up); return well })
	text, _ := status(up)
	for _, want := range []string{up.URL, "API server", "controllers   https://", "scheduler     https://", "node agents   https://", "led by ", "1 ready"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	other := up.Agent("--hostname-override=other", "--node-ip=127.0.0.1", "--address=127.0.0.1", fmt.Sprintf("--port=%d", cluster.FreePort(t)))
	eventually(t, "another agent is well", func() bool {
		text, well := status(up)
		return well && strings.Contains(text, ", https://") && strings.Contains(text, "2 ready")
	})
	other.Kill()
	if text, well := status(up); well || !strings.Contains(text, "1 ready, 1 not: other: does not answer") {
		t.Errorf("of an agent that was killed it says\n%s", text)
	}
	up.Stop()
	if text, well := status(up); well || !strings.Contains(text, "nothing answers") {
		t.Errorf("of a cluster that is not running it says\n%s", text)
	}
	alone := cluster.Start(t, "apiserver")
	if text, well := status(alone); well || !strings.Contains(text, "nobody has led yet") {
		t.Errorf("of an API server alone it says\n%s", text)
	}
}

func deploy(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	labels := map[string]string{"app": name}
	_, err := client.AppsV1().Deployments(metav1.NamespaceDefault).Create(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](3), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "nginx"}}}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func awaitAvailable(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	eventually(t, "deployment "+name+" is available", func() bool {
		d, err := client.AppsV1().Deployments(metav1.NamespaceDefault).Get(t.Context(), name, metav1.GetOptions{})
		return err == nil && d.Status.AvailableReplicas == 3
	})
}

// podLog is the log of some pod, which the API server gets from its node.
func podLog(t *testing.T, client kubernetes.Interface) string {
	t.Helper()
	pods, err := client.CoreV1().Pods(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(pods.Items) == 0 {
		t.Fatal(pods, err)
	}
	text, err := client.CoreV1().Pods(metav1.NamespaceDefault).GetLogs(pods.Items[0].Name, &corev1.PodLogOptions{}).DoRaw(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Error(err)
	}
	return string(text)
}
