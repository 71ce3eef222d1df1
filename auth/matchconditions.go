package auth

import (
	"context"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apiserver/pkg/apis/apiserver"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authorization/cel"
)

// matchConditions say in CEL which requests a webhook is asked about: those for which all are true.
type matchConditions struct{ matcher *cel.CELMatcher }

// compileConditions makes ready what has been found valid. The CEL environment, which costs some megabytes, is there only
// while there are conditions to compile.
func compileConditions(conditions []apiserverv1.WebhookMatchCondition) (*matchConditions, error) {
	if len(conditions) == 0 {
		return &matchConditions{}, nil
	}
	var expressions []apiserver.WebhookMatchCondition
	for _, c := range conditions {
		expressions = append(expressions, apiserver.WebhookMatchCondition(c))
	}
	matcher, errs := validation.ValidateAndCompileMatchConditions(cel.NewDefaultCompiler(), expressions)
	return &matchConditions{matcher}, errs.ToAggregate()
}

// match reports whether all are true. One that is false counts more than those that cannot be evaluated.
func (m *matchConditions) match(ctx context.Context, spec *authorizationv1.SubjectAccessReviewSpec) (bool, error) {
	if m.matcher == nil {
		return true, nil
	}
	return m.matcher.Eval(ctx, &authorizationv1.SubjectAccessReview{Spec: *spec})
}

// lateCompiler makes the environment when the first expression comes.
type lateCompiler struct{ made cel.Compiler }

func (l *lateCompiler) CompileCELExpression(e cel.ExpressionAccessor) (cel.CompilationResult, error) {
	if l.made == nil {
		l.made = cel.NewDefaultCompiler()
	}
	return l.made.CompileCELExpression(e)
}
