package registry

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateDNSConfig is about what a pod resolves names with, within the limits of libc. With the policy None there is
// nothing but this.
func validateDNSConfig(c *corev1.PodDNSConfig, policy corev1.DNSPolicy, path *field.Path) field.ErrorList {
	const mostServers, mostSearches, longestSearch = 3, 32, 2048
	if policy == corev1.DNSNone {
		switch {
		case c == nil:
			return field.ErrorList{field.Required(path, "must provide `dnsConfig` when `dnsPolicy` is None")}
		case len(c.Nameservers) == 0:
			return field.ErrorList{field.Required(path.Child("nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None")}
		}
	}
	if c == nil {
		return nil
	}
	var errs field.ErrorList
	servers, searches := path.Child("nameservers"), path.Child("searches")
	if len(c.Nameservers) > mostServers {
		errs = append(errs, field.Invalid(servers, c.Nameservers, fmt.Sprintf("must not have more than %v nameservers", mostServers)))
	}
	for i, server := range c.Nameservers {
		errs = append(errs, validateIP(server, servers.Index(i))...)
	}
	if len(c.Searches) > mostSearches {
		errs = append(errs, field.Invalid(searches, c.Searches, fmt.Sprintf("must not have more than %v search paths", mostSearches)))
	}
	if len(strings.Join(c.Searches, " ")) > longestSearch {
		errs = append(errs, field.Invalid(searches, c.Searches,
			fmt.Sprintf("must not have more than %v characters (including spaces) in the search list", longestSearch)))
	}
	for i, search := range c.Searches {
		if search != "." {
			search = strings.TrimSuffix(search, ".")
			errs = append(errs, invalidValue(searches.Index(i), search, validation.IsDNS1123SubdomainWithUnderscore(search))...)
		}
	}
	for i, option := range c.Options {
		if option.Name == "" {
			errs = append(errs, field.Required(path.Child("options").Index(i), "must not be empty"))
		}
	}
	return errs
}

// validateIP is about an address in a field that once took sloppy forms, of which old is what the field had before and
// may keep.
func validateIP(address string, path *field.Path, old ...string) field.ErrorList {
	return validation.IsValidIPForLegacyField(path, address, true, old)
}

// validateHostAliases is about lines of a pod's hosts file.
func validateHostAliases(aliases []corev1.HostAlias, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, alias := range aliases {
		errs = append(errs, validateIP(alias.IP, path.Index(i).Child("ip"))...)
		for j, name := range alias.Hostnames {
			errs = append(errs, validateDNSSubdomain(name, path.Index(i).Child("hostnames").Index(j))...)
		}
	}
	return errs
}

// validateHostnames is about the names that a pod has for itself. The override is the whole name, and excludes what
// else would make one.
func validateHostnames(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	const longestOverride = 64
	var errs field.ErrorList
	if spec.Hostname != "" {
		errs = append(errs, validateDNSLabel(spec.Hostname, path.Child("hostname"))...)
	}
	if spec.Subdomain != "" {
		errs = append(errs, validateDNSLabel(spec.Subdomain, path.Child("subdomain"))...)
	}
	if spec.HostnameOverride == nil {
		return errs
	}
	at := path.Child("hostnameOverride")
	if spec.SetHostnameAsFQDN != nil && *spec.SetHostnameAsFQDN {
		errs = append(errs, field.Forbidden(at, "may not be specified when setHostnameAsFQDN is true"))
	}
	if spec.HostNetwork {
		errs = append(errs, field.Forbidden(at, "may not be specified when hostNetwork is true"))
	}
	if len(*spec.HostnameOverride) > longestOverride {
		errs = append(errs, field.TooLong(at, "", longestOverride))
	}
	return append(errs, validateDNSSubdomain(*spec.HostnameOverride, at)...)
}
