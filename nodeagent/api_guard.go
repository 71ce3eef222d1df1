package nodeagent

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// guard lets those through who may.
func (a *Agent) guard(next http.Handler) http.Handler {
	known := &decisions{made: map[string]decision{}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, err := a.Who(r)
		if user == nil || err != nil {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		allowed, err := a.may(r, user, known)
		switch {
		case err != nil:
			http.Error(w, fmt.Sprintf("Authorization error (user=%s): %v", user.Username, err), http.StatusInternalServerError)
		case !allowed:
			http.Error(w, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v)", user.Username, verbOf(r), subresources(r.URL.Path)), http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// decisions are remembered for a while: each line of a log that is followed would be asked for else.
type decisions struct {
	mu   sync.Mutex
	made map[string]decision
}

type decision struct {
	allowed bool
	until   time.Time
}

// For how long a decision counts, as upstream's.
const (
	allowedFor   = 5 * time.Minute
	forbiddenFor = 30 * time.Second
	mostMade     = 1024
)

// may asks the API server: one of the sub-resources has to be allowed. Members of system:masters may everything; the API
// server itself is one.
func (a *Agent) may(r *http.Request, user *authenticationv1.UserInfo, known *decisions) (bool, error) {
	if slices.Contains(user.Groups, "system:masters") {
		return true, nil
	}
	node := a.nodeAsked(r.URL.Path)
	for _, sub := range subresources(r.URL.Path) {
		allowed, err := known.ask(fmt.Sprintf("%q", []any{user, verbOf(r), node, sub}), a.Clock.Now(), func() (bool, error) {
			return a.review(r.Context(), user, authorizationv1.ResourceAttributes{Verb: verbOf(r), Version: "v1", Resource: "nodes", Subresource: sub, Name: node})
		})
		if err != nil || allowed {
			return allowed, err
		}
	}
	return false, nil
}

func (d *decisions) ask(question string, now time.Time, review func() (bool, error)) (bool, error) {
	d.mu.Lock()
	known := d.made[question]
	d.mu.Unlock()
	if known.until.After(now) {
		return known.allowed, nil
	}
	allowed, err := review()
	if err != nil {
		return false, err
	}
	lasts := forbiddenFor
	if allowed {
		lasts = allowedFor
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.made) >= mostMade {
		clear(d.made)
	}
	d.made[question] = decision{allowed, now.Add(lasts)}
	return allowed, nil
}

func (a *Agent) review(ctx context.Context, user *authenticationv1.UserInfo, of authorizationv1.ResourceAttributes) (bool, error) {
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range user.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	review, err := a.Client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra, ResourceAttributes: &of}}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}

// nodeAsked is the node that a question is about: that of the pod which the path names, the first for all others.
func (a *Agent) nodeAsked(path string) string {
	if parts := strings.Split(path, "/"); len(a.Nodes) > 1 && len(parts) > 3 {
		if pod := a.podNamed(parts[2], parts[3]); pod != nil {
			return pod.Spec.NodeName
		}
	}
	return a.Nodes[0]
}

func verbOf(r *http.Request) string {
	return map[string]string{http.MethodPost: "create", http.MethodGet: "get", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete"}[r.Method]
}

// subresources of the node of which one has to be allowed, most particular first.
func subresources(path string) []string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "pods", "healthz", "configz":
		return []string{first, "proxy"}
	case "runningpods":
		return []string{"pods", "proxy"}
	case "stats", "metrics", "checkpoint", "statusz":
		return []string{first}
	case "logs":
		return []string{"log"}
	case "flagz":
		return []string{"configz"}
	}
	return []string{"proxy"}
}
