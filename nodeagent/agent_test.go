package nodeagent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

// workshop is an agent at work, over an API that is only a store and a clock that the test turns.
type workshop struct {
	*Agent
	api   *fake.Clientset
	clock turned
	may   []string // sub-resources of nodes that everybody may use
}

// turned is a clock that the test turns. What it sets off runs beside it, as with a real one.
type turned struct {
	*clocktesting.FakeClock
	waits *sync.Map // for how long somebody has wanted to wait
}

func (c turned) AfterFunc(d time.Duration, f func()) clock.Timer {
	defer c.waits.Store(d, true)
	return c.FakeClock.AfterFunc(d, func() { go f() })
}

// waited is when somebody waits, or has waited, for just as long.
func (c turned) waited(d time.Duration) func() bool {
	return func() bool { _, did := c.waits.Load(d); return did }
}

// newWorkshop runs an agent with a simulated runtime until the test ends.
func newWorkshop(t *testing.T, change func(*Config), objects ...corev1.Pod) *workshop {
	t.Helper()
	w := &workshop{api: fake.NewSimpleClientset(), clock: turned{clocktesting.NewFakeClock(noon()), &sync.Map{}}}
	w.api.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
		review.Status.Allowed = slices.Contains(w.may, review.Spec.ResourceAttributes.Subresource)
		return true, review, nil
	})
	var made atomic.Int64
	w.api.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if p := a.(clienttesting.CreateAction).GetObject().(*corev1.Pod); p.UID == "" {
			p.UID = types.UID(fmt.Sprint("uid-", made.Add(1)))
		}
		return false, nil, nil
	})
	simulated := NewSimulated(w.clock, netip.MustParsePrefix("10.0.0.0/24"))
	c := Config{Nodes: []string{"node"}, Client: w.api, Runtime: simulated, Prober: simulated, Hooks: simulated, Logs: simulated, Streams: simulated,
		Events: func(string) record.EventRecorder { return &record.FakeRecorder{} }, Clock: w.clock, Log: slog.New(slog.DiscardHandler),
		Addresses: func(string) []corev1.NodeAddress {
			return []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}}
		},
		Capacity: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("10"), corev1.ResourceCPU: resource.MustParse("4")}, LeasePeriod: 10 * time.Second}
	if change != nil {
		change(&c)
	}
	for i := range objects {
		w.create(t, &objects[i])
	}
	w.Agent = New(c)
	ctx, stop := context.WithCancel(t.Context())
	up, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- w.Run(ctx, func() { close(up) }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-up
	return w
}

func (w *workshop) create(t *testing.T, p *corev1.Pod) {
	t.Helper()
	if _, err := w.api.CoreV1().Pods(p.Namespace).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline, tick := time.NewTimer(time.Minute), time.NewTicker(2*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("it never came to be that %s", what)
		case <-tick.C:
		}
	}
}

func (w *workshop) hasNode(ctx context.Context) bool {
	_, err := w.api.CoreV1().Nodes().Get(ctx, "node", metav1.GetOptions{})
	return !apierrors.IsNotFound(err)
}

func TestANodeThatIsDeletedReturns(t *testing.T) {
	w := newWorkshop(t, nil)
	if !w.hasNode(t.Context()) {
		t.Fatal("the node is not registered")
	}
	eventually(t, "nodes are watched", func() bool {
		for _, a := range w.api.Actions() {
			if a.Matches("watch", "nodes") {
				return true
			}
		}
		return false
	})
	if err := w.api.CoreV1().Nodes().Delete(t.Context(), "node", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the agent notices", func() bool { _, away := w.away.Load("node"); return away })
	w.clock.Step(returnAfter - time.Second)
	if w.hasNode(t.Context()) {
		t.Error("it is back before its pods are gone")
	}
	w.clock.Step(time.Second)
	eventually(t, "the node is back", func() bool { return w.hasNode(t.Context()) })
}

func TestWhatOthersTellOfANodeStays(t *testing.T) {
	then, now := metav1.NewTime(noon()), metav1.NewTime(noon().Add(time.Hour))
	known := &corev1.NodeStatus{VolumesAttached: []corev1.AttachedVolume{{Name: "v"}}, Conditions: []corev1.NodeCondition{
		{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, LastTransitionTime: then},
		{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse, LastTransitionTime: then},
		{Type: "example.com/Sunny", Status: corev1.ConditionTrue, LastTransitionTime: then}}}
	got := mergeStatus(known, corev1.NodeStatus{Conditions: []corev1.NodeCondition{
		{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse, LastTransitionTime: now},
		{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: now}}})
	if len(got.VolumesAttached) != 1 || len(got.Conditions) != 3 {
		t.Errorf("something was lost: %+v", got)
	}
	for i, want := range []metav1.Time{then, now, then} {
		if got.Conditions[i].LastTransitionTime != want {
			t.Errorf("%s: since %v, want %v", got.Conditions[i].Type, got.Conditions[i].LastTransitionTime, want)
		}
	}
	if !becameReady(known, &got) || becameReady(&got, &got) {
		t.Error("a node becomes ready when it was not")
	}
}

// A scheduler may send a pod to the place of another as soon as the API says that this one is over.
func TestAPodGivesItsPlaceBackBeforeTheAPIHearsOfItsEnd(t *testing.T) {
	var over []int64
	var w *workshop
	w = newWorkshop(t, func(c *Config) { // nobody may be added when the API is at work
		c.Client.(*fake.Clientset).PrependReactor("patch", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
			if strings.Contains(string(a.(clienttesting.PatchAction).GetPatch()), `"phase":"Succeeded"`) {
				w.desk.mu.Lock()
				defer w.desk.mu.Unlock()
				over = append(over, w.desk.used["node"][corev1.ResourceCPU])
			}
			return false, nil, nil
		})
	})
	w.create(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "task", Namespace: "default", UID: "task"}, Spec: corev1.PodSpec{NodeName: "node",
		RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "i", Command: []string{"true"},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("3")}}}}}})
	eventually(t, "the pod has succeeded", func() bool {
		w.clock.Step(10 * time.Millisecond)
		p, err := w.api.CoreV1().Pods("default").Get(t.Context(), "task", metav1.GetOptions{})
		return err == nil && p.Status.Phase == corev1.PodSucceeded
	})
	w.desk.mu.Lock()
	defer w.desk.mu.Unlock()
	if !slices.Equal(over, []int64{0}) {
		t.Errorf("when the API heard of the end, the pod had thousandths of a CPU: %d", over)
	}
}

// An informer that was cut off sees a pod that was deleted and made again as one that has changed.
func TestAPodThatWasMadeAgainIsAnotherOne(t *testing.T) {
	w := newWorkshop(t, nil)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "state-0", Namespace: "default", UID: "first"},
		Spec: corev1.PodSpec{NodeName: "node", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	runs := func(uid types.UID) func() bool {
		return func() bool {
			w.clock.Step(10 * time.Millisecond)
			p, err := w.api.CoreV1().Pods("default").Get(t.Context(), "state-0", metav1.GetOptions{})
			return err == nil && p.UID == uid && p.Status.Phase == corev1.PodRunning
		}
	}
	w.create(t, pod.DeepCopy())
	eventually(t, "the first pod runs", runs("first"))
	pod.UID = "second"
	if _, err := w.api.CoreV1().Pods("default").Update(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second pod runs", runs("second"))
	eventually(t, "the first pod has ended", func() bool {
		w.clock.Step(time.Second)
		w.desk.mu.Lock()
		defer w.desk.mu.Unlock()
		return w.desk.pods["first"] == nil && w.desk.pods["second"] != nil
	})
}
