package encryption

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
)

// Default fills in what a configuration does not say.
func Default(c *apiserverv1.EncryptionConfiguration) {
	for _, entry := range c.Resources {
		for _, p := range entry.Providers {
			if p.KMS == nil {
				continue
			}
			if p.KMS.Timeout == nil {
				p.KMS.Timeout = &metav1.Duration{Duration: 3 * time.Second}
			}
			if p.KMS.APIVersion == "" {
				p.KMS.APIVersion = "v1"
			}
		}
	}
}

// Validate says what is wrong with a configuration. No secret is ever part of an error.
func Validate(c *apiserverv1.EncryptionConfiguration) (errs field.ErrorList) {
	root := field.NewPath("resources")
	if len(c.Resources) == 0 {
		return field.ErrorList{field.Required(root, "at least one resources is required")}
	}
	var plugins []string
	var before []schema.GroupResource // of the entries so far
	for i := range c.Resources {
		entry, at := &c.Resources[i], root.Index(i)
		errs = append(errs, validateResources(entry.Resources, at.Child("resources"))...)
		errs = append(errs, validateMasking(entry.Resources, before, at.Child("resources"))...)
		for _, name := range entry.Resources {
			before = append(before, schema.ParseGroupResource(name))
		}
		if len(entry.Providers) == 0 {
			errs = append(errs, field.Required(at.Child("providers"), fmt.Sprintf("at least one %s is required", at.Child("providers"))))
		}
		for j := range entry.Providers {
			p := &entry.Providers[j]
			errs = append(errs, validateProvider(p, plugins, at.Child("providers").Index(j))...)
			if p.KMS != nil {
				plugins = append(plugins, p.KMS.Name)
			}
		}
	}
	return errs
}

func validateResources(names []string, at *field.Path) (errs field.ErrorList) {
	if len(names) == 0 {
		return field.ErrorList{field.Required(at, fmt.Sprintf("at least one %s is required", at))}
	}
	for i, name := range names {
		if word := resourceFault(name); word != "" {
			errs = append(errs, field.Invalid(at.Index(i), name, word))
		}
	}
	twice, overlap := false, false
	for i := range names {
		for j := range i {
			a, b := schema.ParseGroupResource(names[i]), schema.ParseGroupResource(names[j])
			twice = twice || a == b
			overlap = overlap || a != b && (covers(a, b) || covers(b, a))
		}
	}
	if twice {
		errs = append(errs, field.Invalid(at, names, "the same resource cannot be specified multiple times"))
	}
	if overlap {
		errs = append(errs, field.Invalid(at, names, "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"))
	}
	return errs
}

// covers reports whether the wildcard a means b as well.
func covers(a, b schema.GroupResource) bool {
	return a.Resource == anything && (a.Group == anything || a.Group == b.Group)
}

// resourceFault says what is wrong with the name of a resource.
func resourceFault(name string) string {
	gr := schema.ParseGroupResource(name)
	switch {
	case strings.ToLower(name) != name:
		return "resource name should not contain capital letters"
	case name == anything:
		return "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
	case slices.Contains([]string{"apiserveripinfo", "serviceipallocations", "servicenodeportallocations"}, name):
		return "resources which do not have REST API/s cannot be encrypted"
	case gr.Group == "events.k8s.io":
		return "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file"
	case gr.Group == "extensions":
		return "'extensions' group has been removed and cannot be used for encryption"
	case gr.Group == anything && gr.Resource != anything:
		return "encrypting the same resource across groups is not supported"
	}
	return ""
}

// validateMasking refuses a resource of which an earlier entry's wildcard has decided already.
func validateMasking(names []string, before []schema.GroupResource, at *field.Path) (errs field.ErrorList) {
	for i, name := range names {
		gr := schema.ParseGroupResource(name)
		for _, earlier := range before {
			if covers(earlier, gr) {
				errs = append(errs, field.Invalid(at.Index(i), name, fmt.Sprintf("resource %q is masked by earlier rule %q", spelled(gr), spelled(earlier))))
				break
			}
		}
	}
	return errs
}

// spelled is the name of a resource as the file writes it.
func spelled(gr schema.GroupResource) string {
	if gr.Group == "" && gr.Resource == anything {
		return "*."
	}
	return gr.String()
}

func validateProvider(p *apiserverv1.ProviderConfiguration, plugins []string, at *field.Path) field.ErrorList {
	given := 0
	for _, is := range []bool{p.KMS != nil, p.AESGCM != nil, p.AESCBC != nil, p.Secretbox != nil, p.Identity != nil} {
		if is {
			given++
		}
	}
	aesSizes, boxSizes := []int{16, 24, 32}, []int{32}
	switch {
	case given == 0:
		return field.ErrorList{field.Required(at, "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity")}
	case given > 1:
		return field.ErrorList{field.Forbidden(at, "more than one provider specified in a single element, should split into different list elements")}
	case p.KMS != nil:
		return validateKMS(p.KMS, plugins, at.Child("kms"))
	case p.AESGCM != nil:
		return validateKeys(p.AESGCM.Keys, aesSizes, at.Child("aesgcm", "keys"))
	case p.AESCBC != nil:
		return validateKeys(p.AESCBC.Keys, aesSizes, at.Child("aescbc", "keys"))
	case p.Secretbox != nil:
		return validateKeys(p.Secretbox.Keys, boxSizes, at.Child("secretbox", "keys"))
	}
	return nil
}

func validateKeys(keys []apiserverv1.Key, sizes []int, at *field.Path) (errs field.ErrorList) {
	if len(keys) == 0 {
		return field.ErrorList{field.Required(at, "at least one keys is required")}
	}
	for i, k := range keys {
		if k.Name == "" {
			errs = append(errs, field.Required(at.Index(i).Child("name"), "name is a mandatory field for a key"))
		}
		errs = append(errs, validateSecret(k.Secret, sizes, at.Index(i).Child("secret"))...)
	}
	return errs
}

func validateSecret(text string, sizes []int, at *field.Path) field.ErrorList {
	secret, err := base64.StdEncoding.DecodeString(text)
	switch {
	case text == "":
		return field.ErrorList{field.Required(at, "secret is a mandatory field for a key")}
	case err != nil:
		return field.ErrorList{field.Invalid(at, "REDACTED", "secrets must be base64 encoded")}
	case !slices.Contains(sizes, len(secret)):
		return field.ErrorList{field.Invalid(at, "REDACTED", fmt.Sprintf("secret is not of the expected length, got %d, expected one of %v", len(secret), sizes))}
	}
	return nil
}

func validateKMS(c *apiserverv1.KMSConfiguration, plugins []string, at *field.Path) (errs field.ErrorList) {
	switch c.APIVersion {
	case "v2":
	case "v1":
		errs = append(errs, field.Invalid(at.Child("apiVersion"), c.APIVersion, "KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead."))
	default:
		errs = append(errs, field.Invalid(at.Child("apiVersion"), c.APIVersion, fmt.Sprintf("unsupported apiVersion %s for KMS provider, only v1 and v2 are supported", c.APIVersion)))
	}
	switch {
	case c.Name == "":
		errs = append(errs, field.Required(at.Child("name"), "name is a mandatory field for a provider"))
	case strings.Contains(c.Name, ":"):
		errs = append(errs, field.Invalid(at.Child("name"), c.Name, fmt.Sprintf("invalid KMS provider name %s, must not contain ':'", c.Name)))
	case slices.Contains(plugins, c.Name):
		errs = append(errs, field.Invalid(at.Child("name"), c.Name, fmt.Sprintf("duplicate KMS provider name %s, names must be unique", c.Name)))
	}
	if c.Timeout.Duration <= 0 {
		errs = append(errs, field.Invalid(at.Child("timeout"), c.Timeout.Duration.String(), "timeout should be a positive value"))
	}
	if c.CacheSize != nil {
		errs = append(errs, field.Invalid(at.Child("cachesize"), *c.CacheSize, "cachesize is not supported in v2"))
	}
	return append(errs, validateEndpoint(c.Endpoint, at.Child("endpoint"))...)
}

func validateEndpoint(endpoint string, at *field.Path) field.ErrorList {
	u, err := url.Parse(endpoint)
	switch {
	case endpoint == "":
		return field.ErrorList{field.Required(at, "endpoint is a mandatory field for a kms")}
	case err != nil:
		return field.ErrorList{field.Invalid(at, endpoint, fmt.Sprintf("invalid endpoint for kms provider, error: %v", err))}
	case u.Scheme != "unix":
		return field.ErrorList{field.Invalid(at, endpoint, fmt.Sprintf("unsupported scheme %q for KMS provider, only unix is supported", u.Scheme))}
	}
	return nil
}
