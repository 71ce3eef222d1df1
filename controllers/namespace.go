package controllers

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// namespaces promises that a namespace that is to be deleted is emptied, and then goes. Pods are the first: what they use
// is there for as long as they run. All else goes once no pod is left, whatever the API serves. Until the namespace is
// gone its conditions tell what is left in it, and why.
//
// The subtle case is what does not go at once: pods that take their time to end, and what finalizers hold. The last of
// them that goes wakes the controller; what no cache has is looked for again after a while.
type namespaces struct {
	namespaces, pods *Source
	discovery        discovery.DiscoveryInterface
}

func namespaceLoop(c *Config) Loop {
	x := &namespaces{c.Source(&corev1.Namespace{}), c.Source(&corev1.Pod{}), c.Discovery}
	return Loop{
		Watches:    []Watch{{x.namespaces, goingNamespace}},
		Everything: x.follow,
		Reconcile:  x.reconcile,
	}
}

// goingNamespace is about a namespace that begins to go. What changes in it from then on is mostly what this controller says
// of it: a turn for each change would be a look at all that is left for each count of what is left.
func goingNamespace(old, now metav1.Object) []Key {
	if now == nil || now.GetDeletionTimestamp() == nil || old != nil && old.GetDeletionTimestamp() != nil {
		return nil
	}
	return []Key{KeyOf(now)}
}

// follow is about the last object of a resource in a namespace that waits for it to go.
func (x *namespaces) follow(r *Resource) func(old, now metav1.Object) []Key {
	if !r.Namespaced {
		return nil
	}
	return func(old, now metav1.Object) []Key {
		if now != nil {
			return nil
		}
		k := Key{Name: old.GetNamespace()}
		if namespace := x.namespaces.cached(k); namespace == nil || namespace.GetDeletionTimestamp() == nil || len(r.all(k.Name)) > 0 {
			return nil
		}
		return []Key{k}
	}
}

func (x *namespaces) reconcile(ctx context.Context, t *Turn) error {
	client := t.Client.CoreV1().Namespaces()
	// 1. Many write to a namespace while it goes: what counts is how it is now.
	namespace, err := client.Get(ctx, t.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && namespace.DeletionTimestamp == nil {
		return nil
	}
	if err == nil && namespace.Status.Phase != corev1.NamespaceTerminating {
		namespace.Status.Phase = corev1.NamespaceTerminating
		namespace, err = UpdateStatus(ctx, t, client, namespace)
	}
	if err != nil || len(namespace.Spec.Finalizers) == 0 {
		return goneAlready(err)
	}
	// 2. Empty it, and say what is left.
	left := x.empty(ctx, t, namespace)
	if changed := left.conditions(&namespace.Status, t.Now); changed {
		if written, err := UpdateStatus(ctx, t, client, namespace); err == nil {
			namespace = written
		} else {
			left.problems = append(left.problems, goneAlready(err))
		}
	}
	if err := errors.Join(left.problems...); err != nil || left.wait > 0 {
		t.Again(left.wait)
		return err
	}
	// 3. Nothing is left: it may go, as far as this controller is concerned.
	namespace.Spec.Finalizers = slices.DeleteFunc(namespace.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	_, err = Update(ctx, t, finalizing{client}, namespace)
	return goneAlready(err)
}

// finalizing writes the finalizers of a namespace, which have a sub-resource of their own.
type finalizing struct{ typedcorev1.NamespaceInterface }

func (f finalizing) Update(ctx context.Context, n *corev1.Namespace, o metav1.UpdateOptions) (*corev1.Namespace, error) {
	return f.Finalize(ctx, n, o)
}

// goneAlready takes it as well that the object is gone.
func goneAlready(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// empty deletes what is in a namespace and finds what is left of it.
func (x *namespaces) empty(ctx context.Context, t *Turn, namespace *corev1.Namespace) *remnants {
	left := newRemnants(namespace.Name)
	resources := left.discover(x.discovery)
	pods := slices.IndexFunc(resources, func(r namespaced) bool { return r.GroupVersionResource == podResource() })
	if pods >= 0 {
		left.delete(ctx, t, resources[pods], x.grace(namespace, t.Now))
		if left.objects[podResource()] > 0 {
			return left
		}
		resources = slices.Delete(resources, pods, pods+1)
	}
	for _, r := range resources {
		left.delete(ctx, t, r, 0)
	}
	return left
}

func podResource() schema.GroupVersionResource { return corev1.SchemeGroupVersion.WithResource("pods") }

// grace is how long the pods of a namespace may take from now on; zero if they should have ended.
func (x *namespaces) grace(namespace *corev1.Namespace, now time.Time) time.Duration {
	var longest time.Duration
	for _, o := range x.pods.all(namespace.Name) {
		p := o.(*corev1.Pod)
		if s := p.Spec.TerminationGracePeriodSeconds; s != nil && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			longest = max(longest, time.Duration(*s)*time.Second)
		}
	}
	if now.Sub(namespace.DeletionTimestamp.Time) >= longest {
		return 0
	}
	return longest
}

// namespaced is a resource whose objects are in namespaces and can be deleted.
type namespaced struct {
	schema.GroupVersionResource
	lists, deletesAll bool
}

// namespacedResources are those of a discovery document, in order.
func namespacedResources(lists []*metav1.APIResourceList) (found []namespaced, err error) {
	for _, list := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"delete"}}, lists) {
		version, bad := schema.ParseGroupVersion(list.GroupVersion)
		if bad != nil {
			err = bad
			continue
		}
		for _, r := range list.APIResources {
			found = append(found, namespaced{version.WithResource(r.Name), slices.Contains(r.Verbs, "list"), slices.Contains(r.Verbs, "deletecollection")})
		}
	}
	slices.SortFunc(found, func(a, b namespaced) int { return strings.Compare(a.String(), b.String()) })
	return found, err
}
