package registry

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateEnv is about the environment of a container. A name is made of any printable characters but "=".
func validateEnv(vars []corev1.EnvVar, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range vars {
		v, at := &vars[i], path.Index(i)
		if v.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, invalidValue(at.Child("name"), v.Name, validation.IsRelaxedEnvVarName(v.Name))...)
		}
		if v.ValueFrom != nil {
			errs = append(errs, validateEnvSource(v.ValueFrom, v.Value, at.Child("valueFrom"))...)
		}
	}
	return errs
}

// validateEnvSource wants one source, and no value beside it.
func validateEnvSource(s *corev1.EnvVarSource, value string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	sources := 0
	if s.FieldRef != nil {
		sources++
		errs = append(errs, validateFieldRef(s.FieldRef, envFields(), path.Child("fieldRef"))...)
	}
	if s.ResourceFieldRef != nil {
		sources++
		errs = append(errs, validateResourceFieldRef(s.ResourceFieldRef, false, path.Child("resourceFieldRef"))...)
	}
	if r := s.ConfigMapKeyRef; r != nil {
		sources++
		errs = append(errs, validateKeyRef(r.Name, r.Key, path.Child("configMapKeyRef"))...)
	}
	if r := s.SecretKeyRef; r != nil {
		sources++
		errs = append(errs, validateKeyRef(r.Name, r.Key, path.Child("secretKeyRef"))...)
	}
	if s.FileKeyRef != nil {
		sources++
		errs = append(errs, validateFileKeyRef(s.FileKeyRef, path.Child("fileKeyRef"))...)
	}
	switch {
	case sources == 0:
		errs = append(errs, field.Invalid(path, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"))
	case value != "":
		errs = append(errs, field.Invalid(path, "", "may not be specified when `value` is not empty"))
	case sources > 1:
		errs = append(errs, field.Invalid(path, "", "may not have more than one field specified at a time"))
	}
	return errs
}

// validateEnvFrom is about ConfigMaps and Secrets that a container takes whole.
func validateEnvFrom(sources []corev1.EnvFromSource, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, s := range sources {
		at := path.Index(i)
		if s.Prefix != "" {
			errs = append(errs, invalidValue(at.Child("prefix"), s.Prefix, validation.IsRelaxedEnvVarName(s.Prefix))...)
		}
		if s.ConfigMapRef != nil {
			errs = append(errs, validateEnvFromName(s.ConfigMapRef.Name, at.Child("configMapRef", "name"))...)
		}
		if s.SecretRef != nil {
			errs = append(errs, validateEnvFromName(s.SecretRef.Name, at.Child("secretRef", "name"))...)
		}
		switch {
		case s.ConfigMapRef == nil && s.SecretRef == nil:
			errs = append(errs, field.Invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
		case s.ConfigMapRef != nil && s.SecretRef != nil:
			errs = append(errs, field.Invalid(path, "", "may not have more than one field specified at a time"))
		}
	}
	return errs
}

// validateEnvFromName accepts, for the sake of objects that have it, a name that ends in a dash.
func validateEnvFromName(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return invalidValue(path, name, apivalidation.NameIsDNSSubdomain(name, true))
}

func validateKeyRef(name, key string, path *field.Path) field.ErrorList {
	errs := validateDNSSubdomain(name, path.Child("name"))
	if key == "" {
		return append(errs, field.Required(path.Child("key"), ""))
	}
	return append(errs, invalidValue(path.Child("key"), key, validation.IsConfigMapKey(key))...)
}

// validateFileKeyRef is about a variable that a file in a volume names, which an init container has written.
func validateFileKeyRef(r *corev1.FileKeySelector, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if r.Key == "" {
		errs = append(errs, field.Required(path.Child("key"), ""))
	} else {
		errs = append(errs, invalidValue(path.Child("key"), r.Key, validation.IsRelaxedEnvVarName(r.Key))...)
	}
	errs = append(errs, validateRequiredLabel(r.VolumeName, path.Child("volumeName"))...)
	if r.Path == "" {
		return append(errs, field.Required(path.Child("path"), ""))
	}
	return append(errs, validateNoBacksteps(r.Path, path.Child("path"))...)
}

// validateEnvFiles wants the volumes of file references to exist in the pod and to be directories of its own. Of
// volumes that share a name, an error by itself, the last one counts.
func validateEnvFiles(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	directories := make(map[string]bool, len(spec.Volumes))
	for i := range spec.Volumes {
		directories[spec.Volumes[i].Name] = spec.Volumes[i].EmptyDir != nil
	}
	var errs field.ErrorList
	for at, c := range eachContainerAt(spec, path) {
		for i, v := range c.Env {
			if v.ValueFrom == nil || v.ValueFrom.FileKeyRef == nil {
				continue
			}
			name, at := v.ValueFrom.FileKeyRef.VolumeName, at.Child("env").Index(i).Child("valueFrom", "fileKeyRef", "volumeName")
			switch directory, found := directories[name]; {
			case !found:
				errs = append(errs, field.NotFound(at, name))
			case !directory:
				errs = append(errs, field.Invalid(at, name, "referenced volume must be of type emptyDir"))
			}
		}
	}
	return errs
}

// envFields are the fields of a pod that a variable may hold, sorted.
func envFields() []string {
	return []string{"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}
}

// volumeFields are the fields of a pod that a file may hold, sorted.
func volumeFields() []string {
	return []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
}

// validateFieldRef is about a reference to a field of the pod: to one of the named fields, or to one label or
// annotation.
func validateFieldRef(r *corev1.ObjectFieldSelector, fields []string, path *field.Path) field.ErrorList {
	at := path.Child("fieldPath")
	switch {
	case r.APIVersion == "":
		return field.ErrorList{field.Required(path.Child("apiVersion"), "")}
	case r.FieldPath == "":
		return field.ErrorList{field.Required(at, "")}
	case r.APIVersion != "v1":
		return field.ErrorList{field.Invalid(at, r.FieldPath, "error converting fieldPath: unsupported pod version: "+r.APIVersion)}
	}
	if name, key, ok := subscript(r.FieldPath); ok {
		switch name {
		case "metadata.annotations":
			return validateQualifiedName(strings.ToLower(key), path)
		case "metadata.labels":
			return validateQualifiedName(key, path)
		}
		return field.ErrorList{field.Invalid(at, r.FieldPath, "error converting fieldPath: field label does not support subscript: "+r.FieldPath)}
	}
	name := currentFieldName(r.FieldPath)
	switch {
	case slices.Contains(fields, name):
		return nil
	case slices.Contains(envFields(), name), slices.Contains(volumeFields(), name), slices.Contains(otherPodFields(), name):
		return field.ErrorList{field.NotSupported(at, name, fields)}
	}
	return field.ErrorList{field.Invalid(at, r.FieldPath, "error converting fieldPath: field label not supported: "+r.FieldPath)}
}

// otherPodFields are known as selectable fields, but are not to be had inside the pod.
func otherPodFields() []string {
	return []string{"spec.restartPolicy", "spec.schedulerName", "status.phase"}
}

// currentFieldName is the name today of a field that clients of before v1 call otherwise.
func currentFieldName(name string) string {
	if name == "spec.host" {
		return "spec.nodeName"
	}
	return name
}

// subscript takes "metadata.labels['a']" apart; ok is false where there is no subscript.
func subscript(path string) (name, key string, ok bool) {
	inner, ok := strings.CutSuffix(path, "']")
	if !ok {
		return "", "", false
	}
	name, key, ok = strings.Cut(inner, "['")
	return name, key, ok && name != ""
}

// validateResourceFieldRef is about a reference to a request or limit; in a volume it has to name the container.
func validateResourceFieldRef(r *corev1.ResourceFieldSelector, inVolume bool, path *field.Path) field.ErrorList {
	known := []string{"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"}
	var errs field.ErrorList
	switch {
	case inVolume && r.ContainerName == "":
		errs = append(errs, field.Required(path.Child("containerName"), ""))
	case r.Resource == "":
		errs = append(errs, field.Required(path.Child("resource"), ""))
	case !slices.Contains(known, r.Resource) && !refersToHugePages(r.Resource):
		errs = append(errs, field.NotSupported(path.Child("resource"), r.Resource, known))
	}
	return append(errs, validateDivisor(r, path.Child("divisor"))...)
}

func refersToHugePages(resource string) bool {
	return strings.HasPrefix(resource, "requests.hugepages-") || strings.HasPrefix(resource, "limits.hugepages-")
}

// validateDivisor is about the unit in which an amount is to be shown; 0 is the default.
func validateDivisor(r *corev1.ResourceFieldSelector, path *field.Path) field.ErrorList {
	units := []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}
	list, noun := strings.Join(units, ", "), ""
	switch {
	case r.Divisor.IsZero():
		return nil
	case r.Resource == "limits.cpu", r.Resource == "requests.cpu":
		units, list, noun = []string{"1m", "1"}, "1m and 1", "cpu"
	case r.Resource == "limits.memory", r.Resource == "requests.memory":
		noun = "memory"
	case r.Resource == "limits.ephemeral-storage", r.Resource == "requests.ephemeral-storage":
		noun = "local ephemeral storage"
	case refersToHugePages(r.Resource):
		noun = "hugepages"
	default:
		return nil
	}
	if slices.Contains(units, r.Divisor.String()) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, r.Resource, fmt.Sprintf("only divisor's values %s are supported with the %s resource", list, noun))}
}
