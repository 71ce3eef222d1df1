// Package controllers is the loops that make the world match what the API says it should be.
//
// One runtime owns informers, keys, queue, back-off, metrics, and the protection from stale caches: a key is not
// reconciled until the cache has seen the last revision that was written for it. A controller is one file: a comment on
// what it promises and its subtle case, a row in the table (name, what it watches, its reconcile function, workers), a
// reconcile that reads, plans, applies and writes status, and a pure plan from what was observed, and now, to actions.
//
// Controllers know the API only through client-go, as a separate process would. They run under a leader lease, each
// term with new informers, and import none of server, registry, auth, admission, etcd, scheduler and nodeagent.
package controllers
