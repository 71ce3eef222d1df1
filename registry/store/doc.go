// Package store keeps the objects of all resources in etcd and answers reads from memory.
//
// A DB is one etcd below one root. It follows everything that happens there with a single etcd watch, the stream, and
// hands each event to the Store of its resource. A Store is a collection (pods) and its watch cache: a persistent
// B+tree of entries, which is the present, and a ring of events, which is the near past.
//
//	            Create, Update                        Get, List              Watch
//	                  |                                   |                    |
//	             one transaction                          |                    |
//	                  v                                   v                    v
//	etcd --- stream --- apply (the only writer) ---> tree of entries ---> ring of events
//
// An Entry is one revision of one object: the bytes that clients are served, the few attributes that selections look
// at, and whatever the server has made of them since (memos). Entries, tree nodes and events are immutable once they
// are published, so readers take no locks: a LIST is a walk over a root that nobody changes any more.
//
// Freshness. The stream delivers revisions in order, so one number tells how far all caches are: DB.applied. A read
// that has to be consistent asks etcd for its revision and waits until the stream has passed it. What a read with
// some resourceVersion waits for, and where it is answered from, is one table (rules.go).
//
// Invariants:
//   - Only the stream changes trees and adds to rings, in etcd's order. Writers leave hints that save it the decoding.
//   - A revision is applied to every cache before DB.applied reaches it.
//   - Whatever is refused on the ground of a cached entry is decided again on fresh data.
//   - A watcher sees every change of what it selects, once, in order, or it is told that it fell behind (410).
//
// The package knows nothing of HTTP, of users and of what makes an object valid. Etcd's server is not imported here:
// see package embedded.
package store
