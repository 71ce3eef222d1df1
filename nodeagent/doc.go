// Package nodeagent runs the pods of one node.
//
// It is a list of small owners, each with its struct and its file: pod workers (a pure plan from spec and the runtime's
// state to actions, then apply), the runtime behind CRI (containerd, CRI-O, or a simulated one that runs pods without
// containers), volumes, probes, images, status, stats, eviction, and the kubelet's API on port 10250.
//
// The agent knows the API only through client-go, with a node's own rights, and imports none of server, registry, auth,
// admission, etcd, controllers and scheduler.
package nodeagent
