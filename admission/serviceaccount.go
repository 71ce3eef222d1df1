package admission

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/registry"
)

const (
	// tokenPath is where a container finds its service account's token, the cluster's CA and its namespace.
	tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount"
	// tokenVolume begins the name of the volume that is mounted there.
	tokenVolume = "kube-api-access-"
	// tokenSeconds is the life of a mounted token: an hour, and the seconds by which its expiry is recognized.
	tokenSeconds = 60*60 + 7
)

// serviceAccount gives a pod its service account: the one that it names, which must exist, else the namespace's
// default; its token in every container, and its image pull secrets. Mirror pods, which a node makes for itself, have
// none. What an account must not use of its namespace's secrets, ephemeral containers must not either.
func serviceAccount(objects Objects) Plugin {
	accounts := serviceAccounts{objects}
	return Plugin{
		Operations: []Operation{Create, Update},
		Mutate: func(ctx context.Context, a *Attributes) error {
			pod, ok := a.pod()
			if !ok || a.Operation != Create {
				return nil
			}
			if !isMirror(pod) {
				if err := accounts.give(ctx, a, pod); err != nil {
					return err
				}
			}
			return accounts.check(ctx, a, pod)
		},
		Validate: func(ctx context.Context, a *Attributes) error {
			pod, ok := a.Object.(*corev1.Pod)
			switch {
			case ok && a.Operation == Create && a.Subresource == "":
				return accounts.check(ctx, a, pod)
			case ok && a.Operation == Update && a.Subresource == "ephemeralcontainers":
				return accounts.checkEphemeral(ctx, a, pod)
			}
			return nil
		},
	}
}

type serviceAccounts struct{ objects Objects }

func isMirror(pod *corev1.Pod) bool {
	_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return mirror
}

// give makes the pod one of its account's.
func (s serviceAccounts) give(ctx context.Context, a *Attributes, pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = "default"
	}
	account, err := s.of(ctx, a, pod)
	if err != nil {
		return err
	}
	if wantsToken(pod, account) {
		mountToken(&pod.Spec)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
	}
	return nil
}

// check refuses a new pod that its account may not have.
func (s serviceAccounts) check(ctx context.Context, a *Attributes, pod *corev1.Pod) error {
	if isMirror(pod) {
		return mirrorHasNone(a, pod)
	}
	account, err := s.of(ctx, a, pod)
	if err != nil || !enforcesMountable(account) {
		return err
	}
	if reason := beyondMountable(pod, account); reason != "" {
		return a.forbid("%s", reason)
	}
	return nil
}

// checkEphemeral refuses secrets in the environment of ephemeral containers. Its refusals have never been more than a
// text, and a 500 to clients.
func (s serviceAccounts) checkEphemeral(ctx context.Context, a *Attributes, pod *corev1.Pod) error {
	account, err := s.of(ctx, a, pod)
	if err != nil || !enforcesMountable(account) {
		return err
	}
	secrets := mountable(account)
	for i := range pod.Spec.EphemeralContainers {
		c := (*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		if reason := secrets.beyondEnv("ephemeral container", c); reason != "" {
			return errors.New(reason)
		}
	}
	return nil
}

// mirrorHasNone refuses a mirror pod that could reach into the API.
func mirrorHasNone(a *Attributes, pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return a.forbid("a mirror pod may not reference service accounts")
	}
	for range registry.PodSecrets(&pod.Spec) {
		return a.forbid("a mirror pod may not reference secrets")
	}
	for _, v := range pod.Spec.Volumes {
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.ServiceAccountToken != nil }) {
			return a.forbid("a mirror pod may not use ServiceAccountToken volume projections")
		}
	}
	return nil
}

// of is the pod's account.
func (s serviceAccounts) of(ctx context.Context, a *Attributes, pod *corev1.Pod) (*corev1.ServiceAccount, error) {
	name := pod.Spec.ServiceAccountName
	if name == "" {
		return nil, a.forbid("no service account specified for pod %s/%s", a.Namespace, pod.Name)
	}
	account, err := s.await(ctx, a.Namespace, name)
	if err != nil {
		return nil, a.forbid("error looking up service account %s/%s: %w", a.Namespace, name, err)
	}
	return account, nil
}

const (
	// defaultAccountTries is how often a namespace's default account is looked for. A controller makes it, a moment after
	// the namespace: whoever makes a namespace and a pod in it at once need not wait for that.
	defaultAccountTries = 10
	defaultAccountPause = 150 * time.Millisecond
)

// await looks an account up, and waits for a default one.
func (s serviceAccounts) await(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	for try := 1; ; try++ {
		account, err := s.find(ctx, namespace, name)
		if !apierrors.IsNotFound(err) || name != "default" || try == defaultAccountTries {
			return account, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(defaultAccountPause):
		}
	}
}

func (s serviceAccounts) find(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	if err := requestable(name); err != nil {
		return nil, err
	}
	found, err := s.objects.Get(ctx, "", "serviceaccounts", namespace, name)
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
