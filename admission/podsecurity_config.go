package admission

import (
	"slices"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/pod-security-admission/api"

	"github.com/knarr-dev/knarr/auth"
)

// podSecurityFile is the PodSecurityConfiguration of pod-security.admission.config.k8s.io: what holds in namespaces without
// labels, and for whom nothing holds.
type podSecurityFile struct {
	metav1.TypeMeta `json:",inline"`
	Defaults        podSecurityDefaults   `json:"defaults"`
	Exemptions      podSecurityExemptions `json:"exemptions"`
}

type podSecurityDefaults struct {
	Enforce        string `json:"enforce"`
	EnforceVersion string `json:"enforce-version"`
	Audit          string `json:"audit"`
	AuditVersion   string `json:"audit-version"`
	Warn           string `json:"warn"`
	WarnVersion    string `json:"warn-version"`
}

type podSecurityExemptions struct {
	Usernames      []string `json:"usernames"`
	Namespaces     []string `json:"namespaces"`
	RuntimeClasses []string `json:"runtimeClasses"`
}

func podSecurityConfig() auth.ConfigKind[podSecurityFile] {
	const group = "pod-security.admission.config.k8s.io/"
	return auth.ConfigKind[podSecurityFile]{Kind: "PodSecurityConfiguration", Versions: []string{group + "v1", group + "v1beta1", group + "v1alpha1"},
		Default: func(f *podSecurityFile) {
			for _, m := range f.Defaults.modes() {
				if *m.level == "" {
					*m.level = string(api.LevelPrivileged)
				}
				if *m.version == "" {
					*m.version = api.VersionLatest
				}
			}
		},
		Validate: validatePodSecurity,
	}
}

// defaultMode is one mode of the defaults, by its name.
type defaultMode struct {
	name           string
	level, version *string
}

func (d *podSecurityDefaults) modes() []defaultMode {
	return []defaultMode{{"enforce", &d.Enforce, &d.EnforceVersion}, {"warn", &d.Warn, &d.WarnVersion}, {"audit", &d.Audit, &d.AuditVersion}}
}

func validatePodSecurity(f *podSecurityFile) (errs field.ErrorList) {
	defaults, exemptions := field.NewPath("defaults"), field.NewPath("exemptions")
	for _, m := range f.Defaults.modes() {
		if _, err := api.ParseLevel(*m.level); err != nil {
			errs = append(errs, field.Invalid(defaults.Child(m.name), *m.level, err.Error()))
		}
		if _, err := api.ParseVersion(*m.version); err != nil {
			errs = append(errs, field.Invalid(defaults.Child(m.name+"-version"), *m.version, err.Error()))
		}
	}
	errs = append(errs, validateExempt(exemptions.Child("namespaces"), f.Exemptions.Namespaces, apivalidation.ValidateNamespaceName)...)
	errs = append(errs, validateExempt(exemptions.Child("runtimeClasses"), f.Exemptions.RuntimeClasses, apivalidation.NameIsDNSSubdomain)...)
	return append(errs, validateExempt(exemptions.Child("usernames"), f.Exemptions.Usernames, func(name string, _ bool) []string {
		if name == "" {
			return []string{"username must not be empty"}
		}
		return nil
	})...)
}

func validateExempt(at *field.Path, names []string, check apivalidation.ValidateNameFunc) (errs field.ErrorList) {
	for i, name := range names {
		if faults := check(name, false); len(faults) > 0 {
			errs = append(errs, field.Invalid(at.Index(i), name, strings.Join(faults, ", ")))
		} else if slices.Contains(names[:i], name) {
			errs = append(errs, field.Duplicate(at.Index(i), name))
		}
	}
	return errs
}

// defaultPolicy is what holds in a namespace without labels.
func defaultPolicy(f *podSecurityFile) (api.Policy, error) {
	policy, errs := api.PolicyToEvaluate(map[string]string{
		api.EnforceLevelLabel: f.Defaults.Enforce, api.EnforceVersionLabel: f.Defaults.EnforceVersion,
		api.AuditLevelLabel: f.Defaults.Audit, api.AuditVersionLabel: f.Defaults.AuditVersion,
		api.WarnLevelLabel: f.Defaults.Warn, api.WarnVersionLabel: f.Defaults.WarnVersion,
	}, api.Policy{})
	return policy, errs.ToAggregate()
}
