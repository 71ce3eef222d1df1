package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/knarr-dev/knarr/auth/rbac"
	"github.com/knarr-dev/knarr/server"
)

// explainCan is an answer for people: yes or no on the first line, why below it, and what to do last.
func explainCan(a *server.WhyCanAnswer) string {
	var b strings.Builder
	word, may := "no", "may not"
	if a.Allowed {
		word, may = "yes", "may"
	}
	fmt.Fprintf(&b, "%s: %s %s %s %s\n", word, a.User, may, a.Verb, askedFor(a))
	if a.Unknown {
		fmt.Fprintf(&b, "note: the server has no such resource\n")
	}
	if a.Allowed {
		explainYes(&b, a)
	} else {
		explainNo(&b, a)
	}
	if a.Error != "" {
		fmt.Fprintf(&b, "\nNot everything could be evaluated: %s\n", a.Error)
	}
	return b.String()
}

func askedFor(a *server.WhyCanAnswer) string {
	if a.Path != "" {
		return "path " + a.Path
	}
	text := a.Resource
	if a.APIGroup != "" {
		text += "." + a.APIGroup
	}
	if a.Subresource != "" {
		text += "/" + a.Subresource
	}
	if a.Name != "" {
		text += " " + a.Name
	}
	switch {
	case a.ClusterScoped:
		return text
	case a.Namespace == "":
		return text + " in all namespaces"
	}
	return text + " in namespace " + a.Namespace
}

func explainYes(b *strings.Builder, a *server.WhyCanAnswer) {
	switch {
	case slices.Contains(a.Groups, "system:masters"):
		b.WriteString("\nMembers of system:masters may do everything.\n")
	case len(a.Grants) == 0:
		fmt.Fprintf(b, "\n%s\n", cmp.Or(a.Reason, "No role allows it: another authorizer does."))
	default:
		b.WriteString("\nAllowed by:\n")
	}
	for _, g := range a.Grants {
		writeGrant(b, g, a)
	}
}

func explainNo(b *strings.Builder, a *server.WhyCanAnswer) {
	if a.Reason != "" {
		fmt.Fprintf(b, "%s\n", a.Reason)
	}
	if len(a.Grants) > 0 {
		b.WriteString("\nRoles would allow it, but RBAC is not among those who decide, or another refuses first:\n")
	}
	for _, g := range a.Grants {
		writeGrant(b, g, a)
	}
	if len(a.Near) > 0 {
		b.WriteString("\nNearest:\n")
	}
	for _, n := range a.Near {
		writeGrant(b, n.Grant, a)
		fmt.Fprintf(b, "    but %s\n", lacking(n, a))
	}
	if len(a.Offers) > 0 {
		b.WriteString("\nRoles that allow it, and are not bound to the user there:\n")
	}
	for _, o := range a.Offers {
		fmt.Fprintf(b, "  %s: %s\n", nameOf(o.Role), ruleText(o.Rule, a))
	}
	if len(a.Remedies) > 0 {
		b.WriteString("\nTo allow it:\n")
	}
	for _, r := range a.Remedies {
		fmt.Fprintf(b, "  # %s\n", r.Allows)
		for _, c := range r.Commands {
			fmt.Fprintf(b, "  %s\n", c)
		}
	}
}

func writeGrant(b *strings.Builder, g rbac.Grant, a *server.WhyCanAnswer) {
	fmt.Fprintf(b, "  %s gives %s to %s\n", nameOf(g.Binding), nameOf(g.Role), g.Subject)
	if g.Rule != nil {
		fmt.Fprintf(b, "    %s\n", ruleText(g.Rule, a))
	}
}

func nameOf(r rbac.Ref) string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// lacking says what keeps a rule from allowing what is asked.
func lacking(n rbac.Near, a *server.WhyCanAnswer) string {
	switch n.Lacks {
	case rbac.LacksName:
		if a.Name == "" {
			return "it is for objects by name, and the request names none"
		}
		return "it is not for " + a.Name
	case rbac.LacksVerb:
		return "the verb " + a.Verb + " is missing"
	case rbac.LacksSubresource:
		if a.Subresource == "" {
			return "it is not for " + a.Resource + " themselves"
		}
		return "the sub-resource " + a.Subresource + " is missing"
	case rbac.LacksGroup:
		return "the resource is in group " + groupName(a.APIGroup)
	case rbac.LacksPath:
		return "it is for other paths"
	case rbac.LacksNamespace:
		if a.Namespace == "" {
			return "it holds in that namespace alone"
		}
		return "it does not hold in namespace " + a.Namespace
	case rbac.LacksRole:
		return "that role does not exist"
	}
	return "it is for other resources"
}

// ruleText is a rule as a sentence without a subject.
func ruleText(r *rbacv1.PolicyRule, a *server.WhyCanAnswer) string {
	verbs := listed(r.Verbs, "do everything with")
	if len(r.NonResourceURLs) > 0 {
		return verbs + " paths " + strings.Join(r.NonResourceURLs, ", ")
	}
	text := verbs + " " + listed(shortened(r.Resources, a), "all resources")
	switch {
	case slices.Contains(r.APIGroups, "*"):
		text += " in all groups"
	case !slices.Equal(r.APIGroups, []string{""}):
		names := make([]string, len(r.APIGroups))
		for i, g := range r.APIGroups {
			names[i] = groupName(g)
		}
		text += " in " + strings.Join(names, ", ")
	}
	if len(r.ResourceNames) > 0 {
		text += " named " + strings.Join(r.ResourceNames, ", ")
	}
	return text
}

// shortened is the resources of a rule that has many: the one that is asked about, if it is there, and how many more.
func shortened(resources []string, a *server.WhyCanAnswer) []string {
	asked := a.Resource
	if a.Subresource != "" {
		asked += "/" + a.Subresource
	}
	const many = 6
	if len(resources) <= many || !slices.Contains(resources, asked) {
		return resources
	}
	return []string{fmt.Sprintf("%s and %d others", asked, len(resources)-1)}
}

func listed(list []string, all string) string {
	if slices.Contains(list, "*") {
		return all
	}
	return strings.Join(list, ", ")
}

func groupName(group string) string { return cmp.Or(group, "core") }
