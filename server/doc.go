// Package server is an HTTP request, from the connection to a registry call and back.
//
// A request passes the pipeline (pipeline.go: one line a station, in upstream's order), is parsed once into a Request
// (request.go), looked up in the registry's table, and handed to the function of its verb: get, list, watch, create,
// update, patch, delete and deletecollection have a file each, which reads as numbered steps. Sub-resources are other
// doors to the same functions; what streams to a node is in connect.go.
//
// A verb function returns an error or has written the answer. Errors become a metav1.Status in one place (errors.go).
//
// Reads never decode: an answer is put together from the encoded bytes that the store's watch cache holds (encode.go,
// list.go, watch.go, table.go), each made at most once for a revision of an object.
package server
