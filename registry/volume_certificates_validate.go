package registry

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Sources of projected volumes that are off in this release: trust bundles and pod certificates. New objects lose
// them; objects of a cluster that had them on keep them, under these rules.

func (f projectedFiles) trustBundle(b *corev1.ClusterTrustBundleProjection, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case b.Name != nil && b.SignerName != nil:
		errs = append(errs, field.Invalid(path, b, "only one of name and signerName may be used"))
	case b.Name != nil:
		if *b.Name == "" {
			errs = append(errs, field.Required(path.Child("name"), "must be a valid object name"))
		}
		for _, complaint := range trustBundleNameComplaints(*b.Name) {
			errs = append(errs, field.Invalid(path.Child("name"), *b.Name, "not a valid clustertrustbundlename: "+complaint))
		}
		if b.LabelSelector != nil {
			errs = append(errs, field.Invalid(path.Child("labelSelector"), b.LabelSelector, "labelSelector must be unset if name is specified"))
		}
	case b.SignerName != nil:
		if *b.SignerName == "" {
			errs = append(errs, field.Required(path.Child("signerName"), "must be a valid signer name"))
		}
		errs = append(errs, validateSignerName(*b.SignerName, path.Child("signerName"))...)
		errs = append(errs, metavalidation.ValidateLabelSelector(b.LabelSelector, metavalidation.LabelSelectorValidationOptions{}, path.Child("labelSelector"))...)
	default:
		errs = append(errs, field.Required(path, "either name or signerName must be specified"))
	}
	errs = append(errs, validateRequired(b.Path, path.Child("path"))...)
	errs = append(errs, validateLocalPath(b.Path, path.Child("path"))...)
	return append(errs, f.claim(b.Path, b.Path)...)
}

// trustBundleNameComplaints is about the name of a ClusterTrustBundle: that of a bundle with a signer begins with the
// signer's, its slash replaced, and a colon.
func trustBundleNameComplaints(name string) []string {
	colon := strings.LastIndex(name, ":")
	switch {
	case colon == 0:
		return []string{"ClusterTrustBundle without signer name must not have \":\" in its name"}
	case colon > 0 && strings.Contains(name[:colon], "/"):
		return []string{fmt.Sprintf("ClusterTrustBundle for signerName %s must be named with prefix %s",
			strings.ReplaceAll(name[:colon], ":", "/"), strings.ReplaceAll(name[:colon], "/", ":")+":")}
	}
	return apivalidation.NameIsDNSSubdomain(name[colon+1:], false)
}

func (f projectedFiles) certificate(c *corev1.PodCertificateProjection, path *field.Path) field.ErrorList {
	errs := validateSignerName(c.SignerName, path.Child("signerName"))
	if c.UserAnnotations != nil {
		errs = append(errs, validateUserAnnotations(c.UserAnnotations, path.Child("userAnnotations"))...)
	}
	errs = append(errs, validateChoice(c.KeyType, path.Child("keyType"), "RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")...)
	if c.MaxExpirationSeconds != nil {
		errs = append(errs, validateCertificateLife(*c.MaxExpirationSeconds, c.SignerName, path.Child("maxExpirationSeconds"))...)
	}
	files := 0
	for _, file := range []struct{ name, path string }{
		{"credentialBundlePath", c.CredentialBundlePath}, {"keyPath", c.KeyPath}, {"certificateChainPath", c.CertificateChainPath},
	} {
		if file.path != "" {
			files++
			errs = append(errs, validateLocalPath(file.path, path.Child(file.name))...)
			errs = append(errs, f.claim(file.path, file.path)...)
		}
	}
	if files == 0 {
		errs = append(errs, field.Required(path, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"))
	}
	return errs
}

// validateCertificateLife bounds a pod certificate to between an hour and 91 days, a day for Kubernetes' own signers.
func validateCertificateLife(seconds int32, signer string, path *field.Path) field.ErrorList {
	const hour = 3600
	longest := int32(91 * 24 * hour)
	host, _, _ := strings.Cut(signer, "/")
	if host == "kubernetes.io" || strings.HasSuffix(host, ".kubernetes.io") {
		longest = 24 * hour
	}
	switch {
	case seconds < hour:
		return field.ErrorList{field.Invalid(path, seconds, "if provided, maxExpirationSeconds must be >= 3600")}
	case seconds > longest:
		return field.ErrorList{field.Invalid(path, seconds, fmt.Sprintf("if provided, maxExpirationSeconds must be <= %d", longest))}
	}
	return nil
}

func validateUserAnnotations(annotations map[string]string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, key := range sortedKeys(annotations) {
		errs = append(errs, validation.IsDomainPrefixedKey(path, strings.ToLower(key))...)
	}
	if apivalidation.ValidateAnnotationsSize(annotations) != nil {
		errs = append(errs, field.TooLong(path, "", apivalidation.TotalAnnotationSizeLimitB))
	}
	return errs
}

// validateSignerName wants domain/path: a domain of two labels or more, and a path that could be a namespace and a
// name joined by a dot.
func validateSignerName(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	domain, resource, found := strings.Cut(name, "/")
	if !found || strings.Contains(resource, "/") {
		return field.ErrorList{field.Invalid(path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")}
	}
	var errs field.ErrorList
	if len(domain) > validation.DNS1123SubdomainMaxLength {
		errs = append(errs, field.TooLong(path, "", validation.DNS1123SubdomainMaxLength))
	}
	errs = append(errs, validateSignerSegment(domain, validation.IsDNS1123Label, path)...)
	if !strings.Contains(domain, ".") {
		errs = append(errs, field.Invalid(path, domain, "should be a domain with at least two segments separated by dots"))
	}
	errs = append(errs, validateSignerSegment(resource, validation.IsDNS1123Subdomain, path)...)
	const longest = 2*validation.DNS1123SubdomainMaxLength + validation.DNS1123LabelMaxLength + 2
	if len(name) > longest {
		errs = append(errs, field.TooLong(path, "", longest))
	}
	return errs
}

// validateSignerSegment reports the first bad label only: further complaints could not be told apart.
func validateSignerSegment(segment string, check func(string) []string, path *field.Path) field.ErrorList {
	for label := range strings.SplitSeq(segment, ".") {
		if complaints := check(label); len(complaints) > 0 {
			var errs field.ErrorList
			for _, complaint := range complaints {
				errs = append(errs, field.Invalid(path, segment, fmt.Sprintf("validating label %q: %s", label, complaint)))
			}
			return errs
		}
	}
	return nil
}
