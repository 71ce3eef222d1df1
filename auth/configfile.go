package auth

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
	sigsjson "sigs.k8s.io/json"
)

// ConfigKind is a kind of configuration file: what its apiVersion and kind may say, and what it means. T is the Go type
// in which all of the versions are read, whose fields they share.
type ConfigKind[T any] struct {
	Kind     string                   // "AuthenticationConfiguration"
	Versions []string                 // "apiserver.config.k8s.io/v1", best first
	Default  func(*T)                 // fills in what is not said; may be nil
	Validate func(*T) field.ErrorList // says what is wrong beyond the form; may be nil
}

// Read reads a file of YAML or JSON. Unknown and repeated fields are errors. An error begins with the file and, where
// it is known, the line; all that is wrong is named at once.
func (k ConfigKind[T]) Read(path string) (*T, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return k.Parse(path, data)
}

// Parse is Read of a file's content. It has the form that OpenFile wants.
func (k ConfigKind[T]) Parse(path string, data []byte) (*T, error) {
	d, err := parseDocument(data)
	if err != nil {
		return nil, errors.New(path + ":" + strings.TrimPrefix(strings.TrimPrefix(err.Error(), "yaml: "), "line "))
	}
	if err := k.checkVersion(d); err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	config := new(T)
	if err := d.decode(config); err != nil {
		return nil, located(path, d, err)
	}
	if k.Default != nil {
		k.Default(config)
	}
	if k.Validate != nil {
		if errs := k.Validate(config); len(errs) > 0 {
			return nil, located(path, d, errs.ToAggregate().Errors()...)
		}
	}
	return config, nil
}

// checkVersion tells a file of another kind, or of a release that knows more, from one with a misspelled field.
func (k ConfigKind[T]) checkVersion(d *document) error {
	kind, version := d.text("kind"), d.text("apiVersion")
	switch {
	case kind != k.Kind:
		return fmt.Errorf("%d: kind is %q: this file has to hold a %s", d.line("kind"), kind, k.Kind)
	case !slices.Contains(k.Versions, version):
		return fmt.Errorf("%d: apiVersion is %q: use %s for kind %s", d.line("apiVersion"), version, strings.Join(k.Versions, " or "), k.Kind)
	}
	return nil
}

// located puts file and line before each of several complaints, in the file's order.
func located(path string, d *document, errs ...error) error {
	type complaint struct {
		line int
		text string
	}
	var all []complaint
	for _, err := range flatten(errs) {
		all = append(all, complaint{d.lineOf(err), err.Error()})
	}
	slices.SortStableFunc(all, func(a, b complaint) int { return cmp.Compare(a.line, b.line) })
	lines := make([]error, len(all))
	for i, c := range all {
		lines[i] = fmt.Errorf("%s:%d: %s", path, c.line, c.text)
	}
	return errors.Join(lines...)
}

// flatten takes joined errors apart.
func flatten(errs []error) (flat []error) {
	for _, err := range errs {
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			flat = append(flat, flatten(joined.Unwrap())...)
			continue
		}
		flat = append(flat, err)
	}
	return flat
}

// lineOf is where in the document the fault is, as far as the error tells.
func (d *document) lineOf(err error) int {
	var mistyped *json.UnmarshalTypeError
	var invalid *field.Error
	var strict sigsjson.FieldError
	switch {
	case errors.As(err, &mistyped):
		return d.lineAt(int(mistyped.Offset))
	case errors.As(err, &invalid):
		return d.line(invalid.Field)
	case errors.As(err, &strict):
		return d.line(strict.FieldPath())
	}
	if syntax, offset := sigsjson.SyntaxErrorOffset(err); syntax {
		return d.lineAt(int(offset))
	}
	return 1
}

// decode reads the document into a value, strictly.
func (d *document) decode(into any) error {
	strict, err := sigsjson.UnmarshalStrict(d.json, into)
	return errors.Join(err, errors.Join(strict...))
}
