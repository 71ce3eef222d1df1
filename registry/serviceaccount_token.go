package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/knarr-dev/knarr/registry/store"
)

// TokenIssuer signs service account tokens. Package auth satisfies it.
type TokenIssuer interface {
	// Audiences are those of the API server: of tokens whose request names none.
	Audiences() []string
	// MaxSeconds bounds the life of tokens; zero bounds nothing.
	MaxSeconds() int64
	// ExtendedSeconds is how long tokens that are mounted into pods live; zero for no longer than was asked for.
	ExtendedSeconds() int64
	// Issue returns a signed token.
	Issue(ctx context.Context, g TokenGrant) (string, error)
}

// TokenGrant is what a service account token says.
type TokenGrant struct {
	ID        string // of the token, by which it can be recognized in logs
	Account   *corev1.ServiceAccount
	Audiences []string
	Issued    time.Time
	Seconds   int64 // of life
	// WarnAfter is when, in seconds, the bearer should have renewed a token that lives longer; zero for never.
	WarnAfter int64
	// What the token is bound to, and dies with: at most one, save that a pod brings its node. A node that is not
	// there any more has a name only.
	Pod    *corev1.Pod
	Secret *corev1.Secret
	Node   *corev1.Node
}

// requestToken answers a TokenRequest with the same request and its token in the status.
func requestToken(ctx context.Context, w *Write, name string, body Object) (runtime.Object, error) {
	request := body.(*authenticationv1.TokenRequest)
	account, err := tokenAccount(ctx, w, name, request)
	if err != nil {
		return nil, err
	}
	issuer := w.Registry.Tokens
	if issuer == nil {
		return nil, apierrors.NewInternalError(errors.New("issue a token: the server has no service account key"))
	}
	fillTokenRequest(request, account, issuer, w.Now)
	seconds := request.Spec.ExpirationSeconds
	if errs := validateTokenLife(*seconds, field.NewPath("spec", "expirationSeconds")); len(errs) > 0 {
		return nil, apierrors.NewInvalid(tokenRequestKind(), "", errs)
	}
	grant := TokenGrant{ID: uuid.NewString(), Account: account, Audiences: request.Spec.Audiences, Issued: w.Now}
	if err := grant.bind(ctx, w, request.Spec.BoundObjectRef); err != nil {
		return nil, err
	}
	if most := issuer.MaxSeconds(); most > 0 && *seconds > most {
		w.Warn(fmt.Sprintf("requested expiration of %d seconds shortened to %d seconds", *seconds, most))
		*seconds = most
	}
	grant.live(*seconds, issuer)
	token, err := issuer.Issue(ctx, grant)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("failed to generate token: %v", err))
	}
	w.Annotate("authentication.kubernetes.io/issued-credential-id", "JTI="+grant.ID)
	ends := w.Now.Add(time.Duration(*seconds) * time.Second)
	request.Status = authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.NewTime(ends)}
	return request, nil
}

func tokenRequestKind() schema.GroupKind {
	return schema.GroupKind{Group: authenticationv1.GroupName, Kind: "TokenRequest"}
}

// tokenAccount is the account that the URL names, which the body may name as well.
func tokenAccount(ctx context.Context, w *Write, name string, request *authenticationv1.TokenRequest) (*corev1.ServiceAccount, error) {
	differs := func(part, value string) error {
		err := field.Invalid(field.NewPath("metadata", part), value, fmt.Sprintf("must match the service account %s if specified", part))
		return apierrors.NewInvalid(tokenRequestKind(), name, field.ErrorList{err})
	}
	if request.Name != "" && request.Name != name {
		return nil, differs("name", request.Name)
	}
	if request.Namespace != "" && request.Namespace != w.Namespace {
		return nil, differs("namespace", request.Namespace)
	}
	account, err := stored[*corev1.ServiceAccount](ctx, w, "serviceaccounts", store.Key{Namespace: w.Namespace, Name: name})
	if err != nil {
		return nil, err
	}
	if request.UID != "" && request.UID != account.UID {
		return nil, tokenConflict(schema.GroupResource{Group: authenticationv1.GroupName, Resource: "TokenRequest"}, name,
			"the UID in the token request (%s) does not match the UID of the service account (%s)", request.UID, account.UID)
	}
	return account, nil
}

func tokenConflict(of schema.GroupResource, name, format string, args ...any) error {
	return apierrors.NewConflict(of, name, fmt.Errorf(format, args...))
}

// completeTokenRequest fills in what a request has before it is anybody's: the life of its token.
func completeTokenRequest(body Object) {
	fillPointer(&body.(*authenticationv1.TokenRequest).Spec.ExpirationSeconds, int64(time.Hour/time.Second))
}

// fillTokenRequest says what the request left open.
func fillTokenRequest(request *authenticationv1.TokenRequest, account *corev1.ServiceAccount, issuer TokenIssuer, now time.Time) {
	if len(request.Spec.Audiences) == 0 {
		request.Spec.Audiences = issuer.Audiences()
	}
	request.Name, request.Namespace, request.UID = account.Name, account.Namespace, account.UID
	request.CreationTimestamp = metav1.NewTime(now)
	request.Status = authenticationv1.TokenRequestStatus{}
}

// bind looks up what the token shall die with.
func (g *TokenGrant) bind(ctx context.Context, w *Write, ref *authenticationv1.BoundObjectReference) error {
	if ref == nil {
		return nil
	}
	kind := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	key := store.Key{Namespace: w.Namespace, Name: ref.Name}
	var uid types.UID
	var err error
	switch kind.GroupKind() {
	case schema.GroupKind{Kind: "Pod"}:
		if err = g.bindPod(ctx, w, key); err == nil {
			uid = g.Pod.UID
		}
	case schema.GroupKind{Kind: "Node"}:
		if g.Node, err = stored[*corev1.Node](ctx, w, "nodes", store.Key{Name: ref.Name}); err == nil {
			uid = g.Node.UID
		}
	case schema.GroupKind{Kind: "Secret"}:
		if g.Secret, err = stored[*corev1.Secret](ctx, w, "secrets", key); err == nil {
			uid = g.Secret.UID
		}
	default:
		err = apierrors.NewBadRequest("cannot bind token to object of type " + kind.String())
	}
	if err == nil && ref.UID != "" && ref.UID != uid {
		return tokenConflict(schema.GroupResource{Group: kind.Group, Resource: kind.Kind}, ref.Name,
			"the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID)
	}
	return err
}

// bindPod binds to a pod of the account, and names the pod's node beside.
func (g *TokenGrant) bindPod(ctx context.Context, w *Write, key store.Key) error {
	pod, err := stored[*corev1.Pod](ctx, w, "pods", key)
	if err != nil {
		return err
	}
	if pod.Spec.ServiceAccountName != g.Account.Name {
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", g.Account.Name))
	}
	g.Pod = pod
	if pod.Spec.NodeName == "" {
		return nil
	}
	g.Node, err = stored[*corev1.Node](ctx, w, "nodes", store.Key{Name: pod.Spec.NodeName})
	if apierrors.IsNotFound(err) {
		g.Node = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: pod.Spec.NodeName}}
		return nil
	}
	return err
}

// live sets the token's life. Old client libraries read their pod's token once; for them the token that a kubelet
// asks for by the tell-tale 3607 seconds works for a year, and its use after the hour is only noted.
func (g *TokenGrant) live(seconds int64, issuer TokenIssuer) {
	const telltale = 3607
	g.Seconds = seconds
	own := issuer.Audiences()
	foreign := func(audience string) bool { return !slices.Contains(own, audience) }
	if issuer.ExtendedSeconds() > 0 && g.Pod != nil && seconds == telltale && !slices.ContainsFunc(g.Audiences, foreign) {
		g.Seconds, g.WarnAfter = issuer.ExtendedSeconds(), seconds
	}
}

// stored reads an object of the core group.
func stored[P Object](ctx context.Context, w *Write, plural string, key store.Key) (P, error) {
	var none P
	if key.Name == "" {
		return none, apierrors.NewBadRequest("Name parameter required.")
	}
	entry, err := w.Registry.Store("", plural).Get(ctx, key, "")
	if err != nil {
		return none, err
	}
	obj, err := entry.Object()
	if err != nil {
		return none, err
	}
	return obj.(P), nil
}
