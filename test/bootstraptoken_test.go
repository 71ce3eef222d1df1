package test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/knarr-dev/knarr/test/cluster"
)

// The two controllers of bootstrap tokens run when they are asked for: a token signs cluster-info until it expires, and
// then goes, and its signature with it.
func TestBootstrapTokensSignAndExpire(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, "apiserver")
	client := clientset(t, c, formats()["json"])
	ctx := t.Context()
	runControllers(t, c, nil, "bootstrap-signer-controller", "token-cleaner-controller")
	info := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cluster-info"}, Data: map[string]string{"kubeconfig": "k"}}
	if _, err := client.CoreV1().ConfigMaps("kube-public").Create(ctx, info, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-abcdef"}, Type: "bootstrap.kubernetes.io/token", StringData: map[string]string{
		"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true",
		"expiration": time.Now().Add(3 * time.Second).UTC().Format(time.RFC3339)}}
	secrets := client.CoreV1().Secrets("kube-system")
	if _, err := secrets.Create(ctx, token, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	await := func(what string, is func(context.Context) (bool, error)) {
		t.Helper()
		if err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, time.Minute, true, is); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	signed := func(wanted bool) func(context.Context) (bool, error) {
		return func(ctx context.Context) (bool, error) {
			now, err := client.CoreV1().ConfigMaps("kube-public").Get(ctx, "cluster-info", metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			_, there := now.Data["jws-kubeconfig-abcdef"]
			return there == wanted, nil
		}
	}
	await("a signature", signed(true))
	await("the token's end", func(ctx context.Context) (bool, error) {
		_, err := secrets.Get(ctx, token.Name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
	await("the signature's end", signed(false))
}
