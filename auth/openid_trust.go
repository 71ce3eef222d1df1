package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"

	"github.com/knarr-dev/knarr/registry"
)

// OpenIDTrust is what a server has to know to trust the tokens of OpenID Connect issuers: JWTs that somebody else has signed.
// Whom to trust, and how a user follows from a token's claims, stands in an AuthenticationConfiguration. Issuers are
// asked for their keys in the background: one that is away keeps nobody from starting, and its tokens are refused until
// it is back.
type OpenIDTrust struct {
	// Audiences are the API server's own; every token that an issuer's rules accept is good for them.
	Audiences []string
	// OwnIssuers are those of the server's own tokens, which no configuration may claim.
	OwnIssuers []string
	Log        *slog.Logger
}

const (
	// rememberOpenID is how long a token's user is known without another look at its signature and claims, as upstream.
	rememberOpenID = 10 * time.Second
	// issuerPatience is how long a changed configuration may wait for its issuers before the old one is kept, until the file is read again.
	issuerPatience = 5 * time.Second
	// retirement is how long replaced issuers may still be asked for keys, by requests that are under way.
	retirement = time.Minute
)

// OpenIDIssuers know the tokens of the issuers of one configuration.
type OpenIDIssuers struct {
	anonymous *apiserver.AnonymousAuthConfig
	issuers   []oidc.AuthenticatorTokenWithHealthCheck
	cache     *tokenCache
	stop      context.CancelFunc
}

// configurations is the form of an AuthenticationConfiguration.
func (o OpenIDTrust) configurations() ConfigKind[apiserverv1.AuthenticationConfiguration] {
	const group = "apiserver.config.k8s.io/"
	return ConfigKind[apiserverv1.AuthenticationConfiguration]{
		Kind: "AuthenticationConfiguration", Versions: []string{group + "v1", group + "v1beta1", group + "v1alpha1"},
		Validate: func(c *apiserverv1.AuthenticationConfiguration) field.ErrorList {
			internal, err := o.internal(c)
			if err != nil {
				return field.ErrorList{field.InternalError(nil, err)}
			}
			return validation.ValidateAuthenticationConfiguration(cel.NewDefaultCompiler(), internal, o.OwnIssuers)
		},
	}
}

// internal is the form in which the libraries take a configuration. There are no egress proxies to select from.
func (o OpenIDTrust) internal(c *apiserverv1.AuthenticationConfiguration) (*apiserver.AuthenticationConfiguration, error) {
	out := &apiserver.AuthenticationConfiguration{}
	if err := apiserverv1.Convert_v1_AuthenticationConfiguration_To_apiserver_AuthenticationConfiguration(c, out, nil); err != nil {
		return nil, err
	}
	for i := range out.JWT {
		if issuer := &out.JWT[i].Issuer; issuer.EgressSelectorType != "" {
			o.Log.Warn("the egress selector of an issuer is ignored", "issuer", issuer.URL)
			issuer.EgressSelectorType = ""
		}
	}
	return out, nil
}

// OpenFile reads a configuration file, which may change while the server runs, but for what it says of anonymous
// requests. A changed one is taken into use once its issuers answer.
func (o OpenIDTrust) OpenFile(path string) (*File[*OpenIDIssuers], error) {
	var first *OpenIDIssuers
	file, err := OpenFile(path, func(path string, data []byte) (*OpenIDIssuers, error) {
		made, err := o.parse(path, data, first)
		if first == nil {
			first = made
		}
		return made, err
	})
	if err != nil {
		return nil, err
	}
	file.OnReplace(func(old *OpenIDIssuers) { time.AfterFunc(retirement, old.Stop) })
	return file, nil
}

// parse reads a file's content, which has to agree with what the file said first, if there was such a time.
func (o OpenIDTrust) parse(path string, data []byte, first *OpenIDIssuers) (*OpenIDIssuers, error) {
	kind := o.configurations()
	if first != nil {
		valid := kind.Validate
		kind.Validate = func(c *apiserverv1.AuthenticationConfiguration) field.ErrorList {
			return append(valid(c), o.sameAnonymous(first, c)...)
		}
	}
	config, err := kind.Parse(path, data)
	if err != nil {
		return nil, err
	}
	made, err := o.Issuers(config, oidc.AllValidSigningAlgorithms())
	if err == nil && first != nil {
		if err = made.await(issuerPatience); err != nil {
			made.Stop()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return made, nil
}

func (o OpenIDTrust) sameAnonymous(first *OpenIDIssuers, c *apiserverv1.AuthenticationConfiguration) field.ErrorList {
	now, err := o.internal(c)
	if err == nil && reflect.DeepEqual(now.Anonymous, first.anonymous) {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("anonymous"), "changed from initial configuration file")}
}

// Issuers starts to ask the configuration's issuers for their keys. algorithms are those by which they may sign.
func (o OpenIDTrust) Issuers(config *apiserverv1.AuthenticationConfiguration, algorithms []string) (*OpenIDIssuers, error) {
	internal, err := o.internal(config)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	all := &OpenIDIssuers{anonymous: internal.Anonymous, stop: stop}
	for _, one := range internal.JWT {
		options := oidc.Options{JWTAuthenticator: one, SupportedSigningAlgs: algorithms, DisallowedIssuers: o.OwnIssuers}
		if one.Issuer.CertificateAuthority != "" {
			options.CAContentProvider = authorityText(one.Issuer.CertificateAuthority)
		}
		issuer, err := oidc.New(ctx, options)
		if err != nil {
			stop()
			return nil, err
		}
		all.issuers = append(all.issuers, issuer)
	}
	all.cache = rememberTokens(ForAnyAudience(o.Audiences, openIDTokens{all}), rememberOpenID, 0)
	return all, nil
}

// authorityText is a bundle of authorities, in the form that the library takes.
type authorityText string

func (a authorityText) CurrentCABundleContent() []byte { return []byte(a) }

// Anonymous is what the configuration says of requests without credentials; nil if nothing.
func (i *OpenIDIssuers) Anonymous() *Anonymous {
	if i.anonymous == nil {
		return nil
	}
	a := &Anonymous{Enabled: i.anonymous.Enabled}
	for _, condition := range i.anonymous.Conditions {
		a.Paths = append(a.Paths, condition.Path)
	}
	return a
}

// Stop ends what goes on in the background.
func (i *OpenIDIssuers) Stop() { i.stop() }

// await waits until all issuers have shown their keys.
func (i *OpenIDIssuers) await(patience time.Duration) (err error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		var errs []error
		for _, issuer := range i.issuers {
			errs = append(errs, issuer.HealthCheck())
		}
		if err = errors.Join(errs...); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// AuthenticateToken knows the tokens of the issuers. What is no JWT is not looked at.
func (i *OpenIDIssuers) AuthenticateToken(ctx context.Context, token string, audiences []string) (*registry.User, []string, error) {
	if len(i.issuers) == 0 || strings.Count(token, ".") != 2 {
		return nil, nil, nil
	}
	return i.cache.AuthenticateToken(ctx, token, audiences)
}

// openIDTokens looks at every token anew.
type openIDTokens struct{ *OpenIDIssuers }

// AuthenticateToken asks the issuers one by one; an issuer leaves tokens of others alone, and its no is final.
func (t openIDTokens) AuthenticateToken(ctx context.Context, token string, audiences []string) (*registry.User, []string, error) {
	for _, issuer := range t.issuers {
		response, ok, err := issuer.AuthenticateToken(ctx, token)
		if err != nil {
			return nil, nil, err
		}
		if ok {
			u := response.User
			return &registry.User{Name: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(), Extra: u.GetExtra()}, audiences, nil
		}
	}
	return nil, nil, nil
}

// OpenIDFile knows the tokens of the issuers that a file names today.
type OpenIDFile struct{ *File[*OpenIDIssuers] }

// AuthenticateToken asks today's issuers.
func (f OpenIDFile) AuthenticateToken(ctx context.Context, token string, audiences []string) (*registry.User, []string, error) {
	return f.Get().AuthenticateToken(ctx, token, audiences)
}
