// Package rbac decides by roles and bindings who may do what.
//
// A Policy is told of every role and binding, and of each change to one (Policy.Change). It keeps them compiled: of a
// role, an index of its rules by resource; of bindings, what is held by each subject (a user, a group, a service account
// under its user name) in each namespace, by role. A decision looks up the user and each of its groups, once for what is
// held everywhere and once for what is held in the namespace, and asks each role found there: its cost depends on the roles
// that the user has, not on the number of bindings in the cluster.
//
// Readers take no lock. What is held by a subject in a namespace, and the index of a role, are values that are replaced and
// never changed; a change replaces those that it concerns. A mutex orders the writers.
//
// Rules only ever allow. A binding whose role does not exist allows nothing, and the reason of a refusal names the role.
//
// The package knows nothing of requests, storage or time: roles and bindings go in, decisions and their reasons come out.
// Why gives the reasons at length, for people: which binding and rule allow something, or how near the user is to it.
package rbac
