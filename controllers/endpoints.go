package controllers

import (
	"context"
	"maps"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/endpointslice"
	sliceutil "k8s.io/endpointslice/util"
	"k8s.io/utils/net"
)

// endpoints promises that the Endpoints of a Service with a selector list the pods that it selects, for those who know
// nothing of EndpointSlices. There is one such object for a Service, of one address family, with a thousand addresses at most.
//
// The subtle case is an Endpoints object without a Service: Services own none, so that a deleted Service leaves one behind,
// and it is deleted here. People may have some without a Service, too, so only what was there before a start is taken for
// left behind; save somebody's lock for an election.
type endpoints struct {
	all      *Source
	services *Source
	pods     *Source
	changes  *sliceutil.TriggerTimeTracker
}

const (
	managedLabel = "endpoints.kubernetes.io/managed-by"
	// endpointsKeeper is what Endpoints of this controller are labelled with.
	endpointsKeeper = "endpoint-controller"
	// mostEndpoints is how many addresses are listed.
	mostEndpoints = 1000
)

func endpointsLoop(c *Config) Loop {
	x := &endpoints{c.Source(&corev1.Endpoints{}), c.Source(&corev1.Service{}), c.Source(&corev1.Pod{}), sliceutil.NewTriggerTimeTracker()}
	return Loop{
		Watches:   []Watch{{x.services, itself}, {x.pods, servicesOfPod(c.Informers.Core().V1().Services().Lister())}, {x.all, gone}},
		Found:     []Watch{{x.all, itself}},
		Reconcile: x.reconcile,
	}
}

// gone is the key of Endpoints that are gone, which a Service may need. What somebody else writes into them stands until
// the next change.
func gone(old, now metav1.Object) []Key {
	if now != nil {
		return nil
	}
	return []Key{KeyOf(old)}
}

func (x *endpoints) reconcile(ctx context.Context, t *Turn) error {
	there, _ := x.all.cached(t.Key).(*corev1.Endpoints)
	service, ok := x.services.cached(t.Key).(*corev1.Service)
	if !ok {
		x.changes.DeleteService(t.Namespace, t.Name)
		return x.drop(ctx, t, there)
	}
	if !selectsPods(service) {
		return nil
	}
	pods := podsOfService(x.pods, service)
	changed := x.changes.ComputeEndpointLastChangeTriggerTime(t.Namespace, service, pods)
	wanted := endpointsOf(service, pods, there, changed)
	if wanted == nil {
		return nil
	}
	return x.write(ctx, t, there == nil, wanted)
}

// drop deletes Endpoints whose Service is gone.
func (x *endpoints) drop(ctx context.Context, t *Turn, there *corev1.Endpoints) error {
	if there == nil {
		return nil
	}
	if _, lock := there.Annotations[resourcelock.LeaderElectionRecordAnnotationKey]; lock {
		return nil
	}
	return Delete(ctx, t, t.Client.CoreV1().Endpoints(t.Namespace), there, metav1.DeleteOptions{})
}

func (x *endpoints) write(ctx context.Context, t *Turn, news bool, e *corev1.Endpoints) error {
	client := t.Client.CoreV1().Endpoints(t.Namespace)
	if !news {
		_, err := Update(ctx, t, client, e)
		if err != nil {
			return t.Failed(e, err, "FailedToUpdateEndpoint", "Failed to update endpoint %v/%v: %v", t.Namespace, t.Name, err)
		}
		return nil
	}
	_, err := Create(ctx, t, client, e)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	if err != nil {
		return t.Failed(e, err, "FailedToCreateEndpoint", "Failed to create endpoint for service %v/%v: %v", t.Namespace, t.Name, err)
	}
	return nil
}

// endpointsOf is what the Endpoints of a Service should be, or nil if there is nothing to change about those that are
// there. changed is when the pods or the Service changed last; zero if that is told already.
func endpointsOf(service *corev1.Service, pods []*corev1.Pod, there *corev1.Endpoints, changed time.Time) *corev1.Endpoints {
	subsets := subsetsOf(service, pods)
	wanted := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: service.Name, Namespace: service.Namespace}}
	if there != nil {
		if sameSubsets(there.Subsets, subsets) && labelledAs(there.Labels, service.Labels) && fits(there) {
			return nil
		}
		wanted = there.DeepCopy()
	}
	if wanted.Annotations == nil {
		wanted.Annotations = map[string]string{}
	}
	wanted.Subsets, wanted.Labels = subsets, endpointsLabels(service)
	delete(wanted.Annotations, corev1.EndpointsLastChangeTriggerTime)
	if !changed.IsZero() {
		wanted.Annotations[corev1.EndpointsLastChangeTriggerTime] = changed.UTC().Format(time.RFC3339Nano)
	}
	delete(wanted.Annotations, corev1.EndpointsOverCapacity)
	if truncateSubsets(wanted.Subsets) {
		wanted.Annotations[corev1.EndpointsOverCapacity] = "truncated"
	}
	return wanted
}

// endpointsLabels are those of the Service, and two of the controller's own.
func endpointsLabels(service *corev1.Service) map[string]string {
	own := map[string]string{}
	maps.Copy(own, service.Labels)
	delete(own, corev1.IsHeadlessService)
	if isHeadless(service) {
		own[corev1.IsHeadlessService] = ""
	}
	own[managedLabel] = endpointsKeeper
	return own
}

func isHeadless(s *corev1.Service) bool {
	return s.Spec.ClusterIP == corev1.ClusterIPNone || s.Spec.ClusterIP == ""
}

// labelledAs reports whether the labels are those of the Service, whatever the controller's own say.
func labelledAs(labels, service map[string]string) bool {
	if labels[managedLabel] != endpointsKeeper {
		return false
	}
	shared := maps.Clone(labels)
	delete(shared, managedLabel)
	if _, both := service[corev1.IsHeadlessService]; !both {
		delete(shared, corev1.IsHeadlessService)
	}
	return maps.Equal(shared, service)
}

// fits reports whether there are as few addresses as may be, and nothing is said of more.
func fits(e *corev1.Endpoints) bool {
	_, truncated := e.Annotations[corev1.EndpointsOverCapacity]
	ready, other := countAddresses(e.Subsets)
	return ready+other <= mostEndpoints && !truncated
}

// sameSubsets compares what is there, however it is arranged, with what is wanted.
func sameSubsets(there, wanted []corev1.EndpointSubset) bool {
	return equality.Semantic.DeepEqual(there, wanted) || equality.Semantic.DeepEqual(repackSubsets(there), wanted)
}

// subsetsOf are the addresses of pods, each once for each port of the Service that it has.
func subsetsOf(service *corev1.Service, pods []*corev1.Pod) []corev1.EndpointSubset {
	var loose []corev1.EndpointSubset
	early := service.Spec.PublishNotReadyAddresses
	for _, p := range pods {
		if !sliceutil.ShouldPodBeInEndpoints(p, early) {
			continue
		}
		address, ok := endpointAddress(service, p)
		if !ok {
			continue
		}
		for _, ports := range endpointPorts(service, p) {
			if early || isReady(p) {
				loose = append(loose, corev1.EndpointSubset{Addresses: []corev1.EndpointAddress{address}, Ports: ports})
			} else {
				loose = append(loose, corev1.EndpointSubset{NotReadyAddresses: []corev1.EndpointAddress{address}, Ports: ports})
			}
		}
	}
	return repackSubsets(loose)
}

// endpointPorts are the Service's ports on a pod, one at a time. A headless Service needs none.
func endpointPorts(service *corev1.Service, p *corev1.Pod) (each [][]corev1.EndpointPort) {
	if len(service.Spec.Ports) == 0 && service.Spec.ClusterIP == corev1.ClusterIPNone {
		return [][]corev1.EndpointPort{nil}
	}
	for i := range service.Spec.Ports {
		port := &service.Spec.Ports[i]
		if number, err := endpointslice.FindPort(p, port); err == nil { // a named port that the pod lacks
			each = append(each, []corev1.EndpointPort{{Name: port.Name, Port: int32(number), Protocol: port.Protocol, AppProtocol: port.AppProtocol}})
		}
	}
	return each
}

// endpointAddress is the address of a pod in the Service's first family.
func endpointAddress(service *corev1.Service, p *corev1.Pod) (corev1.EndpointAddress, bool) {
	six := wantsIPv6(service, p)
	for _, its := range p.Status.PodIPs {
		ip := net.ParseIPSloppy(its.IP)
		if ip == nil || net.IsIPv6(ip) != six {
			continue
		}
		a := corev1.EndpointAddress{IP: ip.String(), NodeName: &p.Spec.NodeName,
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID}}
		if sliceutil.ShouldSetHostname(p, service) {
			a.Hostname = p.Spec.Hostname
		}
		return a, true
	}
	return corev1.EndpointAddress{}, false
}

func wantsIPv6(service *corev1.Service, p *corev1.Pod) bool {
	switch {
	case len(service.Spec.IPFamilies) > 0:
		return service.Spec.IPFamilies[0] == corev1.IPv6Protocol
	case !isHeadless(service):
		return net.IsIPv6String(service.Spec.ClusterIP)
	}
	return net.IsIPv6String(p.Status.PodIP)
}

func countAddresses(subsets []corev1.EndpointSubset) (ready, other int) {
	for _, s := range subsets {
		ready, other = ready+len(s.Addresses), other+len(s.NotReadyAddresses)
	}
	return ready, other
}

// truncateSubsets leaves out addresses if there are too many, of each subset in proportion: those that are not ready first,
// and only then others. It reports whether it left out any.
func truncateSubsets(subsets []corev1.EndpointSubset) bool {
	ready, other := countAddresses(subsets)
	if ready+other <= mostEndpoints {
		return false
	}
	room, total := mostEndpoints-ready, other
	if ready > mostEndpoints {
		room, total = mostEndpoints, ready
	}
	left := room
	for i := range subsets {
		from := &subsets[i].NotReadyAddresses
		if ready > mostEndpoints {
			subsets[i].NotReadyAddresses, from = nil, &subsets[i].Addresses
		}
		share := int(math.Ceil(float64(len(*from)) / float64(total) * float64(room)))
		*from = (*from)[:min(len(*from), share, left)]
		left -= len(*from)
	}
	return true
}
