package server

import (
	"compress/gzip"
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kube-openapi/pkg/validation/spec"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// clientTypes reads objects as typed values by client-go's schemas. There, a number or string holds nothing else; the
// server's own schemas let anything be there, as one piece, and leave the complaint to the conversion that follows.
func clientTypes() managedfields.TypeConverter {
	types := applyconfigurations.NewTypeConverter(scheme.Scheme)
	probe := &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}}
	empty, err := types.ObjectToTyped(probe)
	if err != nil {
		return types
	}
	parser := &typed.Parser{Schema: smdschema.Schema{Types: slices.Clone(empty.Schema().Types)}}
	named := func(name string) int {
		return slices.IndexFunc(parser.Schema.Types, func(t smdschema.TypeDef) bool { return t.Name == name })
	}
	narrow, anything := named("io.k8s.apimachinery.pkg.util.intstr.IntOrString"), named("__untyped_atomic_")
	if narrow < 0 || anything < 0 {
		return types
	}
	parser.Schema.Types[narrow].Atom = parser.Schema.Types[anything].Atom
	return managedfields.NewSchemeTypeConverter(scheme.Scheme, parser)
}

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
