package registry

import (
	"context"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/knarr-dev/knarr/registry/store"
)

// A policy's expressions see its parameters: other objects, which whoever writes the policy must be allowed to read,
// else policies would be a way around authorization. Nothing is asked while the object is wrong otherwise (errs).

// authorizeParamKind wants permission to read all objects of a policy's parameter kind, if it is new.
func authorizeParamKind(w *Write, kind, before *admissionv1.ParamKind, errs field.ErrorList) field.ErrorList {
	if len(errs) > 0 || kind == nil || equality.Semantic.DeepEqual(kind, before) || w.mayEverything() {
		return nil
	}
	a := w.paramAttributes("get", kind)
	a.Name, a.Namespace = anyOf, anyOf
	decision, _, err := w.Registry.Authorizer.Authorize(context.Background(), &a)
	if err == nil && decision != Allow {
		err = fmt.Errorf(`user %v must have "get" permission on all objects of the referenced paramKind (kind=%s, apiVersion=%s)`, &w.User, kind.Kind, kind.APIVersion)
	}
	if err != nil {
		return field.ErrorList{field.Forbidden(field.NewPath("spec", "paramKind"), err.Error())}
	}
	return nil
}

// authorizeParamRef wants permission to read the parameters that a binding names, if they or the policy are new.
func authorizeParamRef(w *Write, b, before policyBinding, errs field.ErrorList) field.ErrorList {
	same := b.policy == before.policy && equality.Semantic.DeepEqual(b.params, before.params)
	if len(errs) > 0 || b.params == nil || same || w.mayEverything() {
		return nil
	}
	verb := "get"
	if b.params.Name == "" {
		verb = "list"
	}
	kind, kindErr := w.policyParamKind(b)
	a := w.paramAttributes(verb, kind)
	a.Name, a.Namespace = b.params.Name, b.params.Namespace
	decision, _, err := w.Registry.Authorizer.Authorize(context.Background(), &a)
	switch {
	case err != nil:
	case decision == Allow:
		return nil
	case kindErr != nil:
		err = fmt.Errorf(`unable to get policy %s to determine minimum required permissions and user %v does not have "%v" permission for all groups, versions and resources`, b.policy, &w.User, verb)
	case kind != nil && a.Resource == anyOf:
		err = fmt.Errorf(`unable to resolve paramKind %v to determine minimum required permissions and user %v does not have "%v" permission for all groups, versions and resources`, kind, &w.User, verb)
	default:
		err = fmt.Errorf(`user %v does not have "%v" permission on the object referenced by paramRef`, &w.User, verb)
	}
	return field.ErrorList{field.Forbidden(field.NewPath("spec", "paramRef"), err.Error())}
}

// mayEverything is true for those who may do everything anyway, and for the server itself.
func (w *Write) mayEverything() bool {
	return w.Registry.Authorizer == nil || slices.Contains(w.User.Groups, "system:masters")
}

// paramAttributes asks for the resource of a kind; for everything if there is no kind or nobody knows it.
func (w *Write) paramAttributes(verb string, kind *admissionv1.ParamKind) Attributes {
	a := Attributes{User: w.User, Verb: verb, ResourceRequest: true, Group: anyOf, Version: anyOf, Resource: anyOf}
	if kind == nil {
		return a
	}
	gv, err := schema.ParseGroupVersion(kind.APIVersion)
	if err != nil {
		return a
	}
	a.Group, a.Version = gv.Group, gv.Version
	for _, row := range w.Registry.Rows() {
		if row.Group == gv.Group && row.Kind == kind.Kind && slices.ContainsFunc(row.Versions, func(v Version) bool { return v.Name == gv.Version }) {
			a.Resource = row.Plural
		}
	}
	return a
}

// policyParamKind is the parameter kind of the policy that a binding names.
func (w *Write) policyParamKind(b policyBinding) (*admissionv1.ParamKind, error) {
	entry, err := w.Registry.Store(admissionv1.GroupName, b.policies).Get(context.Background(), store.Key{Name: b.policy}, "")
	if err != nil {
		return nil, err
	}
	obj, err := entry.Object()
	if err != nil {
		return nil, err
	}
	switch p := obj.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		return p.Spec.ParamKind, nil
	case *admissionv1.MutatingAdmissionPolicy:
		return p.Spec.ParamKind, nil
	}
	return nil, fmt.Errorf("%T is no policy", obj)
}
