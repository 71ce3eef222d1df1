package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"github.com/knarr-dev/knarr/registry"
)

var errInvalidToken = errors.New("invalid bearer token")

// Tokens asks each authenticator in turn whose a token is.
type Tokens []registry.TokenAuthenticator

// AuthenticateToken returns the first user that an authenticator knows; errors count only if there is none.
func (t Tokens) AuthenticateToken(ctx context.Context, token string, audiences []string) (*registry.User, []string, error) {
	var errs []error
	for _, one := range t {
		user, fit, err := one.AuthenticateToken(ctx, token, audiences)
		if user != nil {
			return user, fit, nil
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return nil, nil, utilerrors.NewAggregate(errs)
}

// forAnyone makes an authenticator whose tokens are good for the API server alone answer for whom its tokens are good.
type forAnyone struct {
	audiences []string // the API server's own
	next      registry.TokenAuthenticator
}

// ForAnyAudience has tokens that name no audience accepted where one of the API server's own is wanted.
func ForAnyAudience(own []string, next registry.TokenAuthenticator) registry.TokenAuthenticator {
	return forAnyone{own, next}
}

func (f forAnyone) AuthenticateToken(ctx context.Context, token string, wanted []string) (*registry.User, []string, error) {
	if len(wanted) == 0 { // every request
		user, _, err := f.next.AuthenticateToken(ctx, token, f.audiences)
		return user, f.audiences, err
	}
	fit := commonAudiences(wanted, f.audiences)
	if len(fit) == 0 {
		return nil, nil, nil
	}
	user, _, err := f.next.AuthenticateToken(ctx, token, wanted)
	return user, fit, err
}

// Reviewed answers questions about tokens as a request that came with the token would be answered; to TokenReviews.
type Reviewed struct {
	Tokens Tokens
}

// AuthenticateToken returns the user as handlers of requests would see it. A token that is not good is an error.
func (r Reviewed) AuthenticateToken(ctx context.Context, token string, audiences []string) (*registry.User, []string, error) {
	user, fit, err := r.Tokens.AuthenticateToken(WithRemarks(ctx, nil), token, audiences)
	if user == nil {
		return nil, nil, utilerrors.NewAggregate([]error{errInvalidToken, err})
	}
	return Authenticated(user), fit, nil
}

// known is the token's user; a token that nobody knows is an error.
func (t Tokens) known(ctx context.Context, token string) (*registry.User, error) {
	user, _, err := t.AuthenticateToken(ctx, token, nil)
	if user == nil && err == nil {
		err = errInvalidToken
	}
	return user, err
}

// bearer reads the Authorization header.
type bearer struct{ tokens Tokens }

func (b bearer) Authenticate(r *http.Request) (*registry.User, error) {
	values := r.Header["Authorization"]
	if len(values) == 0 {
		return nil, nil
	}
	token, ok := strings.CutPrefix(values[0], "Bearer ") // as nearly everybody writes it
	if !ok || token == "" || token[0] == ' ' || token[len(token)-1] <= ' ' || strings.IndexByte(token, ' ') >= 0 {
		if token = b.unusual(r, values[0]); token == "" {
			return nil, nil
		}
	}
	user, err := b.tokens.known(r.Context(), token)
	if user != nil {
		delete(r.Header, "Authorization")
	}
	return user, err
}

// unusual is the token of a header with other spaces or letters than the usual ones; empty if there is none.
func (b bearer) unusual(r *http.Request, value string) string {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(value), " ")
	token, _, more := strings.Cut(rest, " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	if token == "" && more {
		remarksOf(r.Context()).Warn("the provided Authorization header contains extra space before the bearer token, and is ignored")
	}
	return token
}

const (
	protocolHeader = "Sec-Websocket-Protocol"
	bearerProtocol = "base64url.bearer.authorization.k8s.io."
)

// webSocketProtocol reads a token that a browser's WebSocket, which cannot set headers, hands over as the name of a
// sub-protocol: base64url.bearer.authorization.k8s.io.<token in base64url>. Another sub-protocol has to be offered
// with it, for the server to choose.
type webSocketProtocol struct{ tokens Tokens }

func (w webSocketProtocol) Authenticate(r *http.Request) (*registry.User, error) {
	if !isWebSocket(r) {
		return nil, nil
	}
	token, others, err := protocolToken(r.Header[protocolHeader])
	if token == "" || err != nil {
		return nil, err
	}
	user, err := w.tokens.known(r.Context(), token)
	if user != nil {
		r.Header.Set(protocolHeader, strings.Join(others, ","))
	}
	return user, err
}

func isWebSocket(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") &&
		slices.ContainsFunc(r.Header["Connection"], func(v string) bool { return strings.Contains(strings.ToLower(v), "upgrade") })
}

// protocolToken finds the token among the offered sub-protocols, and returns the others.
func protocolToken(headers []string) (token string, others []string, err error) {
	seen := false
	for protocol := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		protocol = strings.TrimSpace(protocol)
		encoded, ok := strings.CutPrefix(protocol, bearerProtocol)
		if !ok {
			others = append(others, protocol)
			continue
		}
		if seen {
			return "", nil, errors.New("multiple base64.bearer.authorization tokens specified")
		}
		seen = true
		raw, err := base64.RawURLEncoding.DecodeString(encoded)
		if err != nil {
			return "", nil, errors.New("invalid base64.bearer.authorization token encoding")
		}
		if !utf8.Valid(raw) {
			return "", nil, errors.New("invalid base64.bearer.authorization token")
		}
		token = string(raw)
	}
	if token != "" && len(others) == 0 {
		return "", nil, errors.New("missing additional subprotocol")
	}
	return token, others, nil
}
