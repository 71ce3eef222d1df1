package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// Config is what an audit log can be told. Its fields are flags, as those of the server's Config.
type Config struct {
	PolicyFile string        `flag:"policy-file" help:"file of the policy (audit.k8s.io/v1) that says what of which requests is recorded (default: nothing is)"`
	Log        LogConfig     `prefix:"log-"`
	Webhook    WebhookConfig `prefix:"webhook-"`
}

// LogConfig is about the file.
type LogConfig struct {
	Path       string   `flag:"path" help:"file to which audit events are written, a line each; - is standard output"`
	Format     string   `flag:"format" help:"form of a line: json, or legacy (the main facts as text)"`
	Version    string   `flag:"version" help:"version of the API in which events are written: audit.k8s.io/v1"`
	MaxAge     int      `flag:"maxage" help:"days for which rotated audit log files are kept; 0 sets no limit"`
	MaxBackups int      `flag:"maxbackup" help:"rotated audit log files that are kept; 0 sets no limit"`
	MaxSize    int      `flag:"maxsize" help:"megabytes after which the audit log file is rotated; 0 never rotates it"`
	Compress   bool     `flag:"compress" help:"compress rotated audit log files with gzip"`
	Delivery   Delivery `prefix:""`
}

// WebhookConfig is about the service that takes events over HTTP.
type WebhookConfig struct {
	ConfigFile          string        `flag:"config-file" help:"kubeconfig that says to which service, and as whom, audit events are sent"`
	Version             string        `flag:"version" help:"version of the API in which events are sent: audit.k8s.io/v1"`
	InitialBackoff      time.Duration `flag:"initial-backoff" help:"how long to wait before the first of four further attempts to send events"`
	BatchInitialBackoff time.Duration `flag:"batch-initial-backoff" help:"former name of --audit-webhook-initial-backoff"`
	Delivery            Delivery      `prefix:""`
}

// Delivery is how events get to where they are kept.
type Delivery struct {
	Mode          string        `flag:"mode" help:"batch hands events over in the background; blocking does so before the request goes on; blocking-strict refuses requests that cannot be recorded"`
	BufferSize    int           `flag:"batch-buffer-size" help:"mode batch: events that wait at most; the oldest give way"`
	BatchSize     int           `flag:"batch-max-size" help:"mode batch: events handed over at once at most"`
	BatchWait     time.Duration `flag:"batch-max-wait" help:"mode batch: how long an event waits for others"`
	Throttle      bool          `flag:"batch-throttle-enable" help:"mode batch: limit the number of batches a second"`
	QPS           float32       `flag:"batch-throttle-qps" help:"mode batch: batches a second, on average"`
	Burst         int           `flag:"batch-throttle-burst" help:"mode batch: batches at once after a time of few"`
	Truncate      bool          `flag:"truncate-enabled" help:"limit the size of events and batches"`
	MaxBatchBytes int64         `flag:"truncate-max-batch-size" help:"bytes of a batch at most; larger ones are divided"`
	MaxEventBytes int64         `flag:"truncate-max-event-size" help:"bytes of an event at most; a larger one loses its objects, and if that does not help is dropped"`
}

// Modes of delivery.
const (
	modeBatch    = "batch"
	modeBlocking = "blocking"
	modeStrict   = "blocking-strict"
)

// DefaultConfig is upstream's: nothing is recorded until a policy says so.
func DefaultConfig() Config {
	sizes := Delivery{BufferSize: 10000, MaxBatchBytes: 10 << 20, MaxEventBytes: 100 << 10}
	file, webhook := sizes, sizes
	file.Mode, file.BatchSize = modeBlocking, 1
	webhook.Mode, webhook.BatchSize, webhook.BatchWait = modeBatch, 400, 30*time.Second
	webhook.Throttle, webhook.QPS, webhook.Burst = true, 10, 15
	version := auditv1.SchemeGroupVersion.String()
	return Config{
		Log:     LogConfig{Format: "json", Version: version, MaxAge: 366, MaxBackups: 100, MaxSize: 100, Delivery: file},
		Webhook: WebhookConfig{Version: version, InitialBackoff: 10 * time.Second, Delivery: webhook},
	}
}

// Validate names everything that is wrong at once.
func (c *Config) Validate() error {
	var errs []error
	if l := &c.Log; l.Path != "" {
		if l.Format != "json" && l.Format != "legacy" {
			errs = append(errs, fmt.Errorf("--audit-log-format is %q: use json or legacy", l.Format))
		}
		for flag, n := range map[string]int{"maxage": l.MaxAge, "maxbackup": l.MaxBackups, "maxsize": l.MaxSize} {
			if n < 0 {
				errs = append(errs, fmt.Errorf("--audit-log-%s must not be below 0", flag))
			}
		}
		errs = append(errs, checkVersion("log", l.Version), l.Delivery.validate("log"))
	}
	if w := &c.Webhook; w.ConfigFile != "" {
		errs = append(errs, checkVersion("webhook", w.Version), w.Delivery.validate("webhook"))
	}
	return errors.Join(errs...)
}

func checkVersion(backend, version string) error {
	if known := auditv1.SchemeGroupVersion.String(); version != known {
		return fmt.Errorf("--audit-%s-version is %q: use %s", backend, version, known)
	}
	return nil
}

func (d *Delivery) validate(backend string) error {
	modes := []string{modeBatch, modeBlocking, modeStrict}
	batch := d.Mode == modeBatch
	checks := []struct {
		bad        bool
		flag, word string
	}{
		{!slices.Contains(modes, d.Mode), "mode", fmt.Sprintf("is %q: use one of %s", d.Mode, strings.Join(modes, ", "))},
		{batch && d.BufferSize <= 0, "batch-buffer-size", "must be above 0"},
		{batch && d.BatchSize <= 0, "batch-max-size", "must be above 0"},
		{batch && d.Throttle && d.QPS <= 0, "batch-throttle-qps", "must be above 0"},
		{batch && d.Throttle && d.Burst <= 0, "batch-throttle-burst", "must be above 0"},
		{d.MaxEventBytes <= 0, "truncate-max-event-size", "must be above 0"},
		{d.MaxBatchBytes < d.MaxEventBytes, "truncate-max-batch-size", "must not be below that of an event"},
	}
	var errs []error
	for _, check := range checks {
		if check.bad {
			errs = append(errs, fmt.Errorf("--audit-%s-%s %s", backend, check.flag, check.word))
		}
	}
	return errors.Join(errs...)
}
