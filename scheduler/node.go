package scheduler

import (
	"maps"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Node is a node and the sums over the pods on it. A cycle looks at hundreds of them, and waits for memory rather than for
// arithmetic: what filters look at is the first 128 bytes, which processors fetch together, and nodes stand in blocks.
type Node struct {
	slot         int32 // index into what is kept for all nodes
	MaxPods      int32
	Pods         []*Pod
	Requested    Amounts
	Allocatable  Amounts
	ScoredCPU    int64
	ScoredMemory int64
	hard, soft   []corev1.Taint // what keeps pods away, what makes the node less liked
	*corev1.Node                // nil while only pods tell of the node
	name         string

	Ports  []HostPort
	images map[string]int64
	claims map[string]int // pods that use a claim, by namespace/name
}

// nodeBlock is how many nodes have their room at once: 64 kB, of which Go aligns the beginning.
const nodeBlock = 256

// set takes over what a version of the node says.
func (n *Node) set(node *corev1.Node) {
	n.Node = node
	n.Allocatable, n.MaxPods = amountsOf(node.Status.Allocatable), int32(min(node.Status.Allocatable.Pods().Value(), math.MaxInt32))
	n.hard, n.soft = nil, nil
	for _, t := range node.Spec.Taints {
		switch t.Effect {
		case corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute:
			n.hard = append(n.hard, t)
		case corev1.TaintEffectPreferNoSchedule:
			n.soft = append(n.soft, t)
		}
	}
	n.images = map[string]int64{}
	for _, image := range node.Status.Images {
		for _, name := range image.Names {
			n.images[name] = image.SizeBytes
		}
	}
}

// place counts a pod.
func (n *Node) place(p *Pod) {
	n.Pods = append(n.Pods, p)
	n.count(p, 1)
}

// displace counts a pod no more; it reports whether it was there.
func (n *Node) displace(p *Pod) bool {
	i := slices.IndexFunc(n.Pods, func(q *Pod) bool { return q.UID == p.UID })
	if i < 0 {
		return false
	}
	gone := n.Pods[i]
	n.Pods = slices.Delete(n.Pods, i, i+1)
	n.count(gone, -1)
	return true
}

func (n *Node) count(p *Pod, sign int64) {
	n.Requested.add(&p.Requests, sign)
	n.ScoredCPU += sign * p.ScoredCPU
	n.ScoredMemory += sign * p.ScoredMemory
	for _, port := range p.Ports {
		if i := slices.Index(n.Ports, port); sign < 0 && i >= 0 {
			n.Ports = slices.Delete(n.Ports, i, i+1)
		} else if sign > 0 {
			n.Ports = append(n.Ports, port)
		}
	}
	for i := range p.Spec.Volumes {
		v := p.Spec.Volumes[i].PersistentVolumeClaim
		if v == nil {
			continue
		}
		if n.claims == nil {
			n.claims = map[string]int{}
		}
		key := p.Namespace + "/" + v.ClaimName
		if n.claims[key] += int(sign); n.claims[key] == 0 {
			delete(n.claims, key)
		}
	}
}

// copyFrom makes n a copy of a node, whose pods may be changed in thought. What n has kept its lists in is used again.
func (n *Node) copyFrom(o *Node) {
	pods, ports, scalars, claims := n.Pods[:0], n.Ports[:0], n.Requested.Scalars[:0], n.claims
	*n = *o
	n.Pods, n.Ports = append(pods, o.Pods...), append(ports, o.Ports...)
	n.Requested.Scalars = append(scalars, o.Requested.Scalars...)
	clear(claims)
	if n.claims = claims; len(o.claims) > 0 && n.claims == nil {
		n.claims = map[string]int{}
	}
	maps.Copy(n.claims, o.claims)
}
