package controllers

import (
	"context"
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
)

// Source is a resource as controllers read it: an informer of all its objects.
type Source struct {
	resource schema.GroupVersionResource
	informer cache.SharedIndexInformer
	config   *Config
	global   bool // its objects are in no namespace
}

// Source is the one of an object's kind; a controller that writes a kind needs it among its sources if it reads it too.
func (c *Config) Source(of runtime.Object) *Source {
	c.mu.Lock()
	defer c.mu.Unlock()
	typ := reflect.TypeOf(of)
	if s := c.sources[typ]; s != nil {
		return s
	}
	kinds, _, err := scheme.Scheme.ObjectKinds(of)
	if err != nil {
		panic(fmt.Sprintf("controllers: %T is of no kind: %v", of, err)) // a mistake in a controller's row
	}
	resource, _ := meta.UnsafeGuessKindToResource(kinds[0])
	shared, err := c.Informers.ForResource(resource)
	if err != nil {
		panic(fmt.Sprintf("controllers: no informer of %s: %v", resource, err))
	}
	s := &Source{resource, shared.Informer(), c, isGlobal(of)}
	indexers := cache.Indexers{ownerIndex: ownerOf}
	switch of.(type) {
	case *corev1.Pod:
		indexers[nodeIndex], indexers[claimIndex] = nodeOf, claimsOfPod
	case *corev1.PersistentVolume:
		indexers[claimIndex] = claimOfVolume
	case *corev1.PersistentVolumeClaim:
		indexers[expectedIndex] = expectedVolume
	}
	if err := s.informer.AddIndexers(indexers); err != nil {
		panic(fmt.Sprintf("controllers: index %s: %v", resource, err)) // the informers have been started before
	}
	if c.sources == nil {
		c.sources = map[reflect.Type]*Source{}
	}
	c.sources[typ] = s
	return s
}

// isGlobal reports that objects are in no namespace; of the kinds that controllers write whose keys are in one.
func isGlobal(of runtime.Object) bool {
	switch of.(type) {
	case *corev1.Node, *corev1.Namespace, *corev1.PersistentVolume:
		return true
	}
	return false
}

// sourceOf is the source of what was written; nil if no controller reads that kind.
func (c *Config) sourceOf(o metav1.Object) *Source {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sources[reflect.TypeOf(o)]
}

// sourceOfResource is the source of a resource that some controller reads; nil if none does.
func (c *Config) sourceOfResource(resource schema.GroupVersionResource) *Source {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sources {
		if s.resource == resource {
			return s
		}
	}
	return nil
}

// reached reports that the informer has seen a revision.
func (s *Source) reached(revision string) bool {
	seen := s.informer.GetStore().LastStoreSyncResourceVersion()
	return seen != "" && !newer(revision, seen)
}

// newer compares two revisions of one resource; what is no revision is not newer.
func newer(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order > 0
}

// cached is the object that the informer has under a key; nil if it has none.
func (s *Source) cached(k Key) metav1.Object {
	o, ok, _ := s.informer.GetStore().GetByKey(k.String())
	if !ok {
		return nil
	}
	return o.(metav1.Object)
}

// all are the objects that the informer has in a namespace, or everywhere if it is empty.
func (s *Source) all(namespace string) []metav1.Object {
	var found []any
	if namespace == "" || s.global {
		found = s.informer.GetStore().List()
	} else {
		found, _ = s.informer.GetIndexer().ByIndex(cache.NamespaceIndex, namespace) // every shared informer has it
	}
	objects := make([]metav1.Object, len(found))
	for i, o := range found {
		objects[i] = o.(metav1.Object)
	}
	return objects
}

// read asks the API for the metadata of what there is now in a namespace, or everywhere if it is empty.
func (s *Source) read(ctx context.Context, namespace string) ([]metav1.Object, error) {
	if s.global {
		namespace = ""
	}
	list, err := s.config.Metadata.Resource(s.resource).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	objects := make([]metav1.Object, len(list.Items))
	for i := range list.Items {
		objects[i] = &list.Items[i]
	}
	return objects, nil
}

// ownerIndex finds objects by the UID of their controller, and those of a namespace that have none.
const ownerIndex = "owner"

func ownerOf(o any) ([]string, error) {
	m := o.(metav1.Object)
	if r := metav1.GetControllerOfNoCopy(m); r != nil {
		return []string{string(r.UID)}, nil
	}
	return []string{orphansOf(m.GetNamespace())}, nil
}

// orphansOf is no UID.
func orphansOf(namespace string) string { return "orphans of " + namespace }

// Claimable are the objects that an owner controls, and those of its namespace that nobody does.
func Claimable[T metav1.Object](s *Source, owner metav1.Object) []T {
	return append(Owned[T](s, owner), indexed[T](s, ownerIndex, orphansOf(owner.GetNamespace()))...)
}

// nodeIndex finds pods by their node.
const nodeIndex = "node"

func nodeOf(o any) ([]string, error) {
	if pod := o.(*corev1.Pod); pod.Spec.NodeName != "" {
		return []string{pod.Spec.NodeName}, nil
	}
	return nil, nil
}

// onNode are the pods on a node.
func onNode(pods *Source, node string) []*corev1.Pod {
	return indexed[*corev1.Pod](pods, nodeIndex, node)
}

// Owned are the objects that an owner controls.
func Owned[T metav1.Object](s *Source, owner metav1.Object) []T {
	return indexed[T](s, ownerIndex, string(owner.GetUID()))
}

func indexed[T metav1.Object](s *Source, index, key string) []T {
	found, err := s.informer.GetIndexer().ByIndex(index, key)
	if err != nil {
		panic(err) // the index was added with the source
	}
	objects := make([]T, len(found))
	for i, o := range found {
		objects[i] = o.(T)
	}
	return objects
}
