package nodeagent

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Handler is the kubelet API: what kubectl logs and others ask of a node through the API server. Who asks shows who it is,
// and the API server is asked whether that user may.
func (a *Agent) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	mux.HandleFunc("GET /pods", a.servePods)
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", a.serveLog)
	for _, stream := range []string{"exec", "attach", "run"} {
		mux.HandleFunc("/"+stream+"/{namespace}/{pod}/{container}", a.refuseStream)
	}
	mux.HandleFunc("/portForward/{namespace}/{pod}", a.refuseStream)
	return a.guard(mux)
}

// guard lets those through who may.
func (a *Agent) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, err := a.Who(r)
		if user == nil || err != nil {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		allowed, err := a.may(r, user)
		switch {
		case err != nil:
			http.Error(w, fmt.Sprintf("Authorization error (user=%s): %v", user.Username, err), http.StatusInternalServerError)
		case !allowed:
			http.Error(w, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v)", user.Username, verbOf(r), subresources(r)), http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// may asks the API server. Members of system:masters may everything: the API server itself is one, and would be asked at
// each line of a log.
func (a *Agent) may(r *http.Request, user *authenticationv1.UserInfo) (bool, error) {
	if slices.Contains(user.Groups, "system:masters") {
		return true, nil
	}
	extra := map[string]authorizationv1.ExtraValue{}
	for key, values := range user.Extra {
		extra[key] = authorizationv1.ExtraValue(values)
	}
	for _, sub := range subresources(r) {
		review, err := a.Client.AuthorizationV1().SubjectAccessReviews().Create(r.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra, ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: verbOf(r), Resource: "nodes", Subresource: sub, Name: a.Nodes[0]}}}, metav1.CreateOptions{})
		if err != nil || review.Status.Allowed {
			return err == nil, err
		}
	}
	return false, nil
}

func verbOf(r *http.Request) string {
	switch r.Method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	return "get"
}

// subresources of the node of which one has to be allowed.
func subresources(r *http.Request) []string {
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch first {
	case "healthz", "pods":
		return []string{first, "proxy"}
	}
	return []string{"proxy"}
}

func (a *Agent) servePods(w http.ResponseWriter, _ *http.Request) {
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
	a.desk.mu.Lock()
	for _, p := range a.desk.pods {
		list.Items = append(list.Items, *p.pod)
	}
	a.desk.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(&list) // whoever went away gets nothing
}

// podOf is the pod that a path names; nil if the agent has none.
func (a *Agent) podOf(r *http.Request) *corev1.Pod {
	a.desk.mu.Lock()
	defer a.desk.mu.Unlock()
	for _, w := range a.desk.pods {
		if w.pod.Namespace == r.PathValue("namespace") && w.pod.Name == r.PathValue("pod") {
			return w.pod
		}
	}
	return nil
}

func (a *Agent) serveLog(w http.ResponseWriter, r *http.Request) {
	pod, container := a.podOf(r), r.PathValue("container")
	if pod == nil {
		http.Error(w, fmt.Sprintf("pod %q does not exist", r.PathValue("pod")), http.StatusNotFound)
		return
	}
	if containerNamed(pod, container) == nil {
		http.Error(w, fmt.Sprintf("container %q not found in pod %q", container, pod.Name), http.StatusNotFound)
		return
	}
	query := r.URL.Query()
	lines, err := a.Logs.Log(pod, container, query.Get("previous") == "true")
	if err != nil {
		http.Error(w, fmt.Sprintf("%q in pod %q is waiting to start or has not run: %v", container, pod.Name, err), http.StatusBadRequest)
		return
	}
	if n, err := strconv.Atoi(query.Get("tailLines")); err == nil && n < len(lines) {
		lines = lines[len(lines)-max(n, 0):]
	}
	w.Header().Set("Content-Type", "text/plain")
	out := bufio.NewWriter(w)
	limit, err := strconv.Atoi(query.Get("limitBytes"))
	text := strings.Join(append(lines, ""), "\n")
	if err == nil && limit < len(text) {
		text = text[:limit]
	}
	out.WriteString(text)
	out.Flush()
}

// refuseStream says why nobody can enter a pod. The text has no colon: clients read what looks like YAML as a Status.
func (a *Agent) refuseStream(w http.ResponseWriter, r *http.Request) {
	http.Error(w, fmt.Sprintf("pod %s/%s runs on a simulated node, where no program is that could answer", r.PathValue("namespace"), r.PathValue("pod")),
		http.StatusNotImplemented)
}
