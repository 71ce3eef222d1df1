package registry

import (
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Volumes whose files the API server's objects fill: Secrets, ConfigMaps, fields of the pod; and the paths of files.

// validateFileMode accepts no mode at all.
func validateFileMode(mode *int32, path *field.Path) field.ErrorList {
	if mode != nil && (*mode < 0 || *mode > 0777) {
		return field.ErrorList{field.Invalid(path, *mode, "must be a number between 0 and 0777 (octal), both inclusive")}
	}
	return nil
}

func validateSecretVolume(s *corev1.SecretVolumeSource, path *field.Path) field.ErrorList {
	errs := validateRequired(s.SecretName, path.Child("secretName"))
	errs = append(errs, validateFileMode(s.DefaultMode, path.Child("defaultMode"))...)
	return append(errs, validateKeyFiles(s.Items, path.Child("items"))...)
}

func validateConfigMapVolume(c *corev1.ConfigMapVolumeSource, path *field.Path) field.ErrorList {
	errs := validateRequired(c.Name, path.Child("name"))
	errs = append(errs, validateFileMode(c.DefaultMode, path.Child("defaultMode"))...)
	return append(errs, validateKeyFiles(c.Items, path.Child("items"))...)
}

// validateKeyFiles is about the files that keys of a Secret or ConfigMap become.
func validateKeyFiles(items []corev1.KeyToPath, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, item := range items {
		at := path.Index(i)
		errs = append(errs, validateRequired(item.Key, at.Child("key"))...)
		errs = append(errs, validateRequired(item.Path, at.Child("path"))...)
		errs = append(errs, validateLocalPath(item.Path, at.Child("path"))...)
		errs = append(errs, validateFileMode(item.Mode, at.Child("mode"))...)
	}
	return errs
}

func validateDownwardAPIVolume(d *corev1.DownwardAPIVolumeSource, path *field.Path) field.ErrorList {
	errs := validateFileMode(d.DefaultMode, path.Child("defaultMode"))
	for i := range d.Items {
		errs = append(errs, validateDownwardAPIFile(&d.Items[i], path)...)
	}
	return errs
}

// validateDownwardAPIFile reports its errors at the volume's path: the file's index has never been part of it.
func validateDownwardAPIFile(f *corev1.DownwardAPIVolumeFile, path *field.Path) field.ErrorList {
	errs := validateRequired(f.Path, path.Child("path"))
	errs = append(errs, validateLocalPath(f.Path, path.Child("path"))...)
	switch {
	case f.FieldRef != nil:
		errs = append(errs, validateFieldRef(f.FieldRef, volumeFields(), path.Child("fieldRef"))...)
		if f.ResourceFieldRef != nil {
			errs = append(errs, field.Invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
		}
	case f.ResourceFieldRef != nil:
		errs = append(errs, validateResourceFieldRef(f.ResourceFieldRef, true, path.Child("resourceFieldRef"))...)
	default:
		errs = append(errs, field.Required(path, "one of fieldRef and resourceFieldRef is required"))
	}
	return append(errs, validateFileMode(f.Mode, path.Child("mode"))...)
}

// validateDescendingPath wants a path that stays below where it starts.
func validateDescendingPath(p string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if path.IsAbs(p) {
		errs = append(errs, field.Invalid(at, p, "must be a relative path"))
	}
	return append(errs, validateNoBacksteps(p, at)...)
}

func validateNoBacksteps(p string, at *field.Path) field.ErrorList {
	for element := range strings.SplitSeq(p, "/") {
		if element == ".." {
			return field.ErrorList{field.Invalid(at, p, "must not contain '..'")}
		}
	}
	return nil
}

// validateLocalPath wants a descending path of a file in a volume. Names that begin with two dots are taken: a volume
// is updated by exchanging a link of such a name.
func validateLocalPath(p string, at *field.Path) field.ErrorList {
	errs := validateDescendingPath(p, at)
	if strings.HasPrefix(p, "..") && !strings.HasPrefix(p, "../") {
		errs = append(errs, field.Invalid(at, p, "must not start with '..'"))
	}
	return errs
}

func validateProjectedVolume(p *corev1.ProjectedVolumeSource, path *field.Path, opts podOptions) field.ErrorList {
	errs := validateFileMode(p.DefaultMode, path.Child("defaultMode"))
	files := projectedFiles{volume: path, seen: sets.New[string]()}
	for i := range p.Sources {
		s, at := &p.Sources[i], path.Child("sources").Index(i)
		errs = append(errs, files.validate(s, at, opts)...)
	}
	return errs
}

// projectedFiles are the files of a projected volume, in which no two sources may write the same one.
type projectedFiles struct {
	volume *field.Path
	seen   sets.Set[string]
}

// claim takes the file for a source; blame is what the error about a file that is taken already quotes.
func (f projectedFiles) claim(file, blame string) field.ErrorList {
	if f.seen.Has(file) {
		return field.ErrorList{field.Invalid(f.volume, blame, "conflicting duplicate paths")}
	}
	f.seen.Insert(file)
	return nil
}

// validate is about one source; an empty one does no harm.
func (f projectedFiles) validate(s *corev1.VolumeProjection, path *field.Path, opts podOptions) field.ErrorList {
	var errs field.ErrorList
	kinds := 0
	if s.Secret != nil {
		kinds++
		errs = append(errs, f.keys(s.Secret.Name, s.Secret.Items, path.Child("secret"))...)
	}
	if s.ConfigMap != nil {
		kinds++
		errs = append(errs, f.keys(s.ConfigMap.Name, s.ConfigMap.Items, path.Child("configMap"))...)
	}
	if s.DownwardAPI != nil {
		kinds++
		errs = append(errs, f.fields(s.DownwardAPI.Items, path.Child("downwardAPI"))...)
	}
	if s.ServiceAccountToken != nil {
		kinds++
		errs = append(errs, f.token(s.ServiceAccountToken, path.Child("serviceAccountToken"), opts)...)
	}
	if s.ClusterTrustBundle != nil {
		kinds++
		errs = append(errs, f.trustBundle(s.ClusterTrustBundle, path.Child("clusterTrustBundle"))...)
	}
	if s.PodCertificate != nil {
		kinds++
		errs = append(errs, f.certificate(s.PodCertificate, path.Child("podCertificate"))...)
	}
	if kinds > 1 {
		errs = append(errs, field.Forbidden(path, "may not specify more than 1 volume type per source"))
	}
	return errs
}

func (f projectedFiles) keys(name string, items []corev1.KeyToPath, path *field.Path) field.ErrorList {
	errs := append(validateRequired(name, path.Child("name")), validateKeyFiles(items, path.Child("items"))...)
	for _, item := range items {
		if item.Path != "" {
			errs = append(errs, f.claim(item.Path, name)...)
		}
	}
	return errs
}

func (f projectedFiles) fields(items []corev1.DownwardAPIVolumeFile, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range items {
		errs = append(errs, validateDownwardAPIFile(&items[i], path)...)
		if items[i].Path != "" {
			errs = append(errs, f.claim(items[i].Path, items[i].Path)...)
		}
	}
	return errs
}

// token reports a bad path at the volume; files that tokens share have never been refused.
func (f projectedFiles) token(t *corev1.ServiceAccountTokenProjection, path *field.Path, opts podOptions) field.ErrorList {
	var errs field.ErrorList
	seconds := int64(0)
	if t.ExpirationSeconds != nil {
		seconds = *t.ExpirationSeconds
	}
	if seconds < 10*60 {
		errs = append(errs, field.Invalid(path.Child("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes"))
	}
	if seconds > 1<<32 {
		errs = append(errs, field.Invalid(path.Child("expirationSeconds"), seconds, "may not specify a duration larger than 2^32 seconds"))
	}
	if t.Path == "" {
		return append(errs, field.Required(f.volume.Child("path"), ""))
	}
	if !opts.tokenPaths {
		errs = append(errs, validateLocalPath(t.Path, f.volume.Child("path"))...)
	}
	return errs
}
