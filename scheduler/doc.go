// Package scheduler decides which node a pod runs on.
//
// One file tells the story (cycle.go): pop a pod, filter the nodes, score those that are left, select one, assume that the
// pod runs there, reserve, and bind in the background (bind.go) while the next pod is looked at. A plugin is one file and
// a row in the table (name, weight); its extension points follow from the interfaces that it implements (plugin.go).
//
// What plugins need of the world is kept per node, and updated by what changed (cluster.go, tally.go), so that filtering
// and scoring are arithmetic over slices. One lock guards this world and the queue. A cycle holds it from beginning to
// end: what happens meanwhile waits the fraction of a millisecond that a cycle takes. So a cycle sees one state of
// affairs without a copy of it, and no event falls between a decision and the queue that the pod is put into.
//
// Preemption, nominated pods and dry runs share one overlay of a node: pods more, pods less (whatif.go).
//
// The scheduler knows the API only through client-go, runs under a leader lease, and imports none of server, registry,
// auth, admission, etcd, controllers and nodeagent.
package scheduler
