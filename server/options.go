package server

import (
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	listvalidation "k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"k8s.io/apimachinery/pkg/conversion"
)

// readOptions fills a request's options from the query with one of apimachinery's conversions. A value that cannot be
// read is a bad request.
func readOptions[O any](query url.Values, convert func(*url.Values, *O, conversion.Scope) error) (*O, error) {
	o := new(O)
	if len(query) == 0 {
		return o, nil
	}
	if err := convert(&query, o, nil); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return o, nil
}

// invalidOptions is the 422 of options that contradict each other or the API; nil if errs is empty.
func invalidOptions(kind string, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: kind}, "", errs)
}

func createOptions(query url.Values) (*metav1.CreateOptions, error) {
	o, err := readOptions(query, metav1.Convert_url_Values_To_v1_CreateOptions)
	if err != nil {
		return nil, err
	}
	return o, invalidOptions("CreateOptions", metavalidation.ValidateCreateOptions(o))
}

func updateOptions(query url.Values) (*metav1.UpdateOptions, error) {
	o, err := readOptions(query, metav1.Convert_url_Values_To_v1_UpdateOptions)
	if err != nil {
		return nil, err
	}
	return o, invalidOptions("UpdateOptions", metavalidation.ValidateUpdateOptions(o))
}

// selection is a request's selectors, parsed.
type selection struct {
	labels labels.Selector
	fields fields.Selector
}

// listOptions reads and checks the options of a list, watch or deletecollection.
func listOptions(query url.Values) (*metav1.ListOptions, *selection, error) {
	o, err := readOptions(query, metav1.Convert_url_Values_To_v1_ListOptions)
	if err != nil {
		return nil, nil, err
	}
	var in internalversion.ListOptions
	if err := internalversion.Convert_v1_ListOptions_To_internalversion_ListOptions(o, &in, nil); err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	return o, &selection{labels: in.LabelSelector, fields: in.FieldSelector}, checkListOptions(&in)
}

// checkListOptions refuses options that contradict each other. A watch without a resourceVersion, or from 0, that says
// nothing of initial events is one that wants them: the rules for that apply.
func checkListOptions(in *internalversion.ListOptions) error {
	return invalidOptions("ListOptions", listvalidation.ValidateListOptions(in, true))
}
