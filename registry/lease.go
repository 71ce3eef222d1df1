package registry

import (
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// lease is a claim to a name for a time: leader election and node heartbeats.
func lease() *Resource {
	return Kind[*coordinationv1.Lease]{
		Resource: Resource{
			Group: "coordination.k8s.io", Plural: "leases", Singular: "lease", Kind: "Lease",
			Namespaced: true, Prefix: "leases", Versions: []Version{{Name: "v1"}},
			CreateOnUpdate: true, RequireRevision: true, ValidateName: apivalidation.NameIsDNSSubdomain, PlainFinalizers: true,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("Holder", doc(coordinationv1.LeaseSpec{}, "holderIdentity")),
				ageColumn(),
			},
		},
		Prepare:  prepareLease,
		Validate: validateLease,
		Cells: func(l *coordinationv1.Lease) []any {
			holder := ""
			if id := l.Spec.HolderIdentity; id != nil {
				holder = *id
			}
			return []any{l.Name, holder, Age{At: l.CreationTimestamp}}
		},
	}.row()
}

// prepareLease drops the fields of coordinated leader election, which 1.36 has not switched on.
func prepareLease(_ *Write, l, old *coordinationv1.Lease) {
	if old == nil || old.Spec.Strategy == nil {
		l.Spec.Strategy = nil
	}
	if old == nil || old.Spec.PreferredHolder == nil {
		l.Spec.PreferredHolder = nil
	}
}

func validateLease(_ *Write, l, _ *coordinationv1.Lease) field.ErrorList {
	path := field.NewPath("spec")
	var errs field.ErrorList
	if p := l.Spec.LeaseDurationSeconds; p != nil && *p <= 0 {
		errs = append(errs, field.Invalid(path.Child("leaseDurationSeconds"), p, "must be greater than 0"))
	}
	if p := l.Spec.LeaseTransitions; p != nil && *p < 0 {
		errs = append(errs, field.Invalid(path.Child("leaseTransitions"), p, "must be greater than or equal to 0"))
	}
	if p := l.Spec.Strategy; p != nil {
		errs = append(errs, validateLeaseStrategy(*p, path.Child("strategy", "strategy"))...)
	}
	holder, strategy := l.Spec.PreferredHolder, l.Spec.Strategy
	if holder != nil && *holder != "" && (strategy == nil || *strategy == "") {
		errs = append(errs, field.Forbidden(path.Child("preferredHolder"), "may only be specified if `strategy` is defined"))
	}
	return errs
}

// validateLeaseStrategy wants Kubernetes' own strategy or the qualified name of another.
func validateLeaseStrategy(s coordinationv1.CoordinatedLeaseStrategy, path *field.Path) field.ErrorList {
	if s == coordinationv1.OldestEmulationVersion {
		return nil
	}
	if !strings.Contains(string(s), "/") {
		return field.ErrorList{field.NotSupported(path, s, []coordinationv1.CoordinatedLeaseStrategy{coordinationv1.OldestEmulationVersion})}
	}
	var errs field.ErrorList
	for _, msg := range validation.IsQualifiedName(string(s)) {
		errs = append(errs, field.Invalid(path, s, msg))
	}
	return errs
}
