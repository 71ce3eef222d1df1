package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// side is one of the two casts, and all that its API has.
type side struct {
	cast
	stage   *stage
	client  kubernetes.Interface
	dynamic dynamic.Interface
	byKind  map[schema.GroupKind]*apiResource
	byName  map[string]*apiResource

	mu      sync.Mutex           // guards the fields below
	changed map[string]time.Time // when something in a namespace changed last
	seen    map[string]*marks    // what chance has made, by namespace
}

// apiResource is a resource of the API and the informer that keeps its objects.
type apiResource struct {
	schema.GroupVersionResource
	name       string
	kind       string
	namespaced bool
	informer   cache.SharedIndexInformer
}

// enter starts a cast and watches all that it has. end is to be called in any case.
func enter(ctx context.Context, top, dir string, c cast) (_ *side, end func(), err error) {
	s := &side{cast: c, stage: &stage{top: top, dir: filepath.Join(dir, c.controllers), nodes: comparedNodes}, changed: map[string]time.Time{}, seen: map[string]*marks{},
		byKind: map[schema.GroupKind]*apiResource{}, byName: map[string]*apiResource{}}
	ctx, stop := context.WithCancel(ctx)
	end = func() {
		stop()
		s.stage.end()
	}
	if err := os.Mkdir(s.stage.dir, 0o755); err != nil {
		return nil, end, err
	}
	if err := s.stage.begin(ctx, c); err != nil {
		return nil, end, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", s.stage.kubeconfigs["admin"])
	if err != nil {
		return nil, end, err
	}
	config.QPS, config.WarningHandler = -1, rest.NoWarnings{}
	if s.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, end, err
	}
	if s.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, end, err
	}
	if err := s.watch(ctx); err != nil {
		return nil, end, err
	}
	waiting, waited := context.WithTimeout(ctx, time.Minute)
	defer waited()
	return s, end, until(waiting, func() error {
		if ready := s.openNodes(); ready < comparedNodes {
			return fmt.Errorf("there are %d nodes that take pods", ready)
		}
		return s.stage.dead()
	})
}

// openNodes is how many nodes have been found to be ready, so that they take all pods.
func (s *side) openNodes() (n int) {
	for _, node := range s.find("nodes", "") {
		if taints, _, _ := unstructured.NestedSlice(node.Object, "spec", "taints"); len(taints) == 0 {
			n++
		}
	}
	return n
}

// watch keeps all objects of the API, save those that change all the time and mean nothing.
func (s *side) watch(ctx context.Context) error {
	lists, err := s.client.Discovery().ServerPreferredResources()
	if err != nil {
		return err
	}
	lists = discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "watch"}}, lists)
	factory := dynamicinformer.NewDynamicSharedInformerFactory(s.dynamic, 0)
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return err
		}
		for _, r := range list.APIResources {
			if r.Name == "leases" || r.Name == "events" && gv.Group != "" {
				continue
			}
			a := &apiResource{GroupVersionResource: gv.WithResource(r.Name), name: r.Name, kind: r.Kind, namespaced: r.Namespaced}
			a.informer = factory.ForResource(a.GroupVersionResource).Informer()
			if err := a.informer.AddIndexers(cache.Indexers{"namespace": cache.MetaNamespaceIndexFunc}); err != nil && !strings.Contains(err.Error(), "conflict") {
				return err
			}
			if _, err := a.informer.AddEventHandler(s.handler()); err != nil {
				return err
			}
			s.byKind[gv.WithKind(r.Kind).GroupKind()], s.byName[r.Name] = a, a
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	return ctx.Err()
}

// handler notes when something changed, and what chance has made.
func (s *side) handler() cache.ResourceEventHandler {
	note := func(o any) {
		if last, unknown := o.(cache.DeletedFinalStateUnknown); unknown {
			o = last.Obj
		}
		of := o.(*unstructured.Unstructured)
		s.mu.Lock()
		defer s.mu.Unlock()
		if !isOfNode(of) {
			s.changed[of.GetNamespace()] = time.Now()
		}
		if s.seen[of.GetNamespace()] == nil {
			s.seen[of.GetNamespace()] = newMarks()
		}
		s.seen[of.GetNamespace()].note(of)
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: note, UpdateFunc: func(_, o any) { note(o) }, DeleteFunc: note}
}

// find are the objects of a resource, the oldest first.
func (s *side) find(resource, namespace string) []*unstructured.Unstructured {
	r := s.byName[resource]
	if r == nil {
		return nil
	}
	if !r.namespaced {
		namespace = ""
	}
	var found []*unstructured.Unstructured
	for _, o := range r.informer.GetStore().List() {
		if of := o.(*unstructured.Unstructured); of.GetNamespace() == namespace {
			found = append(found, of)
		}
	}
	slices.SortFunc(found, func(a, b *unstructured.Unstructured) int {
		return cmp.Or(a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time), cmp.Compare(a.GetName(), b.GetName()))
	})
	return found
}

// objects are those of an object's resource, in its namespace.
func (s *side) objects(of *unstructured.Unstructured) dynamic.ResourceInterface {
	r := s.byKind[of.GroupVersionKind().GroupKind()]
	if !r.namespaced {
		return s.dynamic.Resource(r.GroupVersionResource)
	}
	return s.dynamic.Resource(r.GroupVersionResource).Namespace(of.GetNamespace())
}

// furnish makes a namespace and waits for what every namespace gets.
func (s *side) furnish(ctx context.Context, name string) error {
	namespace := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}}
	if _, err := s.objects(namespace).Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		return err
	}
	return until(ctx, func() error {
		if len(s.find("serviceaccounts", name)) == 0 || len(s.find("configmaps", name)) == 0 {
			return errors.New("the namespace has no account or no certificate")
		}
		return nil
	})
}

// settled says whether nothing has changed in a namespace for a while.
func (s *side) settled(namespace string, since time.Time, quiet time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := s.changed[namespace]; last.After(since) {
		since = last
	}
	if time.Since(since) < quiet {
		return errors.New("it does not settle")
	}
	return nil
}

// meant are the objects that a target means.
func (s *script) meant(target string) ([]*unstructured.Unstructured, error) {
	if resource, name, one := strings.Cut(target, "/"); one && !strings.Contains(resource, "?") {
		found := s.find(resource, s.namespace)
		return slices.DeleteFunc(found, func(o *unstructured.Unstructured) bool { return o.GetName() != name }), s.known(resource)
	}
	resource, rest, _ := strings.Cut(target, "?")
	selector, nth, chosen := strings.Cut(rest, "#")
	labelled, err := labels.Parse(selector)
	if err != nil {
		return nil, err
	}
	found := slices.DeleteFunc(s.find(resource, s.namespace), func(o *unstructured.Unstructured) bool { return !labelled.Matches(labels.Set(o.GetLabels())) })
	if chosen {
		n, err := strconv.Atoi(nth)
		if err != nil {
			return nil, err
		}
		found = found[min(n-1, len(found)):min(n, len(found))]
	}
	return found, s.known(resource)
}

func (s *side) known(resource string) error {
	if s.byName[resource] == nil {
		return fmt.Errorf("there is no resource %q", resource)
	}
	return nil
}

func (s *script) evict(ctx context.Context, pod *unstructured.Unstructured) error {
	eviction := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "policy/v1", "kind": "Eviction",
		"metadata": map[string]any{"name": pod.GetName(), "namespace": pod.GetNamespace()}}}
	var other error
	err := until(ctx, func() error {
		_, err := s.objects(pod).Create(ctx, eviction, metav1.CreateOptions{}, "eviction")
		if apierrors.IsTooManyRequests(err) {
			return err
		}
		other = err
		return nil
	})
	return errors.Join(err, other)
}
