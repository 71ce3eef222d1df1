// Package scheduler decides which node a pod runs on.
//
// One file tells the story: pop a pod, take a snapshot of the nodes, filter, score, select, assume, reserve, permit,
// pre-bind, bind. A plugin is one file and a row in the table (name, weight); its extension points follow from the
// interfaces that it implements. What plugins need of a node is kept per node and updated by what changed, so that
// filtering and scoring are arithmetic over slices. Preemption, nominated pods and the dry run that explains a decision
// share one overlay of the snapshot: pods more, pods less.
//
// The scheduler knows the API only through client-go, runs under a leader lease, and imports none of server, registry,
// auth, admission, etcd, controllers and nodeagent.
package scheduler
