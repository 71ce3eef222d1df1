package admission

import (
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// enforcesMountable reports that an account asks for its pods to use no other secrets than those that it lists.
func enforcesMountable(account *corev1.ServiceAccount) bool {
	enforced, _ := strconv.ParseBool(account.Annotations["kubernetes.io/enforce-mountable-secrets"])
	return enforced
}

// mountableSecrets are those that an account lists.
type mountableSecrets struct {
	account string
	names   sets.Set[string]
}

func mountable(account *corev1.ServiceAccount) mountableSecrets {
	m := mountableSecrets{account.Name, sets.New[string]()}
	for _, s := range account.Secrets {
		m.names.Insert(s.Name)
	}
	return m
}

// beyondMountable says which secret of a new pod its account does not list; empty if it lists all.
func beyondMountable(pod *corev1.Pod, account *corev1.ServiceAccount) string {
	m := mountable(account)
	for _, v := range pod.Spec.Volumes {
		if v.Secret != nil && !m.names.Has(v.Secret.SecretName) {
			return m.unlisted("volume with", v.Secret.SecretName)
		}
	}
	for i := range pod.Spec.InitContainers {
		if reason := m.beyondEnv("init container", &pod.Spec.InitContainers[i]); reason != "" {
			return reason
		}
	}
	for i := range pod.Spec.Containers {
		if reason := m.beyondEnv("container", &pod.Spec.Containers[i]); reason != "" {
			return reason
		}
	}
	for i, ref := range pod.Spec.ImagePullSecrets {
		if !slices.Contains(account.ImagePullSecrets, ref) {
			return fmt.Sprintf("imagePullSecrets[%d].name=\"%s\" is not allowed because service account %s does not reference that imagePullSecret",
				i, ref.Name, account.Name)
		}
	}
	return ""
}

// beyondEnv says which secret in a container's environment the account does not list.
func (m mountableSecrets) beyondEnv(kind string, c *corev1.Container) string {
	for _, e := range c.Env {
		if from := e.ValueFrom; from != nil && from.SecretKeyRef != nil && !m.names.Has(from.SecretKeyRef.Name) {
			return m.unlisted(fmt.Sprintf("%s %s with envVar %s referencing", kind, c.Name, e.Name), from.SecretKeyRef.Name)
		}
	}
	for _, e := range c.EnvFrom {
		if e.SecretRef != nil && !m.names.Has(e.SecretRef.Name) {
			return m.unlisted(fmt.Sprintf("%s %s with envFrom referencing", kind, c.Name), e.SecretRef.Name)
		}
	}
	return ""
}

func (m mountableSecrets) unlisted(what, secret string) string {
	return fmt.Sprintf("%s secret.secretName=\"%s\" is not allowed because service account %s does not reference that secret", what, secret, m.account)
}
