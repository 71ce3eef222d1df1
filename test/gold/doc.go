// Package gold scores a Kubernetes API server against recorded answers of kube-apiserver 1.36.3.
//
// The folder recorded holds requests and the answers that the reference gave, normalized, a file for each kind or topic
// in a folder for each suite. A file's requests are replayed in their order, in a namespace of the file's own; the
// answers are normalized in the same way (names, times, UIDs, revisions, allocated addresses and ports are masked) and
// compared at three levels: 1, status code and reason; 2, also content type, headers and body; 3, also managedFields.
//
// Command replay, below, scores any server, and shows single cases. The test starts bin/knarr as the reference was
// started (static tokens, Node and RBAC, NodeRestriction, service range 10.0.0.0/16, no controllers), replays
// everything, and fails when a suite scores less than scores.txt says.
package gold
