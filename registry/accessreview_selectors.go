package registry

import (
	"errors"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// takeSelectors adds a review's selectors. What of them cannot be understood is left out, which asks for more than
// was meant, and told.
func (a *Attributes) takeSelectors(r *authorizationv1.ResourceAttributes) (problems []string) {
	told := func(what string, kept int, err error) {
		switch {
		case err != nil && kept > 0:
			problems = append(problems, "spec.resourceAttributes."+what+" partially ignored due to parse error")
		case err != nil:
			problems = append(problems, "spec.resourceAttributes."+what+" ignored due to parse error")
		}
	}
	if s := r.FieldSelector; s != nil {
		var err error
		a.Fields, err = reviewedFields(s)
		told("fieldSelector", len(a.Fields), err)
	}
	if s := r.LabelSelector; s != nil {
		var err error
		a.Labels, err = reviewedLabels(s)
		told("labelSelector", len(a.Labels), err)
	}
	return problems
}

// reviewedFields is a review's field selector as a request would have it.
func reviewedFields(s *authorizationv1.FieldSelectorAttributes) (fields.Requirements, error) {
	if s.RawSelector != "" {
		return ParseFieldRequirements(s.RawSelector)
	}
	var terms fields.Requirements
	var errs []error
	for _, r := range s.Requirements {
		switch {
		case r.Operator == metav1.FieldSelectorOpIn && len(r.Values) == 1:
			terms = append(terms, fields.Requirement{Field: r.Key, Operator: selection.Equals, Value: r.Values[0]})
		case r.Operator == metav1.FieldSelectorOpNotIn && len(r.Values) == 1:
			terms = append(terms, fields.Requirement{Field: r.Key, Operator: selection.NotEquals, Value: r.Values[0]})
		default:
			errs = append(errs, fmt.Errorf("unsupported field requirement: %s", r.Operator))
		}
	}
	return terms, errors.Join(errs...)
}

// reviewedLabels is a review's label selector as a request would have it.
func reviewedLabels(s *authorizationv1.LabelSelectorAttributes) (labels.Requirements, error) {
	if s.RawSelector != "" {
		return ParseLabelRequirements(s.RawSelector)
	}
	var terms labels.Requirements
	var errs []error
	for _, r := range s.Requirements {
		one, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{r}})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		requirements, _ := one.Requirements()
		terms = append(terms, requirements...)
	}
	return terms, errors.Join(errs...)
}

// ParseFieldRequirements reads a field selector in the text form of a request; no requirements if it selects all.
func ParseFieldRequirements(text string) (fields.Requirements, error) {
	if text == "" {
		return nil, nil
	}
	selector, err := fields.ParseSelector(text)
	if err != nil {
		return nil, err
	}
	return selector.Requirements(), nil
}

// ParseLabelRequirements is ParseFieldRequirements for labels.
func ParseLabelRequirements(text string) (labels.Requirements, error) {
	if text == "" {
		return nil, nil
	}
	selector, err := labels.Parse(text)
	if err != nil {
		return nil, err
	}
	requirements, _ := selector.Requirements()
	return requirements, nil
}
