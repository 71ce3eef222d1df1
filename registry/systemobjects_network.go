package registry

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/knarr-dev/knarr/registry/store"
)

// What the API server keeps of the cluster's network by itself: the default ServiceCIDR, the namespaces that everything
// expects, and the `kubernetes` Service, whose endpoints are the API servers that are alive (endpoints_own.go). Several
// API servers keep the same objects; all of them write the same.

// How often each is looked after.
const (
	keepServiceEvery   = 10 * time.Second
	keepNamespaceEvery = time.Minute
	keepRepairEvery    = 3 * time.Minute
)

// PrepareNetwork makes what requests rely on: run it before the first one is served.
func (r *Registry) PrepareNetwork(ctx context.Context) error {
	return errors.Join(r.keepServiceCIDR(ctx), r.keepNamespaces(ctx))
}

// KeepNetwork looks after the network's objects until ctx ends, and then takes this API server out of the endpoints of
// the `kubernetes` Service. Start it when requests are served: it makes this server known.
func (r *Registry) KeepNetwork(ctx context.Context) {
	own := newOwnEndpoints(r)
	repair := serviceRepair{r: r, leaks: map[int]int{}}
	jobs := []struct {
		name  string
		every time.Duration
		run   func(context.Context) error
		due   time.Time
	}{
		{name: "the default ServiceCIDR", every: keepServiceEvery, run: r.keepServiceCIDR},
		{name: "the kubernetes Service", every: keepServiceEvery, run: r.keepKubernetesService},
		{name: "the endpoints of the kubernetes Service", every: keepServiceEvery, run: own.keep},
		{name: "the default namespaces", every: keepNamespaceEvery, run: r.keepNamespaces},
		{name: "addresses of Services", every: keepRepairEvery, run: repair.addresses},
		{name: "node ports of Services", every: keepRepairEvery, run: repair.ports},
	}
	var watching sync.WaitGroup
	watching.Go(func() { repair.watch(ctx) })
	defer watching.Wait()
	tick := time.NewTicker(keepServiceEvery)
	defer tick.Stop()
	for {
		now := time.Now()
		for i := range jobs {
			job := &jobs[i]
			if now.Before(job.due) {
				continue
			}
			job.due = now.Add(job.every - time.Second) // ticks are not that exact
			if err := job.run(ctx); err != nil && ctx.Err() == nil {
				slog.Error("keep "+job.name, "err", err)
			}
		}
		select {
		case <-ctx.Done():
			own.leave(context.WithoutCancel(ctx))
			return
		case <-tick.C:
		}
	}
}

// keepNamespaces makes the namespaces that are missing.
func (r *Registry) keepNamespaces(ctx context.Context) error {
	var errs []error
	for _, name := range []string{metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease, metav1.NamespaceDefault} {
		errs = append(errs, r.createMissing(ctx, r.Resource("", "namespaces"), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	}
	return errors.Join(errs...)
}

// createMissing creates the object unless there is one.
func (r *Registry) createMissing(ctx context.Context, row *Resource, obj Object) error {
	_, err := r.Store(row.Group, row.Plural).Get(ctx, objectKey(obj), "0")
	if err == nil {
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return err
	}
	if _, err = r.Create(ctx, row, obj); apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// keepServiceCIDR has the ranges of the configuration stand in the default ServiceCIDR. One that differs is left alone,
// save for the second range of a cluster that becomes dual stack: others may serve by it.
func (r *Registry) keepServiceCIDR(ctx context.Context) error {
	var ranges []string
	for _, p := range r.Network.ServiceRanges {
		ranges = append(ranges, p.String())
	}
	row, key := r.Resource(networkingv1.GroupName, "servicecidrs"), store.Key{Name: defaultServiceCIDR}
	err := r.createMissing(ctx, row, &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: defaultServiceCIDR}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: ranges},
	})
	if err != nil {
		return err
	}
	_, err = r.Update(ctx, row, "", key, func(o Object) error {
		if c := o.(*networkingv1.ServiceCIDR); len(ranges) == 2 && len(c.Spec.CIDRs) == 1 && c.Spec.CIDRs[0] == ranges[0] {
			c.Spec.CIDRs = ranges
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = r.Store(row.Group, row.Plural).Update(ctx, key, func(current *store.Entry) (store.Outcome, error) {
		return readyServiceCIDR(current, ranges)
	})
	return err
}

// readyServiceCIDR calls the default ServiceCIDR ready unless somebody judged already. The condition is owned as if it
// had been applied, by the name that upstream's does it under.
func readyServiceCIDR(current *store.Entry, ranges []string) (store.Outcome, error) {
	if current == nil {
		return store.Outcome{}, nil
	}
	obj, err := current.Object()
	if err != nil {
		return store.Outcome{}, err
	}
	c := obj.(*networkingv1.ServiceCIDR)
	ready := meta.FindStatusCondition(c.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
	if c.DeletionTimestamp != nil || !slices.Equal(c.Spec.CIDRs, ranges) || ready != nil && ready.Status != metav1.ConditionUnknown {
		return store.Outcome{}, nil
	}
	const owner = "kubernetes-service-cidr-controller"
	const fields = `{"f:status":{"f:conditions":{"k:{\"type\":\"Ready\"}":{".":{},"f:lastTransitionTime":{},"f:message":{},"f:status":{},"f:type":{}}}}}`
	c, now := c.DeepCopy(), metav1.NewTime(time.Now().Truncate(time.Second))
	meta.RemoveStatusCondition(&c.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
	c.Status.Conditions = append(c.Status.Conditions, metav1.Condition{
		Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue,
		Message: "Kubernetes default Service CIDR is ready", LastTransitionTime: now,
	})
	others := slices.DeleteFunc(c.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == owner })
	c.ManagedFields = append([]metav1.ManagedFieldsEntry{{
		Manager: owner, Operation: metav1.ManagedFieldsOperationApply, APIVersion: networkingv1.SchemeGroupVersion.String(),
		Time: &now, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields), Subresource: "status",
	}}, others...)
	return store.Outcome{Put: c}, nil
}

// keepKubernetesService makes the Service under which pods find the API server, at the first address of the first
// range. Once made it is the administrator's.
func (r *Registry) keepKubernetesService(ctx context.Context) error {
	if len(r.Network.ServiceRanges) == 0 {
		return nil
	}
	single := corev1.IPFamilyPolicySingleStack
	port := corev1.ServicePort{
		Name: "https", Protocol: corev1.ProtocolTCP, Port: int32(r.Network.ServicePort),
		TargetPort: intstr.FromInt32(int32(r.Network.AdvertisePort)),
	}
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: kubernetesService,
			Labels: map[string]string{"provider": "kubernetes", "component": "apiserver"}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, Ports: []corev1.ServicePort{port},
			ClusterIP: r.Network.KubernetesIP().String(), IPFamilyPolicy: &single, SessionAffinity: corev1.ServiceAffinityNone,
		},
	}
	if n := r.Network.ServiceNodePort; n > 0 {
		s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, int32(n)
	}
	return r.createMissing(ctx, r.Resource("", "services"), s)
}

// kubernetesService is the API server's own Service, in the namespace default.
const kubernetesService = "kubernetes"

// KubernetesIP is the cluster IP of the `kubernetes` Service: the first of the first range.
func (n Network) KubernetesIP() netip.Addr { return n.ServiceRanges[0].Masked().Addr().Next() }

// sortedIPs are the addresses in one order for all who write them.
func sortedIPs(ips []string) []string {
	return slices.Compact(slices.SortedFunc(slices.Values(ips), func(a, b string) int {
		return bytes.Compare(net.ParseIP(a), net.ParseIP(b))
	}))
}
