package server

import (
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/registry"
)

// forbidden is the 403 of a request that nobody allowed. Clients show its sentence to people: who wanted to do what,
// and where.
func forbidden(a registry.Attributes, reason string) error {
	text := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(refusal(a)) // never to be taken for a page
	if reason != "" {
		text += ": " + reason
	}
	if !a.ResourceRequest {
		return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusForbidden,
			Reason: metav1.StatusReasonForbidden, Details: &metav1.StatusDetails{}, Message: "forbidden: " + text}}
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: a.Group, Resource: a.Resource}, a.Name, fmt.Errorf("%s", text))
}

func refusal(a registry.Attributes) string {
	var b strings.Builder
	if !a.ResourceRequest {
		fmt.Fprintf(&b, "User %q cannot %s path %q", a.User.Name, a.Verb, a.Path)
		return b.String()
	}
	resource := a.Resource
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	fmt.Fprintf(&b, "User %q cannot %s resource %q in API group %q", a.User.Name, a.Verb, resource, a.Group)
	if a.Namespace != "" {
		fmt.Fprintf(&b, " in the namespace %q", a.Namespace)
	} else {
		b.WriteString(" at the cluster scope")
	}
	return b.String()
}
