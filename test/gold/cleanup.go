package gold

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// objectList is what matters of a list.
type objectList struct {
	Items []struct {
		Metadata struct {
			Name       string   `json:"name"`
			Finalizers []string `json:"finalizers"`
		} `json:"metadata"`
	} `json:"items"`
}

// cleanup removes what the file made.
func (x *session) cleanup() {
	for _, collection := range x.file.Header.Cleanup {
		x.empty(collection)
	}
	if x.file.Header.NoNS {
		return
	}
	x.empty("/api/v1/namespaces/{ns}/serviceaccounts")
	names := []string{x.namespace}
	for _, item := range x.list("/api/v1/namespaces" + x.ownLabel()).Items {
		if item.Metadata.Name != x.namespace {
			names = append(names, item.Metadata.Name)
		}
	}
	for _, name := range names {
		x.send(message{method: "DELETE", path: "/api/v1/namespaces/" + name})
		// Without a controller manager nobody takes the finalizer "kubernetes" away.
		x.send(message{method: "PUT", path: "/api/v1/namespaces/" + name + "/finalize",
			body: fmt.Appendf(nil, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q},"spec":{"finalizers":[]}}`, name)})
	}
}

func (x *session) ownLabel() string {
	return "?labelSelector=" + url.QueryEscape("gold="+x.namespace)
}

// list is empty if the server refuses.
func (x *session) list(path string) objectList {
	var l objectList
	answer, err := x.send(message{method: "GET", path: path})
	if err == nil && answer.status == 200 {
		json.Unmarshal(answer.body, &l) // what cannot be read leaves nothing to remove
	}
	return l
}

// empty removes the file's objects of a collection: all in its namespace, and those with its label elsewhere.
func (x *session) empty(collection string) {
	path, query := x.expand(collection), x.ownLabel()
	if strings.Contains(path, "/namespaces/"+x.namespace+"/") {
		query = ""
	}
	for range 2 {
		items := x.list(path + query).Items
		if len(items) == 0 {
			return
		}
		for _, item := range items {
			object := path + "/" + url.PathEscape(item.Metadata.Name)
			x.send(message{method: "DELETE", path: object + "?gracePeriodSeconds=0&propagationPolicy=Background"})
			if len(item.Metadata.Finalizers) > 0 {
				x.send(message{method: "PATCH", path: object, headers: map[string]string{"Content-Type": "application/merge-patch+json"},
					body: []byte(`{"metadata":{"finalizers":null}}`)})
			}
		}
	}
}
