package registry

import (
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// NoteTokenUse writes on a Secret the day on which its service account token was used last, by which tokens that nobody
// uses any more are found. The request that brought the token waits for it, once a day; that it cannot be written does
// not make the token worse.
func (r *Registry) NoteTokenUse(ctx context.Context, secret *corev1.Secret, day string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, err := r.Update(ctx, r.Resource("", "secrets"), "", objectKey(secret), func(o Object) error {
		if o.GetUID() != secret.UID {
			return nil // made anew meanwhile
		}
		labels := o.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels["kubernetes.io/legacy-token-last-used"] = day
		o.SetLabels(labels)
		return nil
	})
	if ignoreNotFound(err) != nil {
		slog.Warn("note the use of a service account token", "secret", objectKey(secret), "err", err)
	}
}
