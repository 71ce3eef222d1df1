package auth

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Webhook is a service elsewhere that answers questions: a review is posted to it as JSON and comes back with a status.
// Where it is, and how both sides know each other, stands in a kubeconfig, whose server is the URL to post to.
type Webhook struct {
	client *http.Client
	url    string
	retry  wait.Backoff
}

const (
	webhookPatience  = 30 * time.Second // with one attempt
	maxWebhookAnswer = 1 << 20          // bytes
)

// OpenWebhook reads the kubeconfig. The service is not called yet: it may start after the API server.
func OpenWebhook(kubeconfig string) (*Webhook, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kubeconfig, err)
	}
	return NewWebhook(config)
}

// NewWebhook returns the service that a client's configuration leads to.
func NewWebhook(config *rest.Config) (*Webhook, error) {
	config = rest.CopyConfig(config)
	config.Timeout = webhookPatience
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	url, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	query := url.Query()
	query.Set("timeout", webhookPatience.String()) // as client-go tells every server, and errors show
	url.RawQuery = query.Encode()
	return &Webhook{client: client, url: url.String(), retry: wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}}, nil
}

// Backoff is the service asked again after another pause than usual: the first of them; those that follow are longer.
func (w *Webhook) Backoff(first time.Duration) *Webhook {
	patient := *w
	patient.retry.Duration = first
	return &patient
}

// Call posts the question and reads the answer, both as JSON. A service that is overloaded or broke down is asked again,
// up to five times, as long as ctx lasts.
func (w *Webhook) Call(ctx context.Context, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	var last error
	err = wait.ExponentialBackoffWithContext(ctx, w.retry, func(ctx context.Context) (done bool, _ error) {
		last = w.post(ctx, body, answer)
		if passing(last) {
			return false, nil
		}
		return true, last
	})
	if last != nil {
		return last
	}
	return err
}

func (w *Webhook) post(ctx context.Context, body []byte, answer any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	response, err := w.client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxWebhookAnswer))
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		after, _ := strconv.Atoi(response.Header.Get("Retry-After")) // most have none
		return apierrors.NewGenericServerResponse(response.StatusCode, http.MethodPost, schema.GroupResource{}, "", "", after, true)
	}
	if len(data) == 0 {
		return fmt.Errorf("0-length response with status code: %d and content type: %s", response.StatusCode, response.Header.Get("Content-Type"))
	}
	if err := sameForm(body, data); err != nil {
		return err
	}
	return json.Unmarshal(data, answer)
}

// sameForm refuses an answer that is none: of another kind or version than the question. One that does not say what it is
// is taken for an answer.
func sameForm(question, answer []byte) error {
	var asked, told struct {
		APIVersion string `json:"apiVersion,omitempty"`
		Kind       string `json:"kind,omitempty"`
	}
	if err := json.Unmarshal(question, &asked); err != nil {
		return err
	}
	if err := json.Unmarshal(answer, &told); err != nil {
		return fmt.Errorf("couldn't get version/kind; json parse error: %w", err)
	}
	told.APIVersion, told.Kind = cmp.Or(told.APIVersion, asked.APIVersion), cmp.Or(told.Kind, asked.Kind)
	if told != asked {
		return fmt.Errorf("converting (%s.%s) to (%s.%s): unknown conversion", path.Base(told.APIVersion), told.Kind, path.Base(asked.APIVersion), asked.Kind)
	}
	return nil
}

// passing are errors that another attempt may not meet.
func passing(err error) bool {
	_, invited := apierrors.SuggestsClientDelay(err)
	return invited || utilnet.IsConnectionReset(err) || utilnet.IsHTTP2ConnectionLost(err) ||
		apierrors.IsInternalError(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err)
}
