package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/server"
)

// inside reaches the API server in this process: no connection, no encryption, no limit of its own, and protobuf, which
// is what the cache holds.
type inside struct {
	server *server.Server
	user   registry.User
}

func (i inside) own() *rest.Config {
	return compact(&rest.Config{Host: "http://knarr", Transport: i.server.Transport(i.user)})
}

func (i inside) account(name string) *rest.Config {
	i.user = registry.User{Name: "system:serviceaccount:" + metav1.NamespaceSystem + ":" + name,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + metav1.NamespaceSystem}}
	return i.own()
}

// compact is how knarr's own clients talk: the server limits them, and they need no JSON.
func compact(c *rest.Config) *rest.Config {
	c.QPS, c.UserAgent = -1, "knarr/"+version
	c.ContentType = "application/vnd.kubernetes.protobuf"
	c.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	return c
}

// named reaches the API in another's way, under the name of a program: objects say by it who has set which of their fields, and people
// name it, as upstream's, in what they tell other programs to leave alone.
type named struct {
	reach
	program string
}

func (n named) own() *rest.Config                { return n.name(n.reach.own()) }
func (n named) account(name string) *rest.Config { return n.name(n.reach.account(name)) }

func (n named) name(config *rest.Config) *rest.Config {
	config.UserAgent = n.program + "/" + version + " (knarr)"
	return config
}

// outside reaches an API server over the network, as a kubeconfig says.
type outside struct {
	config   *rest.Config
	accounts *accountTokens // nil if the part does everything under its own identity
}

// openOutside reads a kubeconfig.
func openOutside(kubeconfig string) (*outside, error) {
	if kubeconfig == "" {
		return nil, errors.New("it is not said how to reach the API server")
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig: %w", err)
	}
	config.DisableCompression = true // the server is near, or the administrator's to place so
	return &outside{config: compact(config)}, nil
}

// actAsAccounts has each account act under its own name.
func (o *outside) actAsAccounts() error {
	client, err := kubernetes.NewForConfig(o.own())
	if err != nil {
		return err
	}
	o.accounts = &accountTokens{client: client, known: map[string]*accountToken{}}
	return nil
}

// trustedBy is what a client verifies the API server with, in PEM.
func trustedBy(c *rest.Config) ([]byte, error) {
	if len(c.CAData) > 0 || c.CAFile == "" {
		return c.CAData, nil
	}
	return os.ReadFile(c.CAFile)
}

func (o *outside) own() *rest.Config { return rest.CopyConfig(o.config) }

func (o *outside) account(name string) *rest.Config {
	if o.accounts == nil {
		return o.own()
	}
	config := compact(rest.AnonymousClientConfig(o.config))
	config.DisableCompression = true
	token := o.accounts.of(name)
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper { return bearing{token, next} }
	return config
}

// accountTokens are the tokens of service accounts under which a part works.
type accountTokens struct {
	client kubernetes.Interface // that may make accounts and their tokens
	mu     sync.Mutex           // guards known
	known  map[string]*accountToken
}

func (a *accountTokens) of(account string) *accountToken {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known[account] == nil {
		a.known[account] = &accountToken{account: account, client: a.client}
	}
	return a.known[account]
}

// accountToken is an account's token, asked for when it is needed, and anew when a fifth of its life is left or it is refused.
type accountToken struct {
	account string
	client  kubernetes.Interface

	mu    sync.Mutex // guards the fields below, while a token is asked for too
	token string
	until time.Time
}

const accountTokenLife = time.Hour

func (t *accountToken) get(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token != "" && time.Now().Before(t.until) {
		return t.token, nil
	}
	asked := time.Now()
	made, err := t.ask(ctx)
	if apierrors.IsNotFound(err) {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: t.account, Namespace: metav1.NamespaceSystem}}
		if _, err := t.client.CoreV1().ServiceAccounts(account.Namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return "", fmt.Errorf("create service account %s: %w", t.account, err)
		}
		made, err = t.ask(ctx)
	}
	if err != nil {
		return "", fmt.Errorf("token of service account %s: %w", t.account, err)
	}
	t.token, t.until = made.Status.Token, asked.Add(made.Status.ExpirationTimestamp.Sub(asked)*4/5)
	return t.token, nil
}

func (t *accountToken) ask(ctx context.Context) (*authenticationv1.TokenRequest, error) {
	return t.client.CoreV1().ServiceAccounts(metav1.NamespaceSystem).CreateToken(ctx, t.account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(int64(accountTokenLife / time.Second))}}, metav1.CreateOptions{})
}

// forget has another token asked for than this one.
func (t *accountToken) forget(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token == token {
		t.token = ""
	}
}

// bearing is a transport whose requests bear an account's token.
type bearing struct {
	token *accountToken
	next  http.RoundTripper
}

func (b bearing) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := b.token.get(r.Context())
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := b.next.RoundTrip(r)
	if err == nil && answer.StatusCode == http.StatusUnauthorized {
		b.token.forget(token)
	}
	return answer, err
}

// WrappedRoundTripper lets client-go see what is behind.
func (b bearing) WrappedRoundTripper() http.RoundTripper { return b.next }
