package admission

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"
)

const (
	// tokenPath is where a container finds its service account's token, the cluster's CA and its namespace.
	tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount"
	// tokenVolume begins the name of the volume that is mounted there.
	tokenVolume = "kube-api-access-"
	// tokenSeconds is the life of a mounted token: an hour, and the seconds by which its expiry is recognized.
	tokenSeconds = 60*60 + 7

	enforceMountable = "kubernetes.io/enforce-mountable-secrets"
)

// serviceAccount gives a pod its service account: the one that it names, which must exist, else the namespace's
// default; its token in every container, and its image pull secrets. Mirror pods, which a node makes for itself, have
// none.
func serviceAccount(objects Objects) Plugin {
	return Plugin{Operations: []Operation{Create}, Mutate: func(ctx context.Context, a *Attributes) error {
		pod, ok := a.Object.(*corev1.Pod)
		if !ok || !a.Is("", "pods") {
			return nil
		}
		if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
			return mirrorHasNone(a, pod)
		}
		if pod.Spec.ServiceAccountName == "" {
			pod.Spec.ServiceAccountName = "default"
		}
		account, err := findAccount(ctx, objects, a.Namespace, pod.Spec.ServiceAccountName)
		if err != nil {
			return a.forbid("error looking up service account %s/%s: %w", a.Namespace, pod.Spec.ServiceAccountName, err)
		}
		if enforced, _ := strconv.ParseBool(account.Annotations[enforceMountable]); enforced {
			if err := onlyMountable(a, pod, account); err != nil {
				return err
			}
		}
		if wantsToken(pod, account) {
			mountToken(&pod.Spec)
		}
		if len(pod.Spec.ImagePullSecrets) == 0 {
			pod.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
		}
		return nil
	}}
}

// mirrorHasNone refuses a mirror pod that could reach into the API.
func mirrorHasNone(a *Attributes, pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return a.forbid("a mirror pod may not reference service accounts")
	}
	for _, v := range pod.Spec.Volumes {
		if v.Secret != nil {
			return a.forbid("a mirror pod may not reference secrets")
		}
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.ServiceAccountToken != nil }) {
			return a.forbid("a mirror pod may not use ServiceAccountToken volume projections")
		}
	}
	return nil
}

func findAccount(ctx context.Context, objects Objects, namespace, name string) (*corev1.ServiceAccount, error) {
	if msgs := path.IsValidPathSegmentName(name); len(msgs) > 0 {
		return nil, fmt.Errorf("invalid resource name %q: %v", name, msgs)
	}
	found, err := objects.Get(ctx, "", "serviceaccounts", namespace, name)
	if apierrors.IsNotFound(err) {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "serviceaccount"}, name)
	}
	if err != nil {
		return nil, err
	}
	return found.(*corev1.ServiceAccount), nil
}

// wantsToken is what the pod says, else the account, else yes.
func wantsToken(pod *corev1.Pod, account *corev1.ServiceAccount) bool {
	if pod.Spec.AutomountServiceAccountToken != nil {
		return *pod.Spec.AutomountServiceAccountToken
	}
	return ptr.Deref(account.AutomountServiceAccountToken, true)
}

// mountToken mounts the token volume in every container that has nothing else in its place.
func mountToken(spec *corev1.PodSpec) {
	name := ""
	for _, v := range spec.Volumes {
		if strings.HasPrefix(v.Name, tokenVolume) {
			name = v.Name
			break
		}
	}
	missing := name == ""
	if missing {
		name = tokenVolume + rand.String(5)
	}
	mounted := false
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			c := &containers[i]
			if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == tokenPath }) {
				continue
			}
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: tokenPath})
			mounted = true
		}
	}
	if mounted && missing {
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: accountFiles()}})
	}
}

// accountFiles are the files at tokenPath.
func accountFiles() *corev1.ProjectedVolumeSource {
	return &corev1.ProjectedVolumeSource{DefaultMode: ptr.To(corev1.ProjectedVolumeSourceDefaultMode), Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: ptr.To[int64](tokenSeconds)}},
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
			Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}}}}},
	}}
}

// onlyMountable checks that a pod uses only secrets that its account lists, for accounts that ask for it.
func onlyMountable(a *Attributes, pod *corev1.Pod, account *corev1.ServiceAccount) error {
	mountable := map[string]bool{}
	for _, s := range account.Secrets {
		mountable[s.Name] = true
	}
	refused := func(what, name string) error {
		return a.forbid("%s with secret.secretName=%q is not allowed because service account %s does not reference that secret", what, name, account.Name)
	}
	for _, v := range pod.Spec.Volumes {
		if v.Secret != nil && !mountable[v.Secret.SecretName] {
			return a.forbid("volume with secret.secretName=%q is not allowed because service account %s does not reference that secret", v.Secret.SecretName, account.Name)
		}
	}
	for kind, containers := range map[string][]corev1.Container{"init container": pod.Spec.InitContainers, "container": pod.Spec.Containers} {
		for _, c := range containers {
			for _, e := range c.Env {
				if ref := e.ValueFrom; ref != nil && ref.SecretKeyRef != nil && !mountable[ref.SecretKeyRef.Name] {
					return a.forbid("%s %s with envVar %s referencing secret.secretName=%q is not allowed because service account %s does not reference that secret",
						kind, c.Name, e.Name, ref.SecretKeyRef.Name, account.Name)
				}
			}
			for _, e := range c.EnvFrom {
				if e.SecretRef != nil && !mountable[e.SecretRef.Name] {
					return refused(fmt.Sprintf("%s %s with envFrom", kind, c.Name), e.SecretRef.Name)
				}
			}
		}
	}
	pullable := account.ImagePullSecrets
	for _, ref := range pod.Spec.ImagePullSecrets {
		if !slices.Contains(pullable, ref) {
			return a.forbid("imagePullSecrets[%d].name=%q is not allowed because service account %s does not reference that imagePullSecret",
				slices.Index(pod.Spec.ImagePullSecrets, ref), ref.Name, account.Name)
		}
	}
	return nil
}
