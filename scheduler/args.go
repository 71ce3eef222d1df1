package scheduler

import (
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"
	sigsjson "sigs.k8s.io/json"
)

// Args are the arguments of a plugin.
type Args interface {
	// Default fills in what is not said.
	Default()
	// Validate says what is wrong with them, at their place in the configuration.
	Validate(at *field.Path) field.ErrorList
}

// removedPlugins are names that were of plugins once.
func removedPlugins() map[string]bool {
	return map[string]bool{"AzureDiskLimits": true, "CinderLimits": true, "EBSLimits": true, "GCEPDLimits": true}
}

// readArgs reads the arguments of all plugins that take some. Those of plugins that there are not are of no interest to
// anybody, as upstream has it.
func readArgs(rows []Row, said []configv1.PluginConfig, at *field.Path) (map[string]Args, field.ErrorList) {
	args := map[string]Args{}
	for _, row := range rows {
		if row.Args != nil {
			args[row.Name] = row.Args()
		}
	}
	var errs field.ErrorList
	seen := map[string]bool{}
	for i := range said {
		at, name := at.Index(i), said[i].Name
		if seen[name] {
			errs = append(errs, field.Duplicate(at, name))
			continue
		}
		seen[name] = true
		if removedPlugins()[name] {
			errs = append(errs, field.Invalid(at, name, fmt.Sprintf("was invalid in version %q (KubeSchedulerConfiguration is version %q)", ConfigurationVersion, ConfigurationVersion)))
		}
		if a := args[name]; a != nil && len(said[i].Args.Raw) > 0 {
			errs = append(errs, decodeArgs(name, said[i].Args.Raw, a, at.Child("args"))...)
		}
	}
	if len(errs) > 0 {
		return nil, errs
	}
	for i := range said {
		if a := args[said[i].Name]; a != nil {
			a.Default()
			errs = append(errs, a.Validate(at.Index(i).Child("args"))...)
		}
	}
	for _, a := range args {
		a.Default()
	}
	return args, errs
}

// decodeArgs reads arguments strictly. They need not say what they are, but nothing else.
func decodeArgs(name string, raw []byte, into Args, at *field.Path) (errs field.ErrorList) {
	var head metav1.TypeMeta
	if err := json.Unmarshal(raw, &head); err == nil && (head.Kind != "" && head.Kind != name+"Args" || head.APIVersion != "" && head.APIVersion != ConfigurationVersion) {
		return field.ErrorList{field.Invalid(at.Child("kind"), head.Kind, fmt.Sprintf("args for plugin %s were not of type %sArgs.%s", name, name, configv1.GroupName))}
	}
	strict, err := sigsjson.UnmarshalStrict(raw, into)
	if err != nil {
		return field.ErrorList{field.Invalid(at, field.OmitValueType{}, fmt.Sprintf("decoding args for plugin %s: %v", name, err))}
	}
	for _, e := range strict {
		child := at
		if f, ok := e.(sigsjson.FieldError); ok {
			for step := range strings.FieldsFuncSeq(f.FieldPath(), func(r rune) bool { return r == '.' }) {
				child = child.Child(step)
			}
		}
		errs = append(errs, field.Invalid(child, field.OmitValueType{}, fmt.Sprintf("decoding args for plugin %s: strict decoding error: %v", name, e)))
	}
	return errs
}
