package store_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/knarr-dev/knarr/registry/store"
)

// TestAnIndexAnswersAsAWalkDoes moves pods between nodes at random. Each pod carries its node as a label too, by which
// no index leads.
func TestAnIndexAnswersAsAWalkDoes(t *testing.T) {
	s := openDB(t, startEtcd(t, ""), nil).Open(pods())
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		k := store.Key{Namespace: fmt.Sprint("n", random.IntN(3)), Name: fmt.Sprint("p", random.IntN(20))}
		node := []string{"", "a", "b", "c"}[random.IntN(4)]
		if random.IntN(4) == 0 {
			if _, err := s.Get(t.Context(), k, ""); err == nil {
				remove(t, s, k)
			}
		} else {
			put(t, s, k, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: k.Namespace, Name: k.Name, Labels: map[string]string{"node": node}},
				Spec: corev1.PodSpec{NodeName: node}})
		}
		if round%5 > 0 {
			continue
		}
		for _, node := range []string{"a", "b", "c", "d"} {
			for _, namespace := range []string{"", "n1"} {
				through := store.Selection{Namespace: namespace, Fields: fields.SelectorFromSet(fields.Set{"spec.nodeName": node})}
				walk := store.Selection{Namespace: namespace, Labels: labels.SelectorFromSet(labels.Set{"node": node})}
				want, got := keysOf(list(t, s, store.ListOptions{Selection: walk})), keysOf(list(t, s, store.ListOptions{Selection: through}))
				if d := cmp.Diff(want, got); d != "" {
					t.Fatalf("round %d, node %s, namespace %q (-walk +index):\n%s", round, node, namespace, d)
				}
				if d := cmp.Diff(want, initialKeys(t, s, through)); d != "" {
					t.Fatalf("round %d, initial events of node %s, namespace %q (-walk +index):\n%s", round, node, namespace, d)
				}
			}
		}
	}
}

func keysOf(l *store.List) (keys []store.Key) {
	for _, b := range l.Blocks {
		for _, e := range b.Entries {
			keys = append(keys, e.Key)
		}
	}
	return keys
}

// initialKeys are the keys that a watch begins with.
func initialKeys(t *testing.T, s *store.Store, selection store.Selection) (keys []store.Key) {
	t.Helper()
	begin := true
	w := startWatch(t, s, store.WatchOptions{Selection: selection, SendInitialEvents: &begin, Match: metav1.ResourceVersionMatchNotOlderThan, AllowBookmarks: true})
	defer w.Close()
	for {
		events, err := w.Next(within(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.InitialEventsEnd {
				return keys
			}
			keys = append(keys, e.Entry.Key)
		}
	}
}
