package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcequotav1 "k8s.io/apiserver/pkg/admission/plugin/resourcequota/apis/resourcequota/v1"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/registry"
)

// quotaConfigs are the forms of the file that names what cannot be used without a quota.
func quotaConfigs() []auth.ConfigKind[resourcequotav1.Configuration] {
	validate := func(c *resourcequotav1.Configuration) (errs field.ErrorList) {
		for i, l := range c.LimitedResources {
			if l.Resource == "" {
				errs = append(errs, field.Required(field.NewPath("limitedResources").Index(i).Child("resource"), ""))
			}
		}
		return errs
	}
	return []auth.ConfigKind[resourcequotav1.Configuration]{
		{Kind: "ResourceQuotaConfiguration", Versions: []string{"apiserver.config.k8s.io/v1"}, Validate: validate},
		{Kind: "Configuration", Versions: []string{"resourcequota.admission.k8s.io/v1beta1", "resourcequota.admission.k8s.io/v1alpha1"}, Validate: validate},
	}
}

// resourceQuota lets nothing be made that a quota of the namespace has no room for, and charges the quota for what is.
//
// What is used stands in the quota's status. A write that uses more is assessed against all quotas of its namespace
// (assess); if it fits, its charges are written to their status, under a comparison of revisions, before the write
// itself goes on: so of any number of writers, at any number of servers, only those get through for whom there is room.
// Writes of one namespace that come while a status is being written wait, and are charged together (quota_ledger.go).
//
// A create that is tried again because its generated name is taken is charged once. Otherwise a charge is never given
// back here: of a write that fails after it, of one that is deleted, or that uses less than before, the controller learns
// that counts what there is.
func resourceQuota(h Host) (Plugin, error) {
	config, err := configure(h, quotaConfigs()...)
	if err != nil {
		return Plugin{}, err
	}
	q := &quotas{objects: h.Objects, meters: meters(h.Objects, h.Now), limited: config.LimitedResources}
	ledger := ledger{quotas: q, change: h.ChangeQuota}
	return Plugin{
		Operations: []Operation{Create, Update},
		Validate: func(ctx context.Context, a *Attributes) error {
			m := q.meterOf(a)
			if m == nil || !m.counts(a) || a.charged {
				return nil
			}
			all, err := q.of(ctx, a.Namespace)
			if err != nil || len(all) == 0 && len(q.limited) == 0 {
				return err
			}
			w := q.measure(ctx, a, m)
			charges, err := q.assess(ctx, w, all)
			if err != nil || a.DryRun || isFree(charges) {
				return err
			}
			err = ledger.charge(ctx, w)
			a.charged = err == nil && a.Operation == Create
			return err
		},
	}, nil
}

// quotas knows the rules: what is measured of which resource, and what needs a quota to be used at all.
type quotas struct {
	objects Objects
	meters  map[schema.GroupResource]*meter
	limited []resourcequotav1.LimitedResource
}

// meterOf is how the resource of a write is measured; nil if it is not.
func (q *quotas) meterOf(a *Attributes) *meter {
	of := a.Resource.GroupResource()
	if a.Namespace == "" {
		return nil
	}
	m, known := q.meters[of]
	if !known && a.Operation == Create && a.Subresource == "" {
		return objectMeter(countName(of))
	}
	return m
}

// of are the quotas of a namespace, by name. They are shared and not changed.
func (q *quotas) of(ctx context.Context, namespace string) ([]*corev1.ResourceQuota, error) {
	found, err := q.objects.List(ctx, "", "resourcequotas", namespace)
	if err != nil {
		return nil, err
	}
	all := make([]*corev1.ResourceQuota, len(found))
	for i, o := range found {
		all[i] = o.(*corev1.ResourceQuota)
	}
	return all, nil
}

// measured is a write with what it uses.
type measured struct {
	*Attributes
	meter *meter
	usage corev1.ResourceList // of the object
	more  corev1.ResourceList // than that of the object it replaces
}

func (q *quotas) measure(ctx context.Context, a *Attributes, m *meter) *measured {
	w := &measured{Attributes: a, meter: m, usage: m.usage(ctx, a.Object)}
	w.more = withoutZeros(w.usage)
	if a.Operation == Update {
		w.more = growth(w.usage, m.usage(ctx, a.Old))
	}
	return w
}

// assess returns what a write adds to each quota's status.used, nothing where a quota has no say; an error if one has
// and there is no room, or if a quota is needed and there is none.
func (q *quotas) assess(ctx context.Context, w *measured, all []*corev1.ResourceQuota) ([]corev1.ResourceList, error) {
	charges := make([]corev1.ResourceList, len(all))
	covered := map[corev1.ResourceName]bool{}
	var scopes []corev1.ScopedResourceSelectorRequirement
	var interested, charged bool
	for i, quota := range all {
		in, err := w.matching(quotaScopes(quota))
		if err != nil {
			return nil, fmt.Errorf("error matching scopes of quota %s, err: %w", quota.Name, err)
		}
		scopes = append(scopes, in...)
		bounded, err := w.bounded(ctx, quota, w.Object)
		if err != nil {
			return nil, err
		}
		if bounded == nil {
			continue
		}
		interested = true
		for _, name := range bounded {
			covered[name] = true
		}
		if charges[i], err = w.chargeOn(ctx, quota, bounded); err != nil {
			return nil, err
		}
		charged = charged || charges[i] != nil
	}
	if negative := negatives(w.usage); negative != nil {
		return nil, w.forbid("quota usage is negative for resource(s): %s", namesText(negative))
	}
	if interested && !charged || !interested && len(w.more) == 0 {
		return charges, nil
	}
	if err := q.needsQuota(w, covered, scopes); err != nil {
		return nil, err
	}
	for i, quota := range all {
		charge, err := w.fit(quota, charges[i])
		if err != nil {
			return nil, err
		}
		charges[i] = charge
	}
	return charges, nil
}

// assessOne is assess where nothing but the room in one quota is in question.
func (w *measured) assessOne(ctx context.Context, quota *corev1.ResourceQuota) (corev1.ResourceList, error) {
	bounded, err := w.bounded(ctx, quota, w.Object)
	if err != nil || bounded == nil {
		return nil, err
	}
	charge, err := w.chargeOn(ctx, quota, bounded)
	if err != nil {
		return nil, err
	}
	return w.fit(quota, charge)
}

// matching are the scopes that the object is in.
func (w *measured) matching(scopes []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	var in []corev1.ScopedResourceSelectorRequirement
	if w.meter.inScope == nil {
		return nil, nil
	}
	for _, scope := range scopes {
		match, err := w.meter.inScope(scope, w.Object)
		if err != nil {
			return nil, fmt.Errorf("error on matching scope %v: %w", scope, err)
		}
		if match {
			in = append(in, scope)
		}
	}
	return in, nil
}

// quotaScopes are a quota's scopes in one form.
func quotaScopes(quota *corev1.ResourceQuota) []corev1.ScopedResourceSelectorRequirement {
	var scopes []corev1.ScopedResourceSelectorRequirement
	for _, name := range quota.Spec.Scopes {
		scopes = append(scopes, corev1.ScopedResourceSelectorRequirement{ScopeName: name, Operator: corev1.ScopeSelectorOpExists})
	}
	if s := quota.Spec.ScopeSelector; s != nil {
		scopes = append(scopes, s.MatchExpressions...)
	}
	return scopes
}

// bounded are the names under which a quota bounds what the object uses; none if the quota is about other resources,
// or has a scope that the object is not in.
func (w *measured) bounded(ctx context.Context, quota *corev1.ResourceQuota, obj registry.Object) ([]corev1.ResourceName, error) {
	for _, scope := range quotaScopes(quota) {
		if w.meter.inScope == nil {
			return nil, nil
		}
		if in, err := w.meter.inScope(scope, obj); err != nil || !in {
			return nil, err
		}
	}
	var names []corev1.ResourceName
	for _, name := range sortedNames(quota.Status.Hard) {
		if w.meter.names(ctx, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// chargeOn is what a quota that bounds these names is charged with: all that the object uses, or what it uses more than
// before if it was in the quota's scope before; nil for nothing.
func (w *measured) chargeOn(ctx context.Context, quota *corev1.ResourceQuota, bounded []corev1.ResourceName) (corev1.ResourceList, error) {
	if w.meter.incomplete != nil {
		if err := w.meter.incomplete(bounded, w.Object); err != nil {
			return nil, w.forbid("failed quota: %s: %w", quota.Name, err)
		}
	}
	for _, name := range bounded {
		if _, counted := quota.Status.Used[name]; !counted {
			return nil, w.forbid("status unknown for quota: %s, resources: %s", quota.Name, namesText(bounded))
		}
	}
	charge := withoutZeros(w.usage)
	if w.Operation == Update {
		before, err := w.bounded(ctx, quota, w.Old)
		if err != nil {
			return nil, err
		}
		if before != nil {
			charge = w.more
		}
	}
	if len(charge) == 0 {
		return nil, nil
	}
	return charge, nil
}

func negatives(usage corev1.ResourceList) []corev1.ResourceName {
	var names []corev1.ResourceName
	for name, q := range usage {
		if q.Sign() < 0 {
			names = append(names, name)
		}
	}
	return names
}

// needsQuota refuses the use of what the configuration limits where no quota bounds it, or no quota has the scope.
func (q *quotas) needsQuota(w *measured, covered map[corev1.ResourceName]bool, scopes []corev1.ScopedResourceSelectorRequirement) error {
	var uncovered []corev1.ResourceName
	var limited []corev1.ScopedResourceSelectorRequirement
	for _, l := range q.limited {
		in, err := w.matching(l.MatchScopes)
		if err != nil {
			return nil // a scope that cannot be matched limits nothing
		}
		limited = append(limited, in...)
		if l.APIGroup != w.Resource.Group || l.Resource != w.Resource.Resource {
			continue
		}
		for name, used := range w.usage {
			if used.Sign() > 0 && !covered[name] && containsAny(string(name), l.MatchContains) {
				uncovered = append(uncovered, name)
			}
		}
	}
	if len(uncovered) > 0 {
		slices.Sort(uncovered)
		return w.forbid("insufficient quota to consume: %s", namesText(slices.Compact(uncovered)))
	}
	limited = slices.DeleteFunc(limited, func(l corev1.ScopedResourceSelectorRequirement) bool {
		return slices.ContainsFunc(scopes, func(s corev1.ScopedResourceSelectorRequirement) bool { return s.ScopeName == l.ScopeName })
	})
	if len(limited) > 0 {
		return fmt.Errorf("insufficient quota to match these scopes: %v", limited)
	}
	return nil
}

func containsAny(name string, parts []string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(name, part) })
}

// fit is the part of a charge that a quota bounds; an error if there is no room for it. What a status says has come to
// pass, and is charged in any case.
func (w *measured) fit(quota *corev1.ResourceQuota, charge corev1.ResourceList) (corev1.ResourceList, error) {
	charge = only(charge, quota.Status.Hard)
	if w.Subresource == "status" {
		return charge, nil
	}
	total := sum(quota.Status.Used, charge)
	exceeded := corev1.ResourceList{}
	for name, q := range charge {
		if would := total[name]; would.Cmp(quota.Status.Hard[name]) > 0 {
			exceeded[name] = q
		}
	}
	if len(exceeded) > 0 {
		return nil, w.forbid("exceeded quota: %s, requested: %s, used: %s, limited: %s", quota.Name,
			listText(exceeded), listText(only(quota.Status.Used, exceeded)), listText(only(quota.Status.Hard, exceeded)))
	}
	return charge, nil
}

func isFree(charges []corev1.ResourceList) bool {
	return !slices.ContainsFunc(charges, func(c corev1.ResourceList) bool { return len(c) > 0 })
}
