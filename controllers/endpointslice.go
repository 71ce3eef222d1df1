package controllers

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	discoveryclient "k8s.io/client-go/kubernetes/typed/discovery/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/endpointslice"
	"k8s.io/endpointslice/topologycache"
	sliceutil "k8s.io/endpointslice/util"
	"k8s.io/klog/v2"
)

// endpointSlices promises that the EndpointSlices of a Service with a selector list the pods that it selects, a hundred to a
// slice, with what one has to know before sending anything there: address, readiness, node and zone. Which slice gets
// which endpoint, so that few of them change, is decided by the library that kube-controller-manager uses as well.
//
// The subtle case is topology hints: they depend on all nodes. When those change, the Services whose zones have too
// little of the traffic get another turn.
type endpointSlices struct {
	config   *Config
	services *Source
	pods     *Source
	slices   *Source
	nodes    *Source
	lister   corelisters.ServiceLister
	topology *topologycache.TopologyCache
	changes  *sliceutil.TriggerTimeTracker
	metrics  *sliceMetrics
}

const (
	// sliceKeeper is what slices of this controller are labelled with.
	sliceKeeper = "endpointslice-controller.k8s.io"
	// endpointsPerSlice is how many endpoints a slice has at most.
	endpointsPerSlice = 100
)

// nodesKey is not of a Service: the turn of all nodes.
func nodesKey() Key { return Key{Name: "nodes"} }

func endpointSliceLoop(c *Config) Loop {
	x := &endpointSlices{config: c, services: c.Source(&corev1.Service{}), pods: c.Source(&corev1.Pod{}), slices: c.Source(&discoveryv1.EndpointSlice{}),
		nodes: c.Source(&corev1.Node{}), lister: c.Informers.Core().V1().Services().Lister(),
		topology: topologycache.NewTopologyCache(), changes: sliceutil.NewTriggerTimeTracker(), metrics: newSliceMetrics(c)}
	return Loop{
		Watches:   []Watch{{x.services, itself}, {x.pods, servicesOfPod(x.lister)}, {x.nodes, topologyOf}},
		Gathered:  []Watch{{x.slices, servicesOfSlice(sliceKeeper)}},
		Reconcile: x.reconcile,
	}
}

// servicesOfPod are the Services whose endpoints a change of a pod may change.
func servicesOfPod(services corelisters.ServiceLister) func(old, now metav1.Object) []Key {
	return func(old, now metav1.Object) (keys []Key) {
		change := sliceutil.GetPodUpdateProjectionKey(old, now)
		if change == nil {
			return nil
		}
		names, err := sliceutil.GetServicesToUpdate(services, change)
		if err != nil {
			return nil // a cache does not fail
		}
		for name := range names {
			namespace, name, _ := cache.SplitMetaNamespaceKey(name)
			keys = append(keys, Key{namespace, name})
		}
		return keys
	}
}

// servicesOfSlice are the Services that a keeper's slice is and was labelled with.
func servicesOfSlice(keeper string) func(old, now metav1.Object) []Key {
	return func(old, now metav1.Object) (keys []Key) {
		for _, o := range []metav1.Object{old, now} {
			if o == nil || o.GetLabels()[discoveryv1.LabelManagedBy] != keeper {
				continue
			}
			if service := o.GetLabels()[discoveryv1.LabelServiceName]; service != "" {
				keys = append(keys, Key{o.GetNamespace(), service})
			}
		}
		return keys
	}
}

// topologyOf asks for the turn of all nodes if a node comes, goes, moves to another zone, or is ready or not any more.
func topologyOf(old, now metav1.Object) []Key {
	if old != nil && now != nil && nodeReady(old.(*corev1.Node)) == nodeReady(now.(*corev1.Node)) &&
		old.GetLabels()[corev1.LabelTopologyZone] == now.GetLabels()[corev1.LabelTopologyZone] {
		return nil
	}
	return []Key{nodesKey()}
}

func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func (x *endpointSlices) reconcile(ctx context.Context, t *Turn) error {
	if t.Key == nodesKey() {
		x.spread(t)
		return nil
	}
	service, ok := x.services.cached(t.Key).(*corev1.Service)
	if !ok {
		x.changes.DeleteService(t.Namespace, t.Name)
		x.metrics.gone(t.Key)
		return nil // what it owned is collected
	}
	if !selectsPods(service) {
		x.metrics.gone(t.Key)
		return nil
	}
	pods := podsOfService(x.pods, service)
	// What the library has written is what the runtime has to wait for; it keeps no memory of its own from turn to turn.
	there := keptSlices(x.slices, t.Key, sliceKeeper)
	writes := sliceWrites{t.Client, ctx, t, x.slices, map[string]*discoveryv1.EndpointSlice{}}
	for _, s := range there {
		writes.left[s.Name] = s
	}
	writer := endpointslice.NewReconciler(writes, x.config.Informers.Core().V1().Nodes().Lister(), endpointsPerSlice,
		sliceutil.NewEndpointSliceTracker(), x.topology, t.loop.events, sliceKeeper, endpointslice.WithPreferSameTrafficDistributionEnabled(true))
	changed := x.changes.ComputeEndpointLastChangeTriggerTime(t.Namespace, service, pods)
	if err := writer.Reconcile(klog.Background(), service, pods, there, changed); err != nil {
		return t.Failed(service, err, "FailedToUpdateEndpointSlices", "Error updating Endpoint Slices for Service %s/%s: %v", t.Namespace, t.Name, err)
	}
	x.metrics.turned(service, there, slices.Collect(maps.Values(writes.left)))
	return nil
}

// selectsPods reports whether a Service has endpoints that follow from pods.
func selectsPods(s *corev1.Service) bool {
	return s.Spec.Type != corev1.ServiceTypeExternalName && s.Spec.Selector != nil
}

// podsOfService are the pods that a Service selects.
func podsOfService(pods *Source, s *corev1.Service) (selected []*corev1.Pod) {
	selector := labels.Set(s.Spec.Selector).AsSelectorPreValidated()
	for _, p := range pods.all(s.Namespace) {
		if selector.Matches(labels.Set(p.GetLabels())) {
			selected = append(selected, p.(*corev1.Pod))
		}
	}
	return selected
}

// keptSlices are a keeper's slices of a Service, without those that are going.
func keptSlices(all *Source, service Key, keeper string) (slices []*discoveryv1.EndpointSlice) {
	for _, o := range all.all(service.Namespace) {
		if of := o.GetLabels(); of[discoveryv1.LabelServiceName] == service.Name && of[discoveryv1.LabelManagedBy] == keeper && o.GetDeletionTimestamp() == nil {
			slices = append(slices, o.(*discoveryv1.EndpointSlice))
		}
	}
	return slices
}

// spread counts the zones' shares anew.
func (x *endpointSlices) spread(t *Turn) {
	var nodes []*corev1.Node
	for _, n := range x.nodes.all("") {
		nodes = append(nodes, n.(*corev1.Node))
	}
	x.topology.SetNodes(klog.Background(), nodes)
	for _, service := range x.topology.GetOverloadedServices() {
		namespace, name, _ := cache.SplitMetaNamespaceKey(service)
		t.Wake(Key{namespace, name})
	}
}

// sliceWrites is the client of a turn for the library: its writes are the turn's.
type sliceWrites struct {
	kubernetes.Interface
	ctx    context.Context
	turn   *Turn
	slices *Source
	left   map[string]*discoveryv1.EndpointSlice // what there was, and what has become of it
}

// DiscoveryV1 is the one group that the library writes to.
func (w sliceWrites) DiscoveryV1() discoveryclient.DiscoveryV1Interface {
	return sliceGroup{w.Interface.DiscoveryV1(), w}
}

type sliceGroup struct {
	discoveryclient.DiscoveryV1Interface
	writes sliceWrites
}

// EndpointSlices are the slices of a namespace.
func (g sliceGroup) EndpointSlices(namespace string) discoveryclient.EndpointSliceInterface {
	return sliceClient{g.DiscoveryV1Interface.EndpointSlices(namespace), namespace, g.writes}
}

type sliceClient struct {
	discoveryclient.EndpointSliceInterface
	namespace string
	writes    sliceWrites
}

// Create creates a slice within the turn.
func (c sliceClient) Create(_ context.Context, s *discoveryv1.EndpointSlice, _ metav1.CreateOptions) (*discoveryv1.EndpointSlice, error) {
	made, err := Create(c.writes.ctx, c.writes.turn, c.EndpointSliceInterface, s)
	if err == nil {
		c.writes.left[made.Name] = made
	}
	return made, err
}

// Update updates a slice within the turn.
func (c sliceClient) Update(_ context.Context, s *discoveryv1.EndpointSlice, _ metav1.UpdateOptions) (*discoveryv1.EndpointSlice, error) {
	changed, err := Update(c.writes.ctx, c.writes.turn, c.EndpointSliceInterface, s)
	if err == nil {
		c.writes.left[changed.Name] = changed
	}
	return changed, err
}

// Delete deletes the slice that was read.
func (c sliceClient) Delete(_ context.Context, name string, options metav1.DeleteOptions) error {
	s, ok := c.writes.slices.cached(Key{c.namespace, name}).(*discoveryv1.EndpointSlice)
	if !ok {
		return nil
	}
	err := Delete(c.writes.ctx, c.writes.turn, c.EndpointSliceInterface, s, options)
	if err == nil {
		delete(c.writes.left, name)
	}
	return err
}
