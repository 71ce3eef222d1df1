package test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/knarr-dev/knarr/test/cluster"
)

// Sixty-four clients race for the last ten pods of a quota: ten get one, whatever the round.
func TestQuotaAdmitsExactlyWhatThereIsRoomFor(t *testing.T) {
	c := cluster.Start(t, "apiserver")
	racers := []*kubernetes.Clientset{clientset(t, c, "application/vnd.kubernetes.protobuf")}
	prepareRace(t, racers[0])
	for round := range 100 {
		race(t, racers, round)
	}
}

// The same with clients of two API servers, whose caches lag behind each other's writes.
func TestQuotaIsExactAcrossServers(t *testing.T) {
	url, _ := cluster.StartEtcd(t)
	var racers []*kubernetes.Clientset
	for range 2 {
		racers = append(racers, clientset(t, cluster.Start(t, "apiserver", "--etcd-servers="+url), "application/vnd.kubernetes.protobuf"))
	}
	prepareRace(t, racers[0])
	for round := range 10 {
		race(t, racers, round)
	}
}

func prepareRace(t *testing.T, client *kubernetes.Clientset) {
	t.Helper()
	ctx := t.Context()
	if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "race"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := client.CoreV1().ServiceAccounts("race").Create(ctx, account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// race lets the clients go, by turns, for a quota of its own.
func race(t *testing.T, clients []*kubernetes.Clientset, round int) {
	t.Helper()
	ctx, quotas := t.Context(), clients[0].CoreV1().ResourceQuotas("race")
	amounts := func(n string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourcePods: resource.MustParse(n)}
	}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("q", round)}, Spec: corev1.ResourceQuotaSpec{Hard: amounts("20")}}
	quota, err := quotas.Create(ctx, quota, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	quota.Status = corev1.ResourceQuotaStatus{Hard: amounts("20"), Used: amounts("10")}
	if quota, err = quotas.UpdateStatus(ctx, quota, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, other := range clients[1:] {
		if _, err := other.CoreV1().ResourceQuotas("race").Get(ctx, quota.Name, metav1.GetOptions{}); err != nil {
			t.Fatal(err) // a consistent read: the server knows the quota now
		}
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "p-"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	var admitted atomic.Int32
	var racing sync.WaitGroup
	for i := range 64 {
		racing.Go(func() {
			_, err := clients[i%len(clients)].CoreV1().Pods("race").Create(ctx, pod, metav1.CreateOptions{})
			if err == nil {
				admitted.Add(1)
			} else if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota: "+quota.Name+", requested: pods=1, used: pods=") {
				t.Error(err)
			}
		})
	}
	racing.Wait()
	after, err := quotas.Get(ctx, quota.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if used := after.Status.Used.Pods().Value(); admitted.Load() != 10 || used != 20 {
		t.Fatalf("round %d: %d of 64 admitted, %d used of 20", round, admitted.Load(), used)
	}
	if err := quotas.Delete(ctx, quota.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, other := range clients[1:] {
		if _, err := other.CoreV1().ResourceQuotas("race").List(ctx, metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}
