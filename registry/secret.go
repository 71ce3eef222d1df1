package registry

import (
	"crypto/tls"
	"encoding/json"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// secret holds bytes for pods that not everybody shall read. Its type, which never changes, promises certain keys.
func secret() *Resource {
	return Kind[*corev1.Secret]{
		Resource: Resource{
			Plural: "secrets", Singular: "secret", Kind: "Secret",
			Namespaced: true, Prefix: "secrets", Governs: true, Versions: []Version{{Name: "v1"}},
			ValidateName: apivalidation.NameIsDNSSubdomain, UpdateMeta: UpdateAndCreateRules,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("Type", doc(corev1.Secret{}, "type")),
				textColumn("Data", doc(corev1.Secret{}, "data")),
				ageColumn(),
			},
		},
		Default:   func(s *corev1.Secret) { fill(&s.Type, corev1.SecretTypeOpaque) },
		Normalize: mergeStringData,
		Validate:  validateSecret,
		Warn:      warnSecret,
		Cells: func(s *corev1.Secret) []any {
			return []any{s.Name, string(s.Type), int64(len(s.Data)), Age{At: s.CreationTimestamp}}
		},
		Fields: []Field[*corev1.Secret]{
			{Path: "type", Value: func(s *corev1.Secret) string { return string(s.Type) }},
		},
	}.row()
}

// mergeStringData moves the text that only writers may use to where it is kept.
func mergeStringData(s *corev1.Secret) {
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = map[string][]byte{}
	}
	for key, text := range s.StringData {
		s.Data[key] = []byte(text)
	}
	s.StringData = nil
}

func validateSecret(_ *Write, s, old *corev1.Secret) field.ErrorList {
	path := field.NewPath("data")
	var errs field.ErrorList
	size := 0
	for _, key := range sortedKeys(s.Data) {
		errs = append(errs, invalidValue(path.Key(key), key, validation.IsConfigMapKey(key))...)
		size += len(s.Data[key])
	}
	if size > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(path, "", corev1.MaxSecretSize))
	}
	errs = append(errs, validateSecretType(s, path)...)
	if old != nil {
		errs = append(errs, validateSecretKept(s, old)...)
	}
	return errs
}

// validateSecretType wants the keys that the secret's type promises to its readers.
func validateSecretType(s *corev1.Secret, path *field.Path) field.ErrorList {
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			return field.ErrorList{field.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), "")}
		}
	case corev1.SecretTypeDockercfg:
		return validateSecretJSON(s, corev1.DockerConfigKey, path)
	case corev1.SecretTypeDockerConfigJson:
		return validateSecretJSON(s, corev1.DockerConfigJsonKey, path)
	case corev1.SecretTypeBasicAuth:
		_, user := s.Data[corev1.BasicAuthUsernameKey]
		_, password := s.Data[corev1.BasicAuthPasswordKey]
		if !user && !password {
			return append(requiredSecretKey(s, corev1.BasicAuthUsernameKey, path), requiredSecretKey(s, corev1.BasicAuthPasswordKey, path)...)
		}
	case corev1.SecretTypeSSHAuth:
		if len(s.Data[corev1.SSHAuthPrivateKey]) == 0 {
			return field.ErrorList{field.Required(path.Key(corev1.SSHAuthPrivateKey), "")}
		}
	case corev1.SecretTypeTLS:
		return append(requiredSecretKey(s, corev1.TLSCertKey, path), requiredSecretKey(s, corev1.TLSPrivateKeyKey, path)...)
	}
	return nil
}

func requiredSecretKey(s *corev1.Secret, key string, path *field.Path) field.ErrorList {
	if _, there := s.Data[key]; there {
		return nil
	}
	return field.ErrorList{field.Required(path.Key(key), "")}
}

// validateSecretJSON wants a JSON object under key, and does not quote it when it is something else.
func validateSecretJSON(s *corev1.Secret, key string, path *field.Path) field.ErrorList {
	if errs := requiredSecretKey(s, key, path); len(errs) > 0 {
		return errs
	}
	if err := json.Unmarshal(s.Data[key], &map[string]any{}); err != nil {
		return field.ErrorList{field.Invalid(path.Key(key), "<secret contents redacted>", err.Error())}
	}
	return nil
}

func validateSecretKept(s, old *corev1.Secret) field.ErrorList {
	const why = "field is immutable when `immutable` is set"
	errs := apivalidation.ValidateImmutableField(s.Type, old.Type, field.NewPath("type"))
	if old.Immutable == nil || !*old.Immutable {
		return errs
	}
	if s.Immutable == nil || !*s.Immutable {
		errs = append(errs, field.Forbidden(field.NewPath("immutable"), why))
	}
	if !reflect.DeepEqual(s.Data, old.Data) {
		errs = append(errs, field.Forbidden(field.NewPath("data"), why))
	}
	return errs
}

func warnSecret(_ *Write, s, _ *corev1.Secret) []string {
	if s.Type != corev1.SecretTypeTLS {
		return nil
	}
	if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return []string{err.Error()}
	}
	return nil
}
