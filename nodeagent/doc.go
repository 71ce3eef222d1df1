// Package nodeagent runs the pods of one node, or of a whole fleet of simulated ones.
//
// It is a list of small owners. The desk (worker.go) works on each pod when something about it changes: in the API, in the
// runtime, or by the passing of time. One round is: observe what the runtime has, run the probes that are due, plan (pure:
// from spec, runs, health and back-off to actions), apply the actions through the runtime, and publish the status (pure:
// from the same to a PodStatus). A pod that just runs costs no goroutine and no timer. Beside the desk, nodes are registered
// and their leases renewed, and the kubelet API is served (logs and others, through the API server).
//
// The runtime is asked in the words of CRI. Simulated is one without containers: its pods do what annotations and simple
// commands say (script.go lists them), so that control planes of thousands of nodes run on one machine.
//
// The agent knows the API only through client-go, with a node's own rights, and imports none of server, registry, auth,
// admission, etcd, controllers and scheduler.
package nodeagent
