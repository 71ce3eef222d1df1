package registry

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/registry/store"
)

// The endpoints of the `kubernetes` Service are the API servers that are alive. Each keeps a lease under
// /registry/masterleases/<its address> that etcd forgets when it is not renewed, and writes the addresses of all leases
// into Endpoints and EndpointSlice. The leases have upstream's form, so that both kinds of server count each other.

// ownLeaseLife is after how long a server that is gone is forgotten; it outlives one missed renewal.
const ownLeaseLife = 15 * time.Second

// ownEndpoints is this server's part in them.
type ownEndpoints struct {
	r      *Registry
	leases func() *store.Store // opened when the first lease is written
	ip     string              // empty: nobody is to find this server through the Service
}

func newOwnEndpoints(r *Registry) *ownEndpoints {
	o := &ownEndpoints{r: r, leases: sync.OnceValue(func() *store.Store {
		return r.db.Open(store.Config{
			Resource: schema.GroupResource{Resource: "masterleases"}, Kind: corev1.SchemeGroupVersion.WithKind("Endpoints"),
			Prefix: "masterleases", Unsealed: true, New: func() store.Object { return &corev1.Endpoints{} },
		})
	})}
	if ip := r.Network.AdvertiseAddress; ip != nil && !ip.IsUnspecified() && !ip.IsLoopback() {
		o.ip = ip.String()
	}
	return o
}

// keep renews this server's lease and writes the endpoints.
func (o *ownEndpoints) keep(ctx context.Context) error {
	if o.ip == "" {
		return nil
	}
	_, err := o.leases().Update(ctx, store.Key{Name: o.ip}, func(current *store.Entry) (store.Outcome, error) {
		lease := &corev1.Endpoints{}
		if current != nil {
			obj, err := current.Object()
			if err != nil {
				return store.Outcome{}, err
			}
			lease = obj.(*corev1.Endpoints).DeepCopy()
		}
		lease.Subsets = []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: o.ip}}}}
		lease.Generation++ // the same bytes would not be written, and the lease not renewed
		return store.Outcome{Put: lease, TTL: ownLeaseLife}, nil
	})
	if err != nil {
		return err
	}
	ips, err := o.alive(ctx)
	if err != nil {
		return err
	}
	if len(ips) == 0 {
		return errors.New("no API server is alive, this one included; the endpoints are left as they are")
	}
	return o.write(ctx, ips)
}

// leave takes this server out, as the last thing that it does.
func (o *ownEndpoints) leave(ctx context.Context) {
	if o.ip == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := o.leases().Update(ctx, store.Key{Name: o.ip}, func(current *store.Entry) (store.Outcome, error) {
		return store.Outcome{Delete: current != nil}, nil
	})
	if err == nil || apierrors.IsNotFound(err) {
		var ips []string
		if ips, err = o.alive(ctx); err == nil {
			ips = slices.DeleteFunc(ips, func(ip string) bool { return ip == o.ip })
			err = o.write(ctx, ips)
		}
	}
	if err != nil {
		slog.Warn("leave the endpoints of the kubernetes Service", "err", err)
	}
}

// alive are the addresses of all leases.
func (o *ownEndpoints) alive(ctx context.Context) ([]string, error) {
	list, err := o.leases().List(ctx, store.ListOptions{})
	if err != nil {
		return nil, err
	}
	var ips []string
	for _, block := range list.Blocks {
		for _, entry := range block.Entries {
			obj, err := entry.Object()
			if err != nil {
				return nil, err
			}
			if s := obj.(*corev1.Endpoints).Subsets; len(s) > 0 && len(s[0].Addresses) > 0 {
				ips = append(ips, s[0].Addresses[0].IP)
			}
		}
	}
	return sortedIPs(ips), nil
}

// write makes Endpoints and EndpointSlice those of the addresses. Ports are set when the objects are made and are the
// administrator's afterwards; no addresses are no subset.
func (o *ownEndpoints) write(ctx context.Context, ips []string) error {
	port := corev1.EndpointPort{Name: "https", Protocol: corev1.ProtocolTCP, Port: int32(o.r.Network.AdvertisePort)}
	row, key := o.r.Resource("", "endpoints"), store.Key{Namespace: metav1.NamespaceDefault, Name: kubernetesService}
	made := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	aim := func(e *corev1.Endpoints) {
		if e.Labels == nil {
			e.Labels = map[string]string{}
		}
		e.Labels[discoveryv1.LabelSkipMirror] = "true" // its slice is written here
		e.Subsets = ownSubsets(e.Subsets, ips, port)
	}
	obj, err := o.r.Update(ctx, row, "", key, func(obj Object) error { aim(obj.(*corev1.Endpoints)); return nil })
	if apierrors.IsNotFound(err) {
		aim(made)
		obj, err = o.r.Create(ctx, row, made)
	}
	if err != nil {
		return err
	}
	return o.writeSlice(ctx, obj.(*corev1.Endpoints))
}

// ownSubsets are the subsets with the given addresses; subsets that have them already stay as they are.
func ownSubsets(is []corev1.EndpointSubset, ips []string, port corev1.EndpointPort) []corev1.EndpointSubset {
	if len(ips) == 0 {
		return nil
	}
	ports := []corev1.EndpointPort{port}
	if len(is) == 1 {
		ports = is[0].Ports
		var has []string
		for _, a := range is[0].Addresses {
			has = append(has, a.IP)
		}
		if len(has) == len(ips) && slices.Equal(sortedIPs(has), ips) {
			return is
		}
	}
	s := corev1.EndpointSubset{Ports: ports}
	for _, ip := range ips {
		s.Addresses = append(s.Addresses, corev1.EndpointAddress{IP: ip})
	}
	return []corev1.EndpointSubset{s}
}

// writeSlice makes the EndpointSlice say what the Endpoints say.
func (o *ownEndpoints) writeSlice(ctx context.Context, e *corev1.Endpoints) error {
	row, key, want := o.r.Resource(discoveryv1.GroupName, "endpointslices"), objectKey(e), ownSlice(e)
	_, err := o.r.Update(ctx, row, "", key, func(obj Object) error {
		s := obj.(*discoveryv1.EndpointSlice)
		if s.AddressType != want.AddressType {
			return errOtherFamily
		}
		s.Endpoints, s.Ports, s.Labels = want.Endpoints, want.Ports, want.Labels
		return nil
	})
	if errors.Is(err, errOtherFamily) { // the type of a slice is for ever
		err = o.r.Delete(ctx, row, key, nil)
		if err == nil {
			_, err = o.r.Create(ctx, row, want)
		}
	}
	if apierrors.IsNotFound(err) {
		_, err = o.r.Create(ctx, row, want)
	}
	return err
}

var errOtherFamily = errors.New("the slice is of the other family")

// ownSlice is the slice of the first subset's addresses of one family: IPv6 if all are, else IPv4.
func ownSlice(e *corev1.Endpoints) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.Namespace, Name: e.Name,
			Labels: map[string]string{discoveryv1.LabelServiceName: e.Name}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	if len(e.Subsets) == 0 {
		return s
	}
	isSix := func(a corev1.EndpointAddress) bool { ip := net.ParseIP(a.IP); return ip != nil && ip.To4() == nil }
	all := e.Subsets[0].Addresses
	if !slices.ContainsFunc(all, func(a corev1.EndpointAddress) bool { return !isSix(a) }) {
		s.AddressType = discoveryv1.AddressTypeIPv6
	}
	ready := true
	for _, a := range all {
		if isSix(a) == (s.AddressType == discoveryv1.AddressTypeIPv6) {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a.IP},
				Conditions: discoveryv1.EndpointConditions{Ready: &ready}, TargetRef: a.TargetRef, NodeName: a.NodeName})
		}
	}
	for _, p := range e.Subsets[0].Ports {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &p.Name, Protocol: &p.Protocol, Port: &p.Port})
	}
	return s
}
