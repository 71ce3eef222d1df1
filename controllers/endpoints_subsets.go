package controllers

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
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

// inOrder sorts ports by name, number and protocol, and subsets by their first port, then by address.
func inOrder(grouped map[string]*corev1.EndpointSubset) []corev1.EndpointSubset {
	all := []corev1.EndpointSubset{}
	for _, s := range grouped {
		slices.SortFunc(s.Ports, comparePorts)
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b corev1.EndpointSubset) int {
		return cmp.Or(slices.CompareFunc(a.Ports, b.Ports, comparePorts), slices.CompareFunc(a.Addresses, b.Addresses, compareAddresses),
			slices.CompareFunc(a.NotReadyAddresses, b.NotReadyAddresses, compareAddresses))
	})
	return all
}

func comparePorts(a, b corev1.EndpointPort) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Port, b.Port), strings.Compare(string(a.Protocol), string(b.Protocol)),
		strings.Compare(ptr.Deref(a.AppProtocol, ""), ptr.Deref(b.AppProtocol, "")))
}
