package scheduler

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/fake"
	configv1 "k8s.io/kube-scheduler/config/v1"
)

// doorman holds back every pod for a minute, and refuses those with a label.
type doorman struct{}

func (*doorman) Permit(c *Cycle, _ *Node) (time.Duration, *Refusal) {
	if c.Pod.Labels["app"] == "unwanted" {
		return 0, &Refusal{Plugin: "Doorman", Reasons: []string{"unwanted"}}
	}
	return time.Minute, nil
}

// withDoorman is a stand with an API, whose profile has a doorman.
func withDoorman(t *testing.T, pods ...*corev1.Pod) *stand {
	t.Helper()
	client := fake.NewClientset()
	for _, p := range pods {
		if _, err := client.CoreV1().Pods(p.Namespace).Create(context.Background(), p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	row := plain[doorman]("Doorman", 0)
	row.Extra = true
	s := newStand(func(config *Config) {
		config.Client, config.More, config.Configuration = client, []Row{row}, DefaultConfiguration()
		config.Configuration.Profiles[0].Plugins = &configv1.Plugins{Permit: configv1.PluginSet{Enabled: []configv1.Plugin{{Name: "Doorman"}}}}
	})
	s.cluster.setNode(nodeOf("n"))
	return s
}

// until waits for what the background does.
func until(t *testing.T, done func() bool) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) { return done(), nil }); err != nil {
		t.Fatal(err)
	}
}

// look looks at the next pod, and returns at once; what goes on in the background does so.
func (s *stand) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.schedule(context.Background(), s.queue.pop())
}

// TestPermit: how the waiting ends, and what becomes of the pod.
func TestPermit(t *testing.T) {
	for _, c := range []struct {
		rule string
		end  func(s *stand, uid types.UID)
		want state // of a pod that is not bound
		said string
	}{
		{"a pod that is let go is bound", func(s *stand, uid types.UID) { s.Allow(uid, "Doorman") }, inFlight, ""},
		{"a pod that is refused is parked", func(s *stand, uid types.UID) { s.Reject(uid, "Doorman", "no") }, parked, "0/1 nodes are available: 1 no."},
		{"a pod whose time is up is parked", func(s *stand, _ types.UID) { s.clock.Step(time.Minute) }, parked,
			"0/1 nodes are available: 1 rejected due to timeout after waiting 1m0s at plugin Doorman."},
		{"a pod that has to give way tries again", func(s *stand, uid types.UID) { s.hall.preempt(uid) }, broken, "waiting on permit for pod: preempted"},
		{"a pod that is refused tries again if something has happened meanwhile", func(s *stand, uid types.UID) {
			s.mu.Lock()
			s.nodeChanged(nil, nodeOf("m"))
			s.mu.Unlock()
			s.Reject(uid, "Doorman", "no")
		}, backoff, "0/1 nodes are available: 1 no."},
		{"one who does not hold it back does not let it go", func(s *stand, uid types.UID) {
			s.Allow(uid, "Nobody")
			s.Reject(uid, "Doorman", "no")
		}, parked, "0/1 nodes are available: 1 no."},
	} {
		t.Run(c.rule, func(t *testing.T) {
			p := podOf("p", requests("cpu=3"))
			s := withDoorman(t, p)
			w := s.wait(p)
			s.look()
			until(t, func() bool { return s.hall.holds(p.UID) && s.clock.HasWaiters() })
			if s.cluster.nodes["n"].Requested.CPU != 3000 {
				t.Error("its place is not kept")
			}
			c.end(s, p.UID)
			s.background.Wait()
			if w.state != c.want || w.bound != (c.want == inFlight) {
				t.Errorf("state %d, bound %v", w.state, w.bound)
			}
			if s.cluster.nodes["n"].Requested.CPU != map[bool]int64{true: 3000}[w.bound] {
				t.Error("its place is kept, or not")
			}
			if said := s.said(t, "p"); said != c.said {
				t.Errorf("%s, not %s", said, c.said)
			}
		})
	}
}

// said is what stands in a pod's condition.
func (s *stand) said(t *testing.T, pod string) string {
	t.Helper()
	p, err := s.config.Client.CoreV1().Pods("default").Get(context.Background(), pod, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			return c.Message
		}
	}
	return ""
}

func TestAPodThatIsNotPermittedTriesAgainLater(t *testing.T) {
	p := podOf("p", labeled("app", "unwanted"))
	s := withDoorman(t, p)
	w := s.wait(p)
	s.look()
	s.background.Wait()
	if w.state != parked || len(s.cluster.pods) != 0 || s.said(t, "p") != "0/1 nodes are available: 1 unwanted." {
		t.Errorf("state %d, %d pods, %s", w.state, len(s.cluster.pods), s.said(t, "p"))
	}
}

func TestAVictimThatIsHeldBackIsNotDeleted(t *testing.T) {
	victim := podOf("victim", requests("cpu=3"))
	s := withDoorman(t, victim)
	w := s.wait(victim)
	s.look()
	important := podOf("important", requests("cpu=3"), priority(9))
	if _, err := s.config.Client.CoreV1().Pods("default").Create(context.Background(), important, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	v := s.wait(important)
	until(t, func() bool { return s.hall.holds(victim.UID) && s.clock.HasWaiters() })
	s.look()
	s.background.Wait()
	if w.state != broken || s.said(t, "victim") != "waiting on permit for pod: preempted" {
		t.Errorf("state %d: %s", w.state, s.said(t, "victim"))
	}
	if v.promised != "n" || len(s.cluster.leaving) != 0 || len(s.cluster.nodes["n"].Pods) != 0 {
		t.Errorf("promised %q, leaving %v", v.promised, s.cluster.leaving)
	}
}

func TestAPreparationEndsWhenThePlaceIsNeeded(t *testing.T) {
	h := newHall()
	ctx, done := h.prepare(context.Background(), "p")
	if !h.preempt("p") || ctx.Err() == nil {
		t.Error("it goes on")
	}
	if err := done(); err == nil || err.Error() != "preempted by DefaultPreemption" {
		t.Error(err)
	}
	if h.preempt("p") {
		t.Error("what is done is ended")
	}
}
