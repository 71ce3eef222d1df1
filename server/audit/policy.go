package audit

import (
	"fmt"
	"slices"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/registry"
)

// Policy says how much of a request is recorded: what the first rule says that fits it, and nothing if none does.
type Policy struct{ rules []rule }

// rule is a rule of the policy, with what it takes over from the policy as a whole.
type rule struct {
	auditv1.PolicyRule
	omitManagedFields bool
}

// ReadPolicy reads a policy file. Errors name the file and the line.
func ReadPolicy(path string) (*Policy, error) {
	kind := auth.ConfigKind[auditv1.Policy]{Kind: "Policy", Versions: []string{auditv1.SchemeGroupVersion.String()}, Validate: validatePolicy}
	p, err := kind.Read(path)
	if err != nil {
		return nil, err
	}
	return newPolicy(p), nil
}

func newPolicy(p *auditv1.Policy) *Policy {
	out := &Policy{}
	for _, r := range p.Rules {
		one := rule{r, p.OmitManagedFields}
		one.OmitStages = append(slices.Clip(p.OmitStages), r.OmitStages...)
		if r.OmitManagedFields != nil {
			one.omitManagedFields = *r.OmitManagedFields
		}
		out.rules = append(out.rules, one)
	}
	return out
}

// ruleFor is the first rule that fits, or nil.
func (p *Policy) ruleFor(a *registry.Attributes) *rule {
	for i := range p.rules {
		if p.rules[i].fits(a) {
			return &p.rules[i]
		}
	}
	return nil
}

// fits reports whether all that the rule names applies to the request. What it does not name is any.
func (r *rule) fits(a *registry.Attributes) bool {
	inGroup := func(group string) bool { return slices.Contains(r.UserGroups, group) }
	switch {
	case len(r.Users) > 0 && !slices.Contains(r.Users, a.User.Name):
		return false
	case len(r.UserGroups) > 0 && !slices.ContainsFunc(a.User.Groups, inGroup):
		return false
	case len(r.Verbs) > 0 && !slices.Contains(r.Verbs, a.Verb):
		return false
	case len(r.Namespaces) > 0 || len(r.Resources) > 0:
		return a.ResourceRequest && r.fitsResource(a)
	case len(r.NonResourceURLs) > 0:
		return !a.ResourceRequest && slices.ContainsFunc(r.NonResourceURLs, func(pattern string) bool { return fitsPath(pattern, a.Path) })
	}
	return true
}

// fitsPath compares a path with a pattern, at whose end a star stands for anything.
func fitsPath(pattern, path string) bool {
	return pattern == path || strings.HasSuffix(pattern, "*") && strings.HasPrefix(path, strings.TrimRight(pattern, "*"))
}

func (r *rule) fitsResource(a *registry.Attributes) bool {
	if len(r.Namespaces) > 0 && !slices.Contains(r.Namespaces, a.Namespace) {
		return false
	}
	return len(r.Resources) == 0 || slices.ContainsFunc(r.Resources, func(g auditv1.GroupResources) bool { return fitsGroup(&g, a) })
}

func fitsGroup(g *auditv1.GroupResources, a *registry.Attributes) bool {
	switch {
	case g.Group != "*" && g.Group != a.Group:
		return false
	case len(g.Resources) == 0:
		return true
	case len(g.ResourceNames) > 0 && !slices.Contains(g.ResourceNames, a.Name):
		return false
	}
	return slices.ContainsFunc(g.Resources, func(pattern string) bool { return fitsPlural(pattern, a) })
}

// fitsPlural compares a resource with pods, pods/log, pods/*, */scale or *. A sub-resource is no part of its resource.
func fitsPlural(pattern string, a *registry.Attributes) bool {
	plural, sub, divided := strings.Cut(pattern, "/")
	switch {
	case pattern == "*":
		return true
	case !divided:
		return pattern == a.Resource && a.Subresource == ""
	case sub == "*":
		return plural == a.Resource
	case plural == "*":
		return sub == a.Subresource && sub != ""
	}
	return plural == a.Resource && sub == a.Subresource
}

// omits reports whether a stage is passed over.
func (r *rule) omits(s auditv1.Stage) bool { return slices.Contains(r.OmitStages, s) }

// levels are in ascending order: each holds what the one before it does.
func levels() []auditv1.Level {
	return []auditv1.Level{auditv1.LevelNone, auditv1.LevelMetadata, auditv1.LevelRequest, auditv1.LevelRequestResponse}
}

func stages() []auditv1.Stage {
	return []auditv1.Stage{auditv1.StageRequestReceived, auditv1.StageResponseStarted, auditv1.StageResponseComplete, auditv1.StagePanic}
}

func validatePolicy(p *auditv1.Policy) field.ErrorList {
	errs := validateStages(p.OmitStages, field.NewPath("omitStages"))
	if len(p.Rules) == 0 {
		errs = append(errs, field.Required(field.NewPath("rules"), "a policy without rules records nothing"))
	}
	for i := range p.Rules {
		errs = append(errs, validateRule(&p.Rules[i], field.NewPath("rules").Index(i))...)
	}
	return errs
}

func validateRule(r *auditv1.PolicyRule, at *field.Path) (errs field.ErrorList) {
	switch {
	case r.Level == "":
		errs = append(errs, field.Required(at.Child("level"), ""))
	case !slices.Contains(levels(), r.Level):
		errs = append(errs, field.NotSupported(at.Child("level"), r.Level, levels()))
	}
	for i, url := range r.NonResourceURLs {
		errs = append(errs, validateURL(url, at.Child("nonResourceURLs").Index(i))...)
	}
	for _, g := range r.Resources {
		errs = append(errs, validateGroup(&g, at.Child("resources"))...)
	}
	errs = append(errs, validateStages(r.OmitStages, at.Child("omitStages"))...)
	if len(r.NonResourceURLs) > 0 && len(r.Resources)+len(r.Namespaces) > 0 {
		errs = append(errs, field.Invalid(at.Child("nonResourceURLs"), r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs"))
	}
	return errs
}

func validateURL(url string, at *field.Path) (errs field.ErrorList) {
	if url == "*" {
		return nil
	}
	if !strings.HasPrefix(url, "/") {
		errs = append(errs, field.Invalid(at, url, "non-resource URL rules must begin with a '/' character"))
	}
	if star := strings.IndexByte(url, '*'); star >= 0 && star < len(url)-1 {
		errs = append(errs, field.Invalid(at, url, "non-resource URL wildcards '*' must be the final character of the rule"))
	}
	return errs
}

func validateGroup(g *auditv1.GroupResources, at *field.Path) (errs field.ErrorList) {
	if g.Group != "" && g.Group != "*" {
		if words := apivalidation.NameIsDNSSubdomain(g.Group, false); len(words) > 0 {
			errs = append(errs, field.Invalid(at.Child("group"), g.Group, strings.Join(words, ",")))
		}
	}
	if len(g.ResourceNames) > 0 && len(g.Resources) == 0 {
		errs = append(errs, field.Invalid(at.Child("resourceNames"), g.ResourceNames, "using resourceNames requires at least one resource"))
	}
	return errs
}

func validateStages(omitted []auditv1.Stage, at *field.Path) (errs field.ErrorList) {
	for i, s := range omitted {
		if !slices.Contains(stages(), s) {
			errs = append(errs, field.Invalid(at.Index(i), string(s), fmt.Sprint("allowed stages are ", stages())))
		}
	}
	return errs
}
