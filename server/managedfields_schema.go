package server

import (
	"compress/gzip"
	"encoding/json"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// documentTypes reads objects as typed values by the schemas of a group's OpenAPI document: for the few kinds that
// client-go has no apply configuration for (CustomResourceDefinition, APIService, reviews). nil if there is no document.
func documentTypes(gv schema.GroupVersion) managedfields.TypeConverter {
	path := "apis/" + gv.String()
	if gv.Group == "" {
		path = "api/" + gv.Version
	}
	content, err := embeddedDocument("v3/"+path, "").open(".json.gz")
	if err != nil {
		return nil
	}
	z, err := gzip.NewReader(content)
	if err != nil {
		return nil
	}
	var doc struct {
		Components struct {
			Schemas map[string]*spec.Schema `json:"schemas"`
		} `json:"components"`
	}
	if err := json.NewDecoder(z).Decode(&doc); err != nil {
		return nil
	}
	types, err := managedfields.NewTypeConverter(doc.Components.Schemas, false)
	if err != nil {
		return nil
	}
	return types
}
