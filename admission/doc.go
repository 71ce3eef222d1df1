// Package admission is what may be stored: one ordered list of plugins, walked twice for a write. Mutate lets plugins
// change the object, Validate lets them refuse what came of it; a plugin has one of the two functions or both, and a
// file of its own.
//
// Plugins read the cluster's objects through Objects, an interface that the registry's watch cache satisfies: always
// fresh, no second copy in memory. They decide on the object in the version in which it is kept. Package admission
// does not import server.
package admission
