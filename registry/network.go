package registry

import (
	"net"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// Network is what the cluster's addresses and ports are made of.
type Network struct {
	// ServiceRanges are what cluster IPs come from, one a family; the first one's family is the cluster's default.
	ServiceRanges []netip.Prefix
	// NodePorts is the range of the ports that Services open on every node.
	NodePorts utilnet.PortRange
	// AdvertiseAddress is where pods reach this API server; never a loopback address.
	AdvertiseAddress net.IP
	// AdvertisePort is the port that goes with it.
	AdvertisePort int
	// ServicePort is the port of the `kubernetes` Service.
	ServicePort int
	// ServiceNodePort opens the `kubernetes` Service on this port of every node; zero does not.
	ServiceNodePort int
}

// DefaultNetwork is upstream's: 10.0.0.0/24 for cluster IPs and 30000 to 32767 for node ports.
func DefaultNetwork() Network {
	return Network{
		ServiceRanges: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")},
		NodePorts:     utilnet.PortRange{Base: 30000, Size: 2768},
		AdvertisePort: 6443,
		ServicePort:   443,
	}
}

// defaultFamily is the family of the first range of cluster IPs.
func (n Network) defaultFamily() corev1.IPFamily {
	if len(n.ServiceRanges) == 0 {
		return corev1.IPv4Protocol
	}
	return familyOfAddr(n.ServiceRanges[0].Addr())
}

// serves reports whether cluster IPs of the family can be had.
func (n Network) serves(family corev1.IPFamily) bool {
	for _, p := range n.ServiceRanges {
		if familyOfAddr(p.Addr()) == family {
			return true
		}
	}
	return false
}

// dualStack reports whether cluster IPs of both families can be had.
func (n Network) dualStack() bool {
	return n.serves(corev1.IPv4Protocol) && n.serves(corev1.IPv6Protocol)
}

func familyOfAddr(a netip.Addr) corev1.IPFamily {
	if a.Unmap().Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

func otherFamily(f corev1.IPFamily) corev1.IPFamily {
	if f == corev1.IPv4Protocol {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}
