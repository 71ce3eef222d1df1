package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/knarr-dev/knarr/registry"
)

// Log records requests as its policy says.
type Log struct {
	policy   *Policy
	backends []*backend
	counts   *counts
	log      *slog.Logger
}

// Open reads the policy and opens the backends. Without a policy, or without a backend, nothing is to be recorded, and
// the Log is nil.
func Open(c Config, log *slog.Logger) (*Log, error) {
	if c.PolicyFile == "" {
		if c.Log.Path != "" || c.Webhook.ConfigFile != "" {
			log.Warn("nothing is recorded in the audit log: --audit-policy-file, which says what is, is missing")
		}
		return nil, nil
	}
	policy, err := ReadPolicy(c.PolicyFile)
	if err != nil {
		return nil, fmt.Errorf("--audit-policy-file: %w", err)
	}
	l := &Log{policy: policy, counts: newCounts(), log: log}
	if c.Log.Path != "" {
		file, err := openFile(&c.Log)
		if err != nil {
			return nil, fmt.Errorf("--audit-log-path: %w", err)
		}
		l.add("log", file, &c.Log.Delivery, c.Log.Format == "legacy", 1)
	}
	if c.Webhook.ConfigFile != "" {
		hook, err := openWebhook(&c.Webhook)
		if err != nil {
			return nil, fmt.Errorf("--audit-webhook-config-file: %w", err)
		}
		l.add("webhook", hook, &c.Webhook.Delivery, false, webhookSenders)
	}
	if len(l.backends) == 0 {
		log.Warn("nothing is recorded in the audit log: neither --audit-log-path nor --audit-webhook-config-file says where to")
		return nil, nil
	}
	return l, nil
}

// add puts a backend to use. senders is how many batches it may be sent at a time.
func (l *Log) add(name string, s sink, d *Delivery, legacy bool, senders int) {
	b := &backend{name: name, sink: s, legacy: legacy, strict: d.Mode == modeStrict, counts: l.counts, log: l.log}
	if d.Truncate {
		b.maxEvent, b.maxBatch = int(d.MaxEventBytes), int(d.MaxBatchBytes)
	}
	if d.Mode == modeBatch {
		b.buffer = newBuffer(d, senders, b)
	}
	l.backends = append(l.backends, b)
}

// Begin makes the record of a request. It is nil if the policy wants none.
func (l *Log) Begin(r *http.Request, received time.Time, a *registry.Attributes) *Record {
	fits := l.policy.ruleFor(a)
	if fits == nil || fits.Level == auditv1.LevelNone {
		l.counts.ofLevel(auditv1.LevelNone).Inc()
		return nil
	}
	l.counts.ofLevel(fits.Level).Inc()
	return newRecord(l, fits, r, received, a)
}

// send gives an event to all backends. An error means that one of them is strict, and does not have it.
func (l *Log) send(ev *auditv1.Event) error {
	var errs []error
	text := rendering{event: ev}
	for _, b := range l.backends {
		if err := b.take(&text); err != nil && b.strict {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Collectors are the metrics.
func (l *Log) Collectors() []prometheus.Collector { return l.counts.all() }

// Close sends what waits in buffers, until ctx ends, and closes the backends. No request may be under way any more.
func (l *Log) Close(ctx context.Context) {
	for _, b := range l.backends {
		if b.buffer != nil {
			b.buffer.close(ctx)
		}
		if err := b.sink.close(); err != nil {
			l.log.Error("close the audit log", "backend", b.name, "err", err)
		}
	}
}
