package audit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// webhook posts events to a service.
type webhook struct {
	client *http.Client
	url    string
	retry  wait.Backoff
}

const (
	webhookSenders  = 8                // batches that may be on their way at a time
	webhookPatience = 30 * time.Second // with one attempt
)

// openWebhook reads the kubeconfig. The service is not called yet: it may start after the API server.
func openWebhook(c *WebhookConfig) (*webhook, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.ConfigFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.ConfigFile, err)
	}
	config.Timeout = webhookPatience
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.ConfigFile, err)
	}
	url, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.ConfigFile, err)
	}
	first := c.InitialBackoff
	if c.BatchInitialBackoff > 0 {
		first = c.BatchInitialBackoff
	}
	return &webhook{client, url.String(), wait.Backoff{Duration: first, Factor: 1.5, Jitter: 0.2, Steps: 5}}, nil
}

// send posts a batch, and again if that fails: there is hardly an error after which it is not worth another try.
func (w *webhook) send(ctx context.Context, events [][]byte) error {
	body := eventList(events)
	var last error
	err := wait.ExponentialBackoffWithContext(ctx, w.retry, func(ctx context.Context) (bool, error) {
		last = w.post(ctx, body)
		return last == nil, nil
	})
	if err != nil && last != nil {
		return last
	}
	return err
}

// eventList is an EventList of encoded events.
func eventList(events [][]byte) []byte {
	head := `{"kind":"EventList","apiVersion":"` + auditv1.SchemeGroupVersion.String() + `","metadata":{},"items":[`
	return bytes.Join([][]byte{[]byte(head), bytes.Join(events, []byte(",")), []byte("]}\n")}, nil)
}

func (w *webhook) post(ctx context.Context, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := w.client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<20)) // so that the connection can be used again
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return fmt.Errorf("the service answers %s", answer.Status)
	}
	return nil
}

func (w *webhook) close() error {
	w.client.CloseIdleConnections()
	return nil
}
