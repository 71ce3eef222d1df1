// Package audit records who asked what of the API, and what came of it (audit.k8s.io/v1).
//
//	request --- Log.Begin: which rule of the policy fits? none, or level None: nothing is recorded
//	               |
//	             Record: what becomes known of the request on its way (user, object, answer, annotations)
//	               |      at each stage the record is told as an event
//	               v
//	            backends: the log file, the webhook; each in its mode
//	               |
//	      blocking | batch: a bounded buffer that its owner empties
//	               v
//	             sink
//
// A server without a policy has no Log, and pays nothing. An event is encoded once, by the goroutine of its request, for
// all backends; what waits in a buffer is bytes that nobody changes.
//
// An event never keeps a request from being served, save in the mode blocking-strict, which is for those who would rather
// refuse a request than serve it unrecorded. A full buffer gives up its oldest event. What is lost is counted in
// apiserver_audit_error_total, and said once in the server's log. Log.Close sends what waits.
//
// The package knows nothing of how requests are served: package server tells it what it finds out, at the places named
// in server/audit.go.
package audit
