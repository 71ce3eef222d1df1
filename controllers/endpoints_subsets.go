package controllers

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/dump"
	"k8s.io/utils/ptr"
)

// repackSubsets arranges subsets in the one way that has each address once for a port, ports with the same addresses
// together, and all in order. An address that is ready in one place and not in another is not.
func repackSubsets(subsets []corev1.EndpointSubset) []corev1.EndpointSubset {
	known := map[endpointName]corev1.EndpointAddress{}
	byPort := map[endpointPort]map[endpointName]bool{}
	for _, s := range subsets {
		ports := s.Ports
		if len(ports) == 0 {
			ports = []corev1.EndpointPort{{Port: noPort}}
		}
		for _, p := range ports {
			noteAddresses(known, byPort, endpointPortOf(p), s.Addresses, true)
			noteAddresses(known, byPort, endpointPortOf(p), s.NotReadyAddresses, false)
		}
	}
	grouped := map[string]*corev1.EndpointSubset{}
	for port, addresses := range byPort {
		s := subsetOf(addresses, known)
		key := subsetKey(s)
		if grouped[key] == nil {
			grouped[key] = s
		}
		if port.number != noPort {
			grouped[key].Ports = append(grouped[key].Ports, port.port())
		}
	}
	return inOrder(grouped)
}

// noPort stands for the lack of ports.
const noPort = -1

// endpointName tells addresses apart: pods on the network of their node share an IP.
type endpointName struct {
	ip  string
	uid types.UID
}

// endpointPort is a port by value.
type endpointPort struct {
	name, protocol, app string
	hasApp              bool
	number              int32
}

func endpointPortOf(p corev1.EndpointPort) endpointPort {
	return endpointPort{p.Name, string(p.Protocol), ptr.Deref(p.AppProtocol, ""), p.AppProtocol != nil, p.Port}
}

func (p endpointPort) port() corev1.EndpointPort {
	out := corev1.EndpointPort{Name: p.name, Protocol: corev1.Protocol(p.protocol), Port: p.number}
	if p.hasApp {
		out.AppProtocol = &p.app
	}
	return out
}

func noteAddresses(known map[endpointName]corev1.EndpointAddress, byPort map[endpointPort]map[endpointName]bool, port endpointPort, addresses []corev1.EndpointAddress, ready bool) {
	for _, a := range addresses {
		name := endpointName{ip: a.IP}
		if a.TargetRef != nil {
			name.uid = a.TargetRef.UID
		}
		if _, ok := known[name]; !ok {
			known[name] = a
		}
		if byPort[port] == nil {
			byPort[port] = map[endpointName]bool{}
		}
		if was, ok := byPort[port][name]; !ok || was {
			byPort[port][name] = ready
		}
	}
}

// subsetOf lists addresses in order.
func subsetOf(addresses map[endpointName]bool, known map[endpointName]corev1.EndpointAddress) *corev1.EndpointSubset {
	s := &corev1.EndpointSubset{}
	for name, ready := range addresses {
		if ready {
			s.Addresses = append(s.Addresses, known[name])
		} else {
			s.NotReadyAddresses = append(s.NotReadyAddresses, known[name])
		}
	}
	slices.SortFunc(s.Addresses, compareAddresses)
	slices.SortFunc(s.NotReadyAddresses, compareAddresses)
	return s
}

func compareAddresses(a, b corev1.EndpointAddress) int {
	uid := func(r *corev1.ObjectReference) string {
		if r == nil {
			return ""
		}
		return string(r.UID)
	}
	return cmp.Or(strings.Compare(a.IP, b.IP), strings.Compare(uid(a.TargetRef), uid(b.TargetRef)))
}

// subsetKey is equal for subsets with the same addresses.
func subsetKey(s *corev1.EndpointSubset) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	for _, list := range [][]corev1.EndpointAddress{s.Addresses, s.NotReadyAddresses} {
		if err := enc.Encode(list); err != nil {
			panic(err) // strings
		}
	}
	return b.String()
}

// inOrder sorts ports and subsets by their hashes. Any order would do for whoever reads them; this is upstream's, so that neither changes
// what the other has written.
func inOrder(grouped map[string]*corev1.EndpointSubset) []corev1.EndpointSubset {
	all := []corev1.EndpointSubset{}
	for _, s := range grouped {
		sortByHash(s.Ports)
		all = append(all, *s)
	}
	sortByHash(all)
	return all
}

func sortByHash[T any](list []T) {
	if len(list) < 2 {
		return
	}
	type hashed struct {
		item T
		hash []byte
	}
	all := make([]hashed, len(list))
	for i, item := range list {
		h := fnv.New128a()
		fmt.Fprintf(h, "%v", dump.ForHash(item))
		all[i] = hashed{item, h.Sum(nil)}
	}
	slices.SortFunc(all, func(a, b hashed) int { return bytes.Compare(a.hash, b.hash) })
	for i := range all {
		list[i] = all[i].item
	}
}
