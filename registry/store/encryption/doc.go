// Package encryption keeps what is stored from whoever can read etcd, or a backup of it, but not the keys.
//
// An EncryptionConfiguration (apiserver.config.k8s.io/v1) gives resources a list of providers: keys that it holds itself
// (aescbc, aesgcm, secretbox), a service that holds them (kms), or none (identity). What is written is sealed by the
// first provider; what is read is opened by whichever has sealed it, which a prefix of the value tells:
//
//	k8s:enc:aescbc:v1:KEYNAME:...        k8s:enc:secretbox:v1:KEYNAME:...
//	k8s:enc:aesgcm:v1:KEYNAME:...        k8s:enc:kms:v2:PROVIDERNAME:...
//
// Prefixes and what follows are upstream's, byte by byte: an etcd may change hands between knarr and kube-apiserver. A
// value that another than the first provider has sealed is stale: the next update of the object writes it anew, even one
// that changes nothing else. So keys are rotated: add the new one behind, then put it first, then update all objects,
// then remove the old one.
//
// Keys is one configuration. It never changes; a new file makes new Keys, and Resource, which a store holds, asks for
// the present ones at each value. The etcd key under which a value stands is part of what is sealed where the algorithm
// has room for that (aesgcm, kms), so that a value cannot be moved to another object's place.
//
// The ciphers are upstream's leaf packages. What is here is the choice between them, the rules of the configuration, and
// the life of a KMS plugin: its health, and the seed that it seals (kms.go).
package encryption
