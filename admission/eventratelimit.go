package admission

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/lru"

	"github.com/knarr-dev/knarr/auth"
)

// eventLimitFile is the Configuration of eventratelimit.admission.k8s.io.
type eventLimitFile struct {
	metav1.TypeMeta `json:",inline"`
	Limits          []eventLimit `json:"limits"`
}

// eventLimit bounds how many events come from each source of a type.
type eventLimit struct {
	Type      string `json:"type"`
	QPS       int32  `json:"qps"` // events a second
	Burst     int32  `json:"burst"`
	CacheSize int32  `json:"cacheSize"` // sources that are remembered, those that came last
}

const rememberedSources = 4096 // where the configuration says nothing

// eventSources tell the sources of each type of limit apart.
func eventSources() map[string]func(*Attributes) string {
	return map[string]func(*Attributes) string{
		"Server":    func(*Attributes) string { return "" },
		"Namespace": func(a *Attributes) string { return a.Namespace },
		"User":      func(a *Attributes) string { return a.User.Name },
		"SourceAndObject": func(a *Attributes) string {
			e, ok := a.Object.(*corev1.Event)
			if !ok {
				return ""
			}
			of := e.InvolvedObject
			return strings.Join([]string{e.Source.Component, e.Source.Host, of.Kind, of.Namespace, of.Name, string(of.UID), of.APIVersion}, "")
		},
	}
}

func eventLimitConfig() auth.ConfigKind[eventLimitFile] {
	return auth.ConfigKind[eventLimitFile]{Kind: "Configuration", Versions: []string{"eventratelimit.admission.k8s.io/v1alpha1"},
		Validate: func(f *eventLimitFile) (errs field.ErrorList) {
			limits := field.NewPath("limits")
			if len(f.Limits) == 0 {
				errs = append(errs, field.Invalid(limits, f.Limits, "must not be empty"))
			}
			for i, l := range f.Limits {
				errs = append(errs, validateEventLimit(l, limits.Index(i))...)
			}
			return errs
		}}
}

func validateEventLimit(l eventLimit, at *field.Path) (errs field.ErrorList) {
	if eventSources()[l.Type] == nil {
		errs = append(errs, field.NotSupported(at.Child("type"), l.Type, []string{"Server", "Namespace", "User", "SourceAndObject"}))
	}
	if l.Burst <= 0 {
		errs = append(errs, field.Invalid(at.Child("burst"), l.Burst, "must be positive"))
	}
	if l.QPS <= 0 {
		errs = append(errs, field.Invalid(at.Child("qps"), l.QPS, "must be positive"))
	}
	if l.CacheSize < 0 && l.Type != "Server" {
		errs = append(errs, field.Invalid(at.Child("cacheSize"), l.CacheSize, "must not be negative"))
	}
	return errs
}

// eventRateLimit keeps a flood of events from drowning everything else: each source has a bucket of tokens, and who finds
// it empty is told to come again.
func eventRateLimit(h Host) (Plugin, error) {
	config, err := configure(h, eventLimitConfig())
	if err != nil {
		return Plugin{}, err
	}
	var all []*eventBuckets
	for _, l := range config.Limits {
		size := int(l.CacheSize)
		if size == 0 || l.Type == "Server" {
			size = rememberedSources
		}
		all = append(all, &eventBuckets{limit: l, source: eventSources()[l.Type], of: lru.New(size)})
	}
	return Plugin{Operations: []Operation{Create, Update}, Validate: func(_ context.Context, a *Attributes) error {
		if a.Kind.Group != "" || a.Kind.Kind != "Event" || a.DryRun {
			return nil
		}
		var errs []error
		for _, buckets := range all {
			errs = append(errs, buckets.take(a, h.Now()))
		}
		if err := utilerrors.NewAggregate(errs); err != nil {
			return apierrors.NewTooManyRequestsError(err.Error())
		}
		return nil
	}}, nil
}

// eventBuckets are the buckets of one limit, by source. One that is forgotten comes back full.
type eventBuckets struct {
	limit  eventLimit
	source func(*Attributes) string

	mu sync.Mutex
	of *lru.Cache // string to *rate.Limiter
}

func (b *eventBuckets) take(a *Attributes, now time.Time) error {
	key := b.source(a)
	if !b.bucket(key).AllowN(now, 1) {
		return fmt.Errorf("limit reached on type %v for key %v", b.limit.Type, key)
	}
	return nil
}

func (b *eventBuckets) bucket(key string) *rate.Limiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if found, ok := b.of.Get(key); ok {
		return found.(*rate.Limiter)
	}
	made := rate.NewLimiter(rate.Limit(b.limit.QPS), int(b.limit.Burst))
	b.of.Add(key, made)
	return made
}
