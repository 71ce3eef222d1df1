// Package auth says who is asking, whether they may, and makes the keys by which that is known.
//
// Authentication. An Authenticator reads one kind of credential from a request: the headers of a front proxy, a password, a
// client certificate, a bearer token. They are tried in upstream's order (see Authentication.Authenticator), tokens that are
// known here before those that others are asked about. The first user found is the one; a credential that is present and
// wrong spoils the request, unless a later one is right; a request without any credential is anonymous, where that is
// allowed. A credential is removed from the request once it is understood, so that nothing behind can pass it on.
//
// Service account tokens are JWTs. Their signature is verified once and remembered; that a token is in time, and that its
// account and the object that it is bound to still live, is looked up in the watch cache for every request. So nothing has
// to be invalidated, and a token dies with what it is bound to.
//
// Impersonation says as whom a user who is known may act (see Impersonation): it asks the authorizer.
//
// Authorization. Authorizers are asked in turn until one allows or denies; if none does, the request is refused.
// The group system:masters is asked for first and may do everything. What decides follows the cluster and is never read for
// a decision: RBAC the roles and bindings (package rbac), Node what pods refer to (reach). ABAC goes by a file, webhooks by
// what a service answers, remembered for a while. Flags name who is asked, or a file that may change (Authorization).
//
// PKI. Below one directory live three authorities (the cluster's, the front proxy's, etcd's), the certificates that
// they issue and the key that signs service account tokens: all ECDSA P-256, in kubeadm's file names. Open makes what
// is missing and keeps what is there; PKI.Run renews certificates, and reads changed files again, while the server
// runs: who needs a certificate asks for it at every handshake and never keeps one. A renewal keeps the key, so that a
// crash between two files cannot leave a pair that does not match.
//
// Files. All configuration is read by one mechanism (ConfigKind: strict, with the lines of faults), and all files that may
// change while the server runs are watched by one (File, PKI.Watch): a broken one is complained of once, and what was
// there before goes on.
//
// Package auth does not import server. It answers to it, and to access reviews, through the interfaces that package
// registry declares.
package auth
