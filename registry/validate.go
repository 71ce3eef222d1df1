package registry

import (
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The rules that many kinds share. A validator returns what is wrong with a value, nil if nothing is, so that the
// validator of a whole is the concatenation of those of its parts. The order of errors carries no meaning.

// invalidValue makes an error of each of the complaints about a value.
func invalidValue(path *field.Path, value any, complaints []string) field.ErrorList {
	var errs field.ErrorList
	for _, complaint := range complaints {
		errs = append(errs, field.Invalid(path, value, complaint))
	}
	return errs
}

// validateRequired wants a string that is not empty.
func validateRequired(value string, path *field.Path) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return nil
}

// validateChoice wants one of the choices. They are listed in the message in the order given.
func validateChoice[T ~string](value T, path *field.Path, choices ...T) field.ErrorList {
	if slices.Contains(choices, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, value, choices)}
}

// validateRequiredChoice wants one of the choices, and calls an empty value missing.
func validateRequiredChoice[T ~string](value T, path *field.Path, choices ...T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return validateChoice(value, path, choices...)
}

// validateOptionalChoice wants nothing or one of the choices.
func validateOptionalChoice[T ~string](value *T, path *field.Path, choices ...T) field.ErrorList {
	if value == nil {
		return nil
	}
	return validateChoice(*value, path, choices...)
}

func validateDNSLabel(value string, path *field.Path) field.ErrorList {
	return invalidValue(path, value, validation.IsDNS1123Label(value))
}

func validateDNSSubdomain(value string, path *field.Path) field.ErrorList {
	return invalidValue(path, value, validation.IsDNS1123Subdomain(value))
}

// validateRequiredLabel wants a DNS label, and calls an empty value missing.
func validateRequiredLabel(value string, path *field.Path) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return validateDNSLabel(value, path)
}

func validateQualifiedName(value string, path *field.Path) field.ErrorList {
	return invalidValue(path, value, validation.IsQualifiedName(value))
}

func validateNonnegative(value int64, path *field.Path) field.ErrorList {
	return apivalidation.ValidateNonnegativeField(value, path)
}

func validatePositive(value int64, path *field.Path) field.ErrorList {
	if value <= 0 {
		return field.ErrorList{field.Invalid(path, value, "must be greater than zero")}
	}
	return nil
}

func validateNonnegativeQuantity(q resource.Quantity, path *field.Path) field.ErrorList {
	if q.Sign() < 0 {
		return field.ErrorList{field.Invalid(path, q.String(), apivalidation.IsNegativeErrorMsg)}
	}
	return nil
}

func validatePositiveQuantity(q resource.Quantity, path *field.Path) field.ErrorList {
	if q.Sign() <= 0 {
		return field.ErrorList{field.Invalid(path, q.String(), "must be greater than zero")}
	}
	return nil
}

// unionMember is one of the fields of a union, of which exactly one is to be set.
type unionMember struct {
	name  string                 // of the field, where a second member is reported
	check func() field.ErrorList // nil if the field is not set
	// tolerated members may be set beside another. One field of PersistentVolume is (see validatePVSource).
	tolerated bool
}

// member is a union's field that is set when it is not nil; its own errors are reported below path.name.
func member[T any](path *field.Path, name string, value *T, check func(*T, *field.Path) field.ErrorList) unionMember {
	return memberAt(path, name, name, value, check)
}

// memberAt is a member whose own errors are reported below another name than a second member is.
func memberAt[T any](path *field.Path, name, at string, value *T, check func(*T, *field.Path) field.ErrorList) unionMember {
	if value == nil {
		return unionMember{name: name}
	}
	return unionMember{name: name, check: func() field.ErrorList { return check(value, path.Child(at)) }}
}

// validateUnion wants exactly one of the members to be set. The first that is set gets validated, every further one
// is forbidden. noun says in messages what a member is ("volume type").
func validateUnion(path *field.Path, noun string, members []unionMember) field.ErrorList {
	var errs field.ErrorList
	found := false
	for _, m := range members {
		switch {
		case m.check == nil:
		case found && !m.tolerated:
			errs = append(errs, field.Forbidden(path.Child(m.name), "may not specify more than 1 "+noun))
		default:
			found = true
			errs = append(errs, m.check()...)
		}
	}
	if !found {
		errs = append(errs, field.Required(path, "must specify a "+noun))
	}
	return errs
}

// validateUnset forbids all fields of a struct to be set but those whose Go names are given, so that fields of later
// releases are forbidden until somebody thinks of them. The error's path is the Go name with its first letter small.
func validateUnset(object any, path *field.Path, why string, allowed ...string) field.ErrorList {
	var errs field.ErrorList
	v := reflect.ValueOf(object)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if !v.Field(i).IsZero() && !slices.Contains(allowed, name) {
			errs = append(errs, field.Forbidden(path.Child(strings.ToLower(name[:1])+name[1:]), why))
		}
	}
	return errs
}

// quotedTemplate is a template as errors quote it: the members of its metadata stand beside its spec.
type quotedTemplate struct {
	metav1.ObjectMeta `json:",inline"`
	Spec              any `json:"spec"`
}
