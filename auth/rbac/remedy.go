package rbac

import (
	"cmp"
	"regexp"
	"strings"

	"github.com/knarr-dev/knarr/registry"
)

// Remedy is a way to allow what was refused.
type Remedy struct {
	// Allows says how much else it allows: nothing, or what the role does that is bound.
	Allows string `json:"allows"`
	// Commands are those of kubectl.
	Commands []string `json:"commands"`
}

// Remedies are the commands that would allow what is asked: to bind the best of the roles that are offered, and to make one
// that allows just that.
func Remedies(a *registry.Attributes, offers []Offer) []Remedy {
	var all []Remedy
	name := slug(a)
	if len(offers) > 0 {
		best := offers[0].Role
		all = append(all, Remedy{"all that " + strings.ToLower(best.Kind) + " " + best.Name + " allows", []string{bindCommand(a, name, best)}})
	}
	own := Ref{Kind: "Role", Namespace: a.Namespace, Name: name}
	if a.Namespace == "" {
		own.Kind = "ClusterRole"
	}
	return append(all, Remedy{"this alone", []string{roleCommand(a, own), bindCommand(a, name, own)}})
}

// roleCommand makes a role that allows what is asked and nothing else.
func roleCommand(a *registry.Attributes, role Ref) string {
	words := []string{"kubectl create", strings.ToLower(role.Kind), role.Name, "--verb=" + quote(a.Verb)}
	if !a.ResourceRequest {
		return strings.Join(append(words, "--non-resource-url="+quote(a.Path)), " ")
	}
	resource := a.Resource
	if a.Group != "" {
		resource += "." + a.Group
	}
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	words = append(words, "--resource="+quote(resource))
	if a.Name != "" {
		words = append(words, "--resource-name="+quote(a.Name))
	}
	return strings.Join(inNamespace(words, a.Namespace), " ")
}

// bindCommand binds a role to the user, in the namespace if one is asked for.
func bindCommand(a *registry.Attributes, name string, role Ref) string {
	kind := "rolebinding"
	if a.Namespace == "" {
		kind = "clusterrolebinding"
	}
	words := []string{"kubectl create", kind, name, "--" + strings.ToLower(role.Kind) + "=" + quote(role.Name)}
	if home, account, ok := accountOf(a.User.Name); ok {
		words = append(words, "--serviceaccount="+quote(home+":"+account))
	} else {
		words = append(words, "--user="+quote(a.User.Name))
	}
	return strings.Join(inNamespace(words, a.Namespace), " ")
}

func inNamespace(words []string, namespace string) []string {
	if namespace == "" {
		return words
	}
	return append(words, "-n "+quote(namespace))
}

// slug is a name for the role and its binding: who does what.
func slug(a *registry.Attributes) string {
	who := a.User.Name
	if _, account, ok := accountOf(who); ok {
		who = account
	}
	what := strings.Trim(cmp.Or(a.Resource, a.Path), "/")
	if a.Subresource != "" {
		what += "-" + a.Subresource
	}
	text := unfit.ReplaceAllString(strings.ToLower(who+"-"+a.Verb+"-"+what), "-")
	return strings.Trim(text, "-.")
}

var unfit = regexp.MustCompile(`[^a-z0-9.]+`)

// accountOf takes a service account's user name apart.
func accountOf(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, accountPrefix)
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, ":")
}

// quote is a word for a shell.
func quote(word string) string {
	if word != "" && !special.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

var special = regexp.MustCompile(`[^A-Za-z0-9_@%+=:,./-]`)
