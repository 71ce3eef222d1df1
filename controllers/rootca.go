package controllers

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	rootCAName        = "kube-root-ca.crt"
	rootCADescription = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. " +
		"No other usage is guaranteed across distributions of Kubernetes clusters."
	descriptionAnnotation = "kubernetes.io/description"
)

// rootCA promises that every namespace has a ConfigMap with the authority that vouches for the API server, for pods to
// mount beside their tokens. What others change in its data is put right; a description that somebody has written stays.
type rootCA struct {
	bundle           []byte
	namespaces, maps *Source
}

func rootCALoop(c *Config) Loop {
	x := &rootCA{c.RootCA, c.Source(&corev1.Namespace{}), c.Source(&corev1.ConfigMap{})}
	return Loop{
		Watches:   []Watch{{x.namespaces, itself}, {x.maps, rootCANamespace}},
		Reconcile: x.reconcile,
	}
}

func rootCANamespace(old, now metav1.Object) []Key {
	if k := itself(old, now)[0]; k.Name == rootCAName {
		return []Key{{Name: k.Namespace}}
	}
	return nil
}

func (x *rootCA) reconcile(ctx context.Context, t *Turn) error {
	if namespace, ok := x.namespaces.cached(t.Key).(*corev1.Namespace); !ok || namespace.Status.Phase == corev1.NamespaceTerminating {
		return nil
	}
	there, _ := x.maps.cached(Key{t.Name, rootCAName}).(*corev1.ConfigMap)
	wanted := rootCAMap(t.Name, there, x.bundle)
	var err error
	switch client := t.Client.CoreV1().ConfigMaps(t.Name); {
	case there == nil:
		_, err = Create(ctx, t, client, wanted)
	case wanted != nil:
		_, err = Update(ctx, t, client, wanted)
	}
	// One that has been there since before the informer saw it comes back as a change.
	if apierrors.IsAlreadyExists(err) || inGoingNamespace(err) {
		return nil
	}
	return err
}

// rootCAMap is how the ConfigMap has to be; nil if it is so already.
func rootCAMap(namespace string, there *corev1.ConfigMap, bundle []byte) *corev1.ConfigMap {
	data := map[string]string{"ca.crt": string(bundle)}
	described := map[string]string{descriptionAnnotation: rootCADescription}
	if there == nil {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: rootCAName, Annotations: described}, Data: data}
	}
	if maps.Equal(there.Data, data) && there.Annotations[descriptionAnnotation] != "" {
		return nil
	}
	wanted := there.DeepCopy()
	wanted.Data = data
	if wanted.Annotations == nil {
		wanted.Annotations = map[string]string{}
	}
	maps.Copy(wanted.Annotations, described)
	return wanted
}
