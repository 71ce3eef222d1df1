package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// tokenCleanup promises that tokens which older clusters made for accounts unasked go when nobody has used them for a year:
// first they are put out of use, by a label, and after another year without use they are deleted. A token that a pod
// refers to is in use, and one that its account does not refer to was made by somebody on purpose.
type tokenCleanup struct{ secrets, accounts, pods *Source }

const (
	tokenCleanupCheck = 24 * time.Hour
	tokenUnusedFor    = 365 * 24 * time.Hour

	tokenLastUsed     = "kubernetes.io/legacy-token-last-used"
	tokenInvalidSince = "kubernetes.io/legacy-token-invalid-since"
	tokenTracking     = "kube-apiserver-legacy-service-account-token-tracking"
)

func tokenCleanupLoop(c *Config) Loop {
	x := &tokenCleanup{c.Source(&corev1.Secret{}), c.Source(&corev1.ServiceAccount{}), c.Source(&corev1.Pod{})}
	nothing := func(_, _ metav1.Object) []Key { return nil }
	return Loop{Watches: []Watch{{x.secrets, nothing}, {x.accounts, nothing}, {x.pods, nothing}}, Reconcile: x.reconcile,
		First: []Key{{}}, LastBackoff: tokenCleanupCheck}
}

func (x *tokenCleanup) reconcile(ctx context.Context, t *Turn) error {
	t.Again(tokenCleanupCheck)
	tracked, err := tokensTrackedSince(ctx, t)
	if err != nil || t.Now.Before(tracked.Add(tokenUnusedFor)) {
		return err
	}
	for _, o := range x.secrets.all("") {
		s := o.(*corev1.Secret)
		var err error
		switch judgeToken(s, t.Now) {
		case tokenInvalidates:
			if x.madeUnasked(s) && !x.mounted(s) {
				body := metadataPatch(map[string]any{"uid": s.UID, "labels": map[string]string{tokenInvalidSince: t.Now.UTC().Format(time.DateOnly)}})
				_, err = Patch[*corev1.Secret](ctx, t, t.Client.CoreV1().Secrets(s.Namespace), s.Name, types.MergePatchType, body)
			}
		case tokenGoes:
			if x.madeUnasked(s) && !x.mounted(s) {
				err = Delete(ctx, t, t.Client.CoreV1().Secrets(s.Namespace), s, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &s.UID, ResourceVersion: &s.ResourceVersion}})
			}
		}
		if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			t.Log.Warn("clean up a token", "secret", KeyOf(s).String(), "err", err)
		}
	}
	return nil
}

// tokensTrackedSince is the first whole day of which it is known which tokens were used.
func tokensTrackedSince(ctx context.Context, t *Turn) (time.Time, error) {
	tracking, err := t.Client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, tokenTracking, metav1.GetOptions{})
	if err != nil {
		return time.Time{}, err
	}
	since, err := time.Parse(time.DateOnly, tracking.Data["since"])
	if err != nil {
		return time.Time{}, fmt.Errorf("since when use of tokens is tracked, in ConfigMap %s: %w", tokenTracking, err)
	}
	return since.AddDate(0, 0, 1), nil
}

// tokenVerdict is what becomes of a token.
type tokenVerdict int

const (
	tokenStays tokenVerdict = iota
	tokenInvalidates
	tokenGoes
)

// judgeToken judges by a Secret alone. A last use that cannot be read might be any day.
func judgeToken(s *corev1.Secret, now time.Time) tokenVerdict {
	oldest := now.UTC().Add(-tokenUnusedFor)
	day := oldest.Format(time.DateOnly)
	if s.Type != corev1.SecretTypeServiceAccountToken || s.DeletionTimestamp != nil || !s.CreationTimestamp.Time.Before(oldest) {
		return tokenStays
	}
	if used, ever := s.Labels[tokenLastUsed]; ever {
		if _, err := time.Parse(time.DateOnly, used); err != nil || used >= day {
			return tokenStays
		}
	}
	since := s.Labels[tokenInvalidSince]
	if _, err := time.Parse(time.DateOnly, since); err != nil {
		return tokenInvalidates
	}
	if since >= day {
		return tokenStays
	}
	return tokenGoes
}

func (x *tokenCleanup) madeUnasked(s *corev1.Secret) bool {
	of, _ := accountOf(s)
	account, there := x.accounts.cached(Key{s.Namespace, of.name}).(*corev1.ServiceAccount)
	return there && of.is(account) && slices.ContainsFunc(account.Secrets, func(r corev1.ObjectReference) bool { return r.Name == s.Name })
}

func (x *tokenCleanup) mounted(s *corev1.Secret) bool {
	return slices.ContainsFunc(x.pods.all(s.Namespace), func(o metav1.Object) bool {
		return slices.Contains(podSecrets(&o.(*corev1.Pod).Spec), s.Name)
	})
}

// podSecrets are the names of all Secrets that a pod refers to.
func podSecrets(p *corev1.PodSpec) (names []string) {
	for _, r := range p.ImagePullSecrets {
		names = append(names, r.Name)
	}
	environment := func(sources []corev1.EnvFromSource, variables []corev1.EnvVar) {
		for _, from := range sources {
			if from.SecretRef != nil {
				names = append(names, from.SecretRef.Name)
			}
		}
		for _, v := range variables {
			if v.ValueFrom != nil && v.ValueFrom.SecretKeyRef != nil {
				names = append(names, v.ValueFrom.SecretKeyRef.Name)
			}
		}
	}
	for _, c := range slices.Concat(p.InitContainers, p.Containers) {
		environment(c.EnvFrom, c.Env)
	}
	for _, c := range p.EphemeralContainers {
		environment(c.EnvFrom, c.Env)
	}
	for i := range p.Volumes {
		names = append(names, volumeSecrets(&p.Volumes[i].VolumeSource)...)
	}
	return names
}

func volumeSecrets(v *corev1.VolumeSource) (names []string) {
	var refs []*corev1.LocalObjectReference
	switch {
	case v.Secret != nil:
		return []string{v.Secret.SecretName}
	case v.AzureFile != nil:
		return []string{v.AzureFile.SecretName}
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				names = append(names, s.Secret.Name)
			}
		}
	case v.CephFS != nil:
		refs = append(refs, v.CephFS.SecretRef)
	case v.Cinder != nil:
		refs = append(refs, v.Cinder.SecretRef)
	case v.FlexVolume != nil:
		refs = append(refs, v.FlexVolume.SecretRef)
	case v.RBD != nil:
		refs = append(refs, v.RBD.SecretRef)
	case v.ScaleIO != nil:
		refs = append(refs, v.ScaleIO.SecretRef)
	case v.ISCSI != nil:
		refs = append(refs, v.ISCSI.SecretRef)
	case v.StorageOS != nil:
		refs = append(refs, v.StorageOS.SecretRef)
	case v.CSI != nil:
		refs = append(refs, v.CSI.NodePublishSecretRef)
	}
	for _, r := range refs {
		if r != nil {
			names = append(names, r.Name)
		}
	}
	return names
}
