package auth

import (
	"context"
	"crypto/subtle"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/registry"
)

// BootstrapTokens knows the tokens with which new nodes introduce themselves: <id>.<secret>, six and sixteen lower-case
// letters and digits, kept in the Secret bootstrap-token-<id> of kube-system. Whoever has one is the user
// system:bootstrap:<id> in the group system:bootstrappers, and in groups below it that the Secret names.
type BootstrapTokens struct {
	Objects registry.Objects
	Now     func() time.Time
}

const (
	bootstrapGroup      = "system:bootstrappers"
	bootstrapSecretType = "bootstrap.kubernetes.io/token"
)

// AuthenticateToken looks the token's Secret up. It does not tell why a token is not good: each reason would be a hint.
func (b *BootstrapTokens) AuthenticateToken(ctx context.Context, token string, _ []string) (*registry.User, []string, error) {
	id, secret, ok := strings.Cut(token, ".")
	if !ok || !isLowerAlnum(id, 6) || !isLowerAlnum(secret, 16) {
		return nil, nil, nil
	}
	kept, err := lookUp[*corev1.Secret](ctx, b.Objects, "secrets", metav1.NamespaceSystem, "bootstrap-token-"+id)
	if apierrors.IsNotFound(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	groups, ok := bootstrapGroups(string(kept.Data["auth-extra-groups"]))
	if !ok || !bootstraps(kept, id, secret, b.Now()) {
		return nil, nil, nil
	}
	return &registry.User{Name: "system:bootstrap:" + id, Groups: groups}, nil, nil
}

func isLowerAlnum(s string, length int) bool {
	return len(s) == length && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
}

// bootstraps says whether a Secret holds the token, for authentication, today.
func bootstraps(kept *corev1.Secret, id, secret string, now time.Time) bool {
	return kept.DeletionTimestamp == nil && kept.Type == bootstrapSecretType &&
		subtle.ConstantTimeCompare(kept.Data["token-secret"], []byte(secret)) == 1 &&
		string(kept.Data["token-id"]) == id &&
		string(kept.Data["usage-bootstrap-authentication"]) == "true" &&
		!hasExpired(string(kept.Data["expiration"]), now)
}

// hasExpired reads a time as RFC 3339 has it. One that cannot be read is past.
func hasExpired(text string, now time.Time) bool {
	if text == "" {
		return false
	}
	ends, err := time.Parse(time.RFC3339, text)
	return err != nil || !now.Before(ends)
}

// bootstrapGroups are the groups, sorted, each once; not ok if one is not below system:bootstrappers.
func bootstrapGroups(extra string) (groups []string, ok bool) {
	groups = []string{bootstrapGroup}
	if extra == "" {
		return groups, true
	}
	for group := range strings.SplitSeq(extra, ",") {
		below, found := strings.CutPrefix(group, bootstrapGroup+":")
		if !found || !isBootstrapGroup(below) {
			return nil, false
		}
		groups = append(groups, group)
	}
	slices.Sort(groups)
	return slices.Compact(groups), true
}

// isBootstrapGroup wants 1 to 256 lower-case letters, digits, colons and dashes, the last of which is one of the former.
func isBootstrapGroup(name string) bool {
	if name == "" || len(name) > 256 || !isLowerAlnum(name[len(name)-1:], 1) {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != ':' && r != '-'
	})
}
