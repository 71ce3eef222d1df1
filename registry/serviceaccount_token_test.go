package registry

import (
	"context"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// issuer keeps what it was last asked for.
type issuer struct {
	most int64
	last TokenGrant
}

func (i *issuer) Audiences() []string    { return []string{"api", "other"} }
func (i *issuer) MaxSeconds() int64      { return i.most }
func (i *issuer) ExtendedSeconds() int64 { return 365 * 24 * 3600 }
func (i *issuer) Issue(_ context.Context, g TokenGrant) (string, error) {
	i.last = g
	return "token", nil
}

func TestServiceAccountTokens(t *testing.T) {
	r := startCluster(t, "10.0.0.0/24")
	own := &issuer{most: 7200}
	r.Tokens = own
	create := func(plural string, obj Object) {
		t.Helper()
		if _, err := r.Create(t.Context(), r.Resource("", plural), obj); err != nil {
			t.Fatal(err)
		}
	}
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, Namespace: "default"} }
	create("serviceaccounts", &corev1.ServiceAccount{ObjectMeta: meta("robot")})
	create("serviceaccounts", &corev1.ServiceAccount{ObjectMeta: meta("other")})
	pod := &corev1.Pod{ObjectMeta: meta("p"), Spec: corev1.PodSpec{ServiceAccountName: "robot", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	create("pods", pod)
	bound := &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "p"}

	w := &Write{Registry: r, Namespace: "default", Now: time.Unix(1000, 0), Warn: func(string) {}, Annotate: func(string, string) {}}
	ask := func(account string, spec authenticationv1.TokenRequestSpec) (*authenticationv1.TokenRequest, error) {
		request := &authenticationv1.TokenRequest{Spec: spec}
		completeTokenRequest(request)
		out, err := requestToken(t.Context(), w, account, request)
		if err != nil {
			return nil, err
		}
		return out.(*authenticationv1.TokenRequest), nil
	}
	tests := []struct {
		rule               string
		spec               authenticationv1.TokenRequestSpec
		said, life, warned int64 // seconds: in the answer, of the token, until it is noted
	}{
		{"an hour is the default", authenticationv1.TokenRequestSpec{}, 3600, 3600, 0},
		{"the issuer bounds the life", authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(9000))}, 7200, 7200, 0},
		{"a kubelet's token for old clients works for a year", authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(3607)), BoundObjectRef: bound}, 3607, 365 * 24 * 3600, 3607},
		{"but not for strangers", authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(3607)), BoundObjectRef: bound, Audiences: []string{"vault"}}, 3607, 3607, 0},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			out, err := ask("robot", test.spec)
			if err != nil {
				t.Fatal(err)
			}
			if got := *out.Spec.ExpirationSeconds; got != test.said || own.last.Seconds != test.life || own.last.WarnAfter != test.warned {
				t.Errorf("answered %d s; the token lives %d s, warned after %d s", got, own.last.Seconds, own.last.WarnAfter)
			}
			if ends := out.Status.ExpirationTimestamp.Unix(); ends != 1000+test.said {
				t.Errorf("said to end at %d", ends)
			}
		})
	}
	if _, err := ask("other", authenticationv1.TokenRequestSpec{BoundObjectRef: bound}); !apierrors.IsBadRequest(err) {
		t.Errorf("a token bound to a pod of another account: %v", err)
	}
	stale := &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "former"}
	if _, err := ask("robot", authenticationv1.TokenRequestSpec{BoundObjectRef: stale}); !apierrors.IsConflict(err) {
		t.Errorf("a token bound to a pod that was made anew: %v", err)
	}
}
