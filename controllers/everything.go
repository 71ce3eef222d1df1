package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
)

// everything is a source for each resource, but events, whose objects can be listed, watched and deleted: that of the controllers that
// read the resource anyway, or one of metadata alone. Resources come and go with custom resource definitions and
// aggregated servers, and so do their sources.
type everything struct {
	config *Config

	mu        sync.Mutex // guards the fields below
	resources map[schema.GroupResource]*Resource
	kinds     map[schema.GroupVersionKind]*Resource
	followers map[*follower]bool
}

// Resource is one of everything.
type Resource struct {
	*Source
	Kind       schema.GroupVersionKind
	Namespaced bool
	close      func() // ends a source that nobody else has
}

// follower is a loop that is about everything.
type follower struct {
	loop *loop
	on   map[*Resource]cache.ResourceEventHandlerRegistration
}

// How often the API is asked for its resources, and how long after a change of what may have changed them.
const (
	rediscovery      = 30 * time.Second
	rediscoverySoon  = time.Second
	discoveryFailure = time.Second
)

// everything is what all loops share that are about everything.
func (c *Config) everything() *everything {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = &everything{config: c, resources: map[schema.GroupResource]*Resource{}, kinds: map[schema.GroupVersionKind]*Resource{}, followers: map[*follower]bool{}}
	}
	return c.all
}

// run keeps up with what the API serves until ctx ends.
func (e *everything) run(ctx context.Context) {
	var informers sync.WaitGroup
	defer informers.Wait()
	changed := make(chan struct{}, 1)
	for ctx.Err() == nil {
		again := rediscovery
		if err := e.discover(ctx, &informers, changed); err != nil {
			e.config.Log.Debug("discover resources", "err", err)
			again = discoveryFailure
		}
		select {
		case <-ctx.Done():
		case <-e.config.Clock.After(again):
		case <-changed:
			select {
			case <-ctx.Done():
			case <-e.config.Clock.After(rediscoverySoon):
			}
		}
	}
}

// discover asks what there is, and opens and closes sources. Of groups that do not answer, those are kept that there were.
func (e *everything) discover(ctx context.Context, running *sync.WaitGroup, changed chan<- struct{}) error {
	groups, lists, err := e.config.Discovery.ServerGroupsAndResources()
	if len(lists) == 0 {
		return fmt.Errorf("no resources: %w", err)
	}
	silent, _ := discovery.GroupDiscoveryFailedErrorGroups(err)
	found, kinds := servedResources(groups, lists)
	e.mu.Lock()
	defer e.mu.Unlock()
	for of, r := range e.resources {
		if _, there := found[of]; there {
			continue
		}
		if _, unknown := silent[r.Kind.GroupVersion()]; !unknown {
			e.lose(r)
			delete(e.resources, of)
		}
	}
	for of, r := range found {
		if e.resources[of] == nil {
			e.gain(ctx, r, running, changed)
			e.resources[of] = r
		}
	}
	e.kinds = map[schema.GroupVersionKind]*Resource{}
	for kind, r := range kinds {
		e.kinds[kind] = r
		if known := e.resources[r.resource.GroupResource()]; known != nil {
			e.kinds[kind] = known
		}
	}
	return nil
}

// servedResources are the resources of a discovery document in their preferred versions, and the kinds in all.
func servedResources(groups []*metav1.APIGroup, lists []*metav1.APIResourceList) (map[schema.GroupResource]*Resource, map[schema.GroupVersionKind]*Resource) {
	preferred := map[string]string{}
	for _, g := range groups {
		preferred[g.Name] = g.PreferredVersion.GroupVersion
	}
	found, kinds := map[schema.GroupResource]*Resource{}, map[schema.GroupVersionKind]*Resource{}
	watchable := discovery.SupportsAllVerbs{Verbs: []string{"delete", "list", "watch"}}
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue
		}
		for i := range list.APIResources {
			served := &list.APIResources[i]
			r := &Resource{Source: &Source{resource: version.WithResource(served.Name)}, Kind: version.WithKind(served.Kind), Namespaced: served.Namespaced}
			if strings.Contains(served.Name, "/") {
				continue
			}
			kinds[r.Kind] = r
			of := r.resource.GroupResource()
			if watchable.Match(list.GroupVersion, served) && !isEvents(of) && (found[of] == nil || list.GroupVersion == preferred[version.Group]) {
				found[of] = r
			}
		}
	}
	return found, kinds
}

// isEvents is about what nobody owns, and nobody counts, and of which there is much.
func isEvents(of schema.GroupResource) bool {
	return of.Resource == "events" && (of.Group == "" || of.Group == "events.k8s.io")
}

// gain opens the source of a resource that is new, and lets those who follow everything have it.
func (e *everything) gain(ctx context.Context, r *Resource, running *sync.WaitGroup, changed chan<- struct{}) {
	if shared := e.config.sourceOfResource(r.resource); shared != nil {
		r.Source, r.close = shared, func() {}
	} else {
		r.informer = metadatainformer.NewFilteredMetadataInformer(e.config.Metadata, r.resource, metav1.NamespaceAll, 0,
			cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}, nil).Informer()
		r.config = e.config
		r.informer.SetTransform(withoutManagers) // fails for informers that have been started
		var alive context.Context
		alive, r.close = context.WithCancel(ctx)
		running.Go(func() { r.informer.RunWithContext(alive) })
	}
	if slices.Contains([]schema.GroupResource{{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"},
		{Group: "apiregistration.k8s.io", Resource: "apiservices"}}, r.resource.GroupResource()) {
		e.noticeChanges(ctx, r, changed)
	}
	for f := range e.followers {
		f.follow(r)
	}
}

// withoutManagers drops from an object's metadata what no controller looks at, and what is the largest part of it.
func withoutManagers(o any) (any, error) {
	if m, ok := o.(metav1.Object); ok {
		m.SetManagedFields(nil)
	}
	return o, nil
}

// noticeChanges tells that there may be other resources now.
func (e *everything) noticeChanges(ctx context.Context, r *Resource, changed chan<- struct{}) {
	tell := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	registration, err := r.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) { tell() },
		UpdateFunc: func(any, any) { tell() }, DeleteFunc: func(any) { tell() }})
	if err == nil {
		context.AfterFunc(ctx, func() { r.informer.RemoveEventHandler(registration) })
	}
}

// lose closes the source of a resource that is no longer served. All its objects are gone with it.
func (e *everything) lose(r *Resource) {
	for f := range e.followers {
		f.unfollow(r)
	}
	r.close()
}

// follow lets a loop know of everything, from now until the returned function is called.
func (e *everything) follow(x *loop) *follower {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := &follower{x, map[*Resource]cache.ResourceEventHandlerRegistration{}}
	e.followers[f] = true
	for _, r := range e.resources {
		f.follow(r)
	}
	return f
}

func (e *everything) forget(f *follower) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.followers, f)
	for r, registration := range f.on {
		r.informer.RemoveEventHandler(registration)
	}
}

func (f *follower) follow(r *Resource) {
	keys := f.loop.Everything(r)
	if keys == nil {
		return
	}
	if registration, err := r.informer.AddEventHandler(f.loop.handler(Watch{r.Source, keys}, 0)); err == nil {
		f.on[r] = registration
	}
}

func (f *follower) unfollow(r *Resource) {
	registration, follows := f.on[r]
	if !follows {
		return
	}
	delete(f.on, r)
	r.informer.RemoveEventHandler(registration)
	handler := f.loop.handler(Watch{r.Source, f.loop.Everything(r)}, 0)
	for _, o := range r.all("") {
		handler.OnDelete(o)
	}
}

// synced reports that a loop has heard of all objects that there were when it began to follow everything.
func (e *everything) synced(f *follower) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, registration := range f.on {
		if !registration.HasSynced() {
			return false
		}
	}
	return len(e.resources) > 0
}

// ofKind is the resource whose objects are of a kind; nil if there is none. It has no informer if it cannot be watched.
func (e *everything) ofKind(kind schema.GroupVersionKind) *Resource {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.kinds[kind]
}

// of is a resource by its name; nil if there is none.
func (e *everything) of(name schema.GroupResource) *Resource {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.resources[name]
}

// names are the names of all resources.
func (e *everything) names() []schema.GroupResource {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Keys(e.resources))
}
