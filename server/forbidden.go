package server

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/registry"
)

// forbidden is the 403 of a request that nobody allowed. Clients show its sentence to people: who wanted to do what,
// and where.
func forbidden(a *registry.Attributes, reason string) error {
	text := markup.Replace(refusal(a))
	if reason != "" {
		text += ": " + reason
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: a.Group, Resource: a.Resource}, a.Name, errors.New(text))
}

// markup keeps what a path says from being markup to a browser that shows the refusal.
var markup = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// refuse answers a request that is not let through, in words that no browser shall take for a page.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	writeError(w, r, err)
}

func refusal(a *registry.Attributes) string {
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
