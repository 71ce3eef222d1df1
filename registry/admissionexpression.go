package registry

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	celgo "github.com/google/cel-go/cel"
)

// The CEL expressions of webhooks and policies are compiled when they are written, so that a bad one is refused.
// Compilers are made on first use: their environments take tens of milliseconds and megabytes that a server without
// expressions never pays.

// expressionCompilers makes the compiler of expressions without variables once.
type expressionCompilers struct {
	once  sync.Once
	plain plugincel.Compiler
}

func (c *expressionCompilers) stateless() plugincel.Compiler {
	c.once.Do(func() { c.plain = plugincel.NewCompiler(baseEnvironment()) })
	return c.plain
}

func baseEnvironment() *environment.EnvSet {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
}

// expressionRules say what the expressions of one object may use.
type expressionRules struct {
	params bool // the variable params exists
	// kept are the expressions of the old object by the place they stand in: they may use what the environment for
	// new expressions does not offer any more, or not yet.
	kept map[expressionPlace]sets.Set[string]
}

// expressionPlace is a field that holds expressions.
type expressionPlace int

const (
	inMatchCondition expressionPlace = iota
	inValidation
	inMessage
	inAuditAnnotation
	inApplyConfiguration
)

func (r *expressionRules) keep(place expressionPlace, expression string) {
	if r.kept == nil {
		r.kept = map[expressionPlace]sets.Set[string]{}
	}
	if r.kept[place] == nil {
		r.kept[place] = sets.New[string]()
	}
	r.kept[place].Insert(expression)
}

func (r *expressionRules) keepConditions(conditions []admissionv1.MatchCondition) {
	for _, c := range conditions {
		r.keep(inMatchCondition, c.Expression)
	}
}

func (r expressionRules) environment(place expressionPlace, expression string) environment.Type {
	if r.kept[place].Has(expression) {
		return environment.StoredExpressions
	}
	return environment.NewExpressions
}

// expression is CEL text with the types that it may result in. It satisfies plugincel.NamedExpressionAccessor.
type expression struct {
	name, text string
	types      []*celgo.Type
}

func (e expression) GetName() string            { return e.name }
func (e expression) GetExpression() string      { return e.text }
func (e expression) ReturnTypes() []*celgo.Type { return e.types }

func boolExpression(text string) expression {
	return expression{text: text, types: []*celgo.Type{celgo.BoolType}}
}

// expressionError is a compiler's finding as a field's.
func expressionError(at *field.Path, text string, err *cel.Error) field.ErrorList {
	switch {
	case err == nil:
		return nil
	case err.Type == cel.ErrorTypeRequired:
		return field.ErrorList{field.Required(at, err.Detail)}
	case err.Type == cel.ErrorTypeInvalid:
		return field.ErrorList{field.Invalid(at, text, err.Detail)}
	}
	return field.ErrorList{field.InternalError(at, err)}
}

func validateMatchConditions(w *Write, conditions []admissionv1.MatchCondition, rules expressionRules, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if n := len(conditions); n > 64 {
		errs = append(errs, field.TooMany(at, n, 64))
	}
	names := sets.New[string]()
	for i, c := range conditions {
		at := at.Index(i)
		if text := strings.TrimSpace(c.Expression); text == "" {
			errs = append(errs, field.Required(at.Child("expression"), ""))
		} else {
			result := w.Registry.expressions.stateless().CompileCELExpression(boolExpression(text),
				plugincel.OptionalVariableDeclarations{HasParams: rules.params, HasAuthorizer: true}, rules.environment(inMatchCondition, text))
			errs = append(errs, expressionError(at.Child("expression"), text, result.Error)...)
		}
		if c.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
			continue
		}
		errs = append(errs, validateQualifiedName(c.Name, at.Child("name"))...)
		if names.Has(c.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		}
		names.Insert(c.Name)
	}
	return errs
}

// equalConditions tells whether match conditions are untouched.
func equalConditions(a, b []admissionv1.MatchCondition) bool { return slices.Equal(a, b) }

// validateVariables compiles variables in order: each may use those before it, and what is compiled later all.
func validateVariables(compiler plugincel.Compiler, variables []admissionv1.Variable, rules expressionRules, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, v := range variables {
		at := at.Index(i)
		switch {
		case strings.TrimSpace(v.Name) == "":
			errs = append(errs, field.Required(at.Child("name"), "name is not specified"))
		case !isCELIdentifier(v.Name):
			errs = append(errs, field.Invalid(at.Child("name"), v.Name, "must be a valid CEL identifier"))
		}
		if strings.TrimSpace(v.Expression) == "" {
			errs = append(errs, field.Required(at.Child("expression"), "expression is not specified"))
			continue
		}
		composed, ok := compiler.(*plugincel.CompositedCompiler)
		if !ok {
			errs = append(errs, field.InternalError(at, fmt.Errorf("variable composition is not allowed")))
			continue
		}
		result := composed.CompileAndStoreVariable(
			expression{name: v.Name, text: v.Expression, types: []*celgo.Type{celgo.AnyType, celgo.DynType}},
			plugincel.OptionalVariableDeclarations{HasParams: rules.params, HasAuthorizer: true}, rules.environment(inValidation, v.Expression))
		errs = append(errs, expressionError(at.Child("expression"), v.Expression, result.Error)...)
	}
	return errs
}

// composingCompiler knows variables; each policy has one of its own.
func composingCompiler() plugincel.Compiler {
	compiler, err := plugincel.NewCompositedCompiler(baseEnvironment())
	if err != nil { // the base environment always takes the type of variables
		return plugincel.NewCompiler(baseEnvironment())
	}
	return compiler
}

// isCELIdentifier wants what CEL's grammar calls an identifier, save its reserved words.
func isCELIdentifier(name string) bool {
	reserved := []string{"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if",
		"import", "let", "loop", "package", "namespace", "return", "var", "void", "while"}
	ok, _ := regexp.MatchString("^[_a-zA-Z][_a-zA-Z0-9]*$", name)
	return ok && !slices.Contains(reserved, name)
}
