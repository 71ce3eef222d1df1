package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	apiextensionsvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// customResourceDefinition adds a kind to the API. It is the one kind that is not only served as v1 and kept as that,
// but stored in the form of a version that is not served any more, v1beta1, and judged in an internal one: the rules for
// schemas are those of apiextensions-apiserver.
func customResourceDefinition() *Resource {
	return Kind[*apiextensionsv1.CustomResourceDefinition]{
		Resource: Resource{
			Group: apiextensionsv1.GroupName, Plural: "customresourcedefinitions", Singular: "customresourcedefinition", Kind: "CustomResourceDefinition",
			ShortNames: []string{"crd", "crds"}, Categories: []string{"api-extensions"},
			Prefix: apiextensionsv1.GroupName + "/customresourcedefinitions", Versions: []Version{{Name: "v1"}},
			StoredVersion: "v1beta1", StoredJSON: true, Stored: storedDefinition, Older: readDefinition,
			RequireRevision: true, MarkFirst: true, UpdateMeta: NoRules, PlainFinalizers: true, Reset: []string{"status"},
		},
		Default:  defaultDefinition,
		Prepare:  prepareDefinition,
		Validate: validateDefinition,
		Warn:     warnDefinition,
		// A definition goes after its objects: the first deletion only marks it.
		Holds:        func(c *apiextensionsv1.CustomResourceDefinition) bool { return c.DeletionTimestamp == nil },
		MarkDeleting: markDefinitionDeleting,
		Status: &Door[*apiextensionsv1.CustomResourceDefinition]{
			Reset: []string{"spec"}, UpdateMeta: NoRules,
			Prepare: func(_ *Write, c, old *apiextensionsv1.CustomResourceDefinition) { c.Spec = old.Spec },
			Validate: func(_ *Write, c, old *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
				return apiextensionsvalidation.ValidateUpdateCustomResourceDefinitionStatus(internalDefinition(c), internalDefinition(old))
			},
		},
	}.row()
}

func defaultDefinition(c *apiextensionsv1.CustomResourceDefinition) {
	names := &c.Spec.Names
	fill(&names.Singular, strings.ToLower(names.Kind))
	if names.Kind != "" {
		fill(&names.ListKind, names.Kind+"List")
	}
	fillPointer(&c.Spec.Conversion, apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter})
	if w := c.Spec.Conversion.Webhook; w != nil && w.ClientConfig != nil && w.ClientConfig.Service != nil {
		fillPointer(&w.ClientConfig.Service.Port, 443)
	}
	if len(c.Status.StoredVersions) == 0 {
		rememberStorageVersion(c)
	}
}

// rememberStorageVersion adds the version that objects are stored in from now on to those they may be stored in.
func rememberStorageVersion(c *apiextensionsv1.CustomResourceDefinition) {
	for _, v := range c.Spec.Versions {
		if v.Storage {
			if !slices.Contains(c.Status.StoredVersions, v.Name) {
				c.Status.StoredVersions = append(slices.Clip(c.Status.StoredVersions), v.Name)
			}
			return
		}
	}
}

func prepareDefinition(_ *Write, c, old *apiextensionsv1.CustomResourceDefinition) {
	c.Status = apiextensionsv1.CustomResourceDefinitionStatus{}
	if old != nil {
		c.Status = old.Status
	}
	bumpGeneration(c, old, old != nil && !equal(c.Spec, old.Spec))
	rememberStorageVersion(c)
	if old == nil || !tracksGeneration(&old.Status) {
		c.Status.ObservedGeneration = 0
		for i := range c.Status.Conditions {
			c.Status.Conditions[i].ObservedGeneration = 0
		}
	}
}

// tracksGeneration tells whether the status names generations, which 1.36 does not by itself.
func tracksGeneration(s *apiextensionsv1.CustomResourceDefinitionStatus) bool {
	return s.ObservedGeneration != 0 || slices.ContainsFunc(s.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.ObservedGeneration != 0
	})
}

func validateDefinition(_ *Write, c, old *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
	if old == nil {
		return apiextensionsvalidation.ValidateCustomResourceDefinition(context.Background(), internalDefinition(c))
	}
	return apiextensionsvalidation.ValidateCustomResourceDefinitionUpdate(context.Background(), internalDefinition(c), internalDefinition(old))
}

// warnDefinition warns of formats that nobody checks, if they are new.
func warnDefinition(_ *Write, c, old *apiextensionsv1.CustomResourceDefinition) []string {
	var before []string
	if old != nil {
		before = unknownFormats(internalDefinition(old))
	}
	var warnings []string
	for _, format := range unknownFormats(internalDefinition(c)) {
		if !slices.Contains(before, format) {
			warnings = append(warnings, fmt.Sprintf("unrecognized format %q", format))
		}
	}
	return warnings
}

func unknownFormats(c *apiextensions.CustomResourceDefinition) []string {
	var unknown []string
	visit := func(v *apiextensions.CustomResourceValidation) {
		if v == nil || v.OpenAPIV3Schema == nil {
			return
		}
		apiextensionsvalidation.SchemaHas(v.OpenAPIV3Schema, func(s *apiextensions.JSONSchemaProps) bool {
			if s.Format != "" {
				one := &spec.Schema{SchemaProps: spec.SchemaProps{Format: s.Format, Type: []string{s.Type}}}
				unknown = append(unknown, schemavalidation.GetUnrecognizedFormats(one, environment.DefaultCompatibilityVersion())...)
			}
			return false // go on
		})
	}
	visit(c.Spec.Validation)
	for _, v := range c.Spec.Versions {
		visit(v.Schema)
	}
	return unknown
}

func markDefinitionDeleting(c *apiextensionsv1.CustomResourceDefinition) {
	// What becomes of dependents is not asked for: they are the definition's objects, and go first.
	c.Finalizers = slices.DeleteFunc(c.Finalizers, func(f string) bool {
		return f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents
	})
	if !slices.Contains(c.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer) {
		c.Finalizers = append(c.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer)
	}
	terminating := apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionTrue, LastTransitionTime: metav1.Now(),
		Reason: "InstanceDeletionPending", Message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
	}
	for i := range c.Status.Conditions {
		if have := &c.Status.Conditions[i]; have.Type == terminating.Type {
			if have.Status == terminating.Status {
				terminating.LastTransitionTime = have.LastTransitionTime
			}
			*have = terminating
			return
		}
	}
	c.Status.Conditions = append(c.Status.Conditions, terminating)
}

// internalDefinition is the form that the rules are written for. Their conversions cannot fail for what was decoded.
func internalDefinition(c *apiextensionsv1.CustomResourceDefinition) *apiextensions.CustomResourceDefinition {
	out := &apiextensions.CustomResourceDefinition{}
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(c.DeepCopy(), out, nil); err != nil {
		panic(fmt.Sprintf("CustomResourceDefinition %q: %v", c.Name, err))
	}
	return out
}

// storedDefinition is a definition as v1beta1.
func storedDefinition(o Object) Object {
	out := &apiextensionsv1beta1.CustomResourceDefinition{}
	in := internalDefinition(o.(*apiextensionsv1.CustomResourceDefinition))
	if err := apiextensionsv1beta1.Convert_apiextensions_CustomResourceDefinition_To_v1beta1_CustomResourceDefinition(in, out, nil); err != nil {
		panic(fmt.Sprintf("CustomResourceDefinition %q: %v", in.Name, err))
	}
	return out
}

// readDefinition makes v1 of what is stored, whichever version that is.
func readDefinition(kind schema.GroupVersionKind, raw []byte) (Object, error) {
	out := &apiextensionsv1.CustomResourceDefinition{}
	if kind.Version == "v1" {
		err := json.Unmarshal(raw, out)
		return out, err
	}
	stored, in := &apiextensionsv1beta1.CustomResourceDefinition{}, &apiextensions.CustomResourceDefinition{}
	if err := json.Unmarshal(raw, stored); err != nil {
		return nil, err
	}
	apiextensionsv1beta1.SetObjectDefaults_CustomResourceDefinition(stored)
	if err := apiextensionsv1beta1.Convert_v1beta1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(stored, in, nil); err != nil {
		return nil, err
	}
	if err := apiextensionsv1.Convert_apiextensions_CustomResourceDefinition_To_v1_CustomResourceDefinition(in, out, nil); err != nil {
		return nil, err
	}
	out.SetGroupVersionKind(schema.GroupVersionKind{Group: kind.Group, Version: "v1", Kind: kind.Kind})
	return out, nil
}
