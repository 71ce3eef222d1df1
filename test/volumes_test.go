package test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/test/cluster"
)

// TestClaimsAndVolumesArePairs binds claims to volumes of which all would do for each of them, under transports that make the
// caches lie. Whoever looks may at no moment find two claims that name one volume, or a claim that has changed its mind.
func TestClaimsAndVolumesArePairs(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(http.RoundTripper) http.RoundTripper{
		"watches are late": lateWatches(700 * time.Millisecond), "answers are lost": lostAnswers(0.2),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := cluster.Start(t, "apiserver")
			client, ctx := clientset(t, c, formats()["json"]), t.Context()
			runControllers(t, c, wrap, "persistentvolume-binder-controller")
			one := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
			modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
			const n = 12
			for i := range n {
				_, err := client.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("v-%d", i)},
					Spec: corev1.PersistentVolumeSpec{Capacity: one, AccessModes: modes, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
						PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/x"}}}}, metav1.CreateOptions{})
				if err != nil {
					t.Fatal(err)
				}
				_, err = client.CoreV1().PersistentVolumeClaims("default").Create(ctx, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c-%d", i)},
					Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: ptr.To(""), AccessModes: modes, Resources: corev1.VolumeResourceRequirements{Requests: one}}}, metav1.CreateOptions{})
				if err != nil {
					t.Fatal(err)
				}
			}
			chosen := map[string]string{}
			bound := 0
			err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, 60*time.Second, true, func(ctx context.Context) (bool, error) {
				claims, err := client.CoreV1().PersistentVolumeClaims("default").List(ctx, metav1.ListOptions{})
				if err != nil {
					return false, err
				}
				has := map[string]string{}
				bound = 0
				for _, claim := range claims.Items {
					volume := claim.Spec.VolumeName
					if before := chosen[claim.Name]; before != "" && before != volume {
						return false, fmt.Errorf("%s had %s, and has %s", claim.Name, before, volume)
					}
					if volume == "" {
						continue
					}
					if other := has[volume]; other != "" {
						return false, fmt.Errorf("%s and %s both have %s", other, claim.Name, volume)
					}
					has[volume], chosen[claim.Name] = claim.Name, volume
					if claim.Status.Phase == corev1.ClaimBound {
						bound++
					}
				}
				return bound == n, nil
			})
			if err != nil {
				t.Fatalf("%v: %d of %d are bound", err, bound, n)
			}
			volumes, err := client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range volumes.Items {
				if v.Spec.ClaimRef == nil || chosen[v.Spec.ClaimRef.Name] != v.Name || v.Status.Phase != corev1.VolumeBound {
					t.Errorf("%s is for %v, and %s", v.Name, v.Spec.ClaimRef, v.Status.Phase)
				}
			}
		})
	}
}

// TestAClaimStaysUnderAPodThatTheCacheDoesNotShow deletes a claim that a pod has got a moment before, when pods are seen late.
// The API is asked before a claim is let go; another claim of the namespace, which nobody uses, tells when that was.
func TestAClaimStaysUnderAPodThatTheCacheDoesNotShow(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, "apiserver")
	client, ctx := clientset(t, c, formats()["json"]), t.Context()
	runControllers(t, c, func(next http.RoundTripper) http.RoundTripper {
		late := lateWatches(3 * time.Second)(next)
		return roundTrips(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/pods") {
				return late.RoundTrip(r)
			}
			return next.RoundTrip(r)
		})
	}, "persistentvolumeclaim-protection-controller")
	claims := client.CoreV1().PersistentVolumeClaims("default")
	create := func(name string) {
		t.Helper()
		_, err := claims.Create(ctx, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}}}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	isGone := func(name string) wait.ConditionWithContextFunc {
		return func(ctx context.Context) (bool, error) {
			_, err := claims.Get(ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return true, nil
			}
			return false, err
		}
	}
	drop := func(name string) {
		t.Helper()
		if err := claims.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	await := func(name string) {
		t.Helper()
		if err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, time.Minute, true, isGone(name)); err != nil {
			t.Fatal(err)
		}
	}
	create("first")
	drop("first")
	await("first") // the controller is at work
	create("used")
	create("unused")
	if _, err := client.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := client.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{NodeName: "n",
		Containers: []corev1.Container{{Name: "c", Image: "i"}}, Volumes: []corev1.Volume{{Name: "v",
			VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "used"}}}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	drop("used")
	drop("unused")
	await("unused")
	if gone, err := isGone("used")(ctx); gone || err != nil {
		t.Errorf("the claim is gone under its pod: %v", err)
	}
}
