package server

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/knarr-dev/knarr/auth"
)

// tokenMetrics shows the uses of service account tokens under upstream's names.
func tokenMetrics(uses *auth.TokenUses) []prometheus.Collector {
	var all []prometheus.Collector
	for _, m := range []struct {
		name, help string
		count      *atomic.Int64
	}{
		{"legacy_tokens_total", "Uses of service account tokens without an audience.", &uses.Legacy},
		{"legacy_manual_token_uses_total", "Uses of tokens in Secrets that somebody made.", &uses.Manual},
		{"legacy_auto_token_uses_total", "Uses of tokens in Secrets that were made for an account unasked.", &uses.Auto},
		{"invalid_legacy_auto_token_uses_total", "Uses of tokens in Secrets that are marked invalid.", &uses.Invalid},
		{"valid_tokens_total", "Uses of mounted tokens within the life that was asked for.", &uses.Valid},
		{"stale_tokens_total", "Uses of mounted tokens after the life that was asked for.", &uses.Stale},
	} {
		all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "serviceaccount_" + m.name, Help: m.help},
			func() float64 { return float64(m.count.Load()) }))
	}
	return all
}
