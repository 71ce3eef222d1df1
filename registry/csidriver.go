package registry

import (
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// csiDriver says how kubelets and controllers have to treat the volumes of a CSI driver.
func csiDriver() *Resource {
	about := func(name string) string { return doc(storagev1.CSIDriverSpec{}, name) }
	boolean := func(name, about string) metav1.TableColumnDefinition {
		return metav1.TableColumnDefinition{Name: name, Type: "boolean", Description: about}
	}
	return Kind[*storagev1.CSIDriver]{
		Resource: Resource{
			Group: "storage.k8s.io", Plural: "csidrivers", Singular: "csidriver", Kind: "CSIDriver",
			Prefix: "csidrivers", Versions: []Version{{Name: "v1"}},
			DeleteReturnsObject: true, RequireRevision: true, ValidateName: apivalidation.NameIsDNSSubdomain,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				boolean("AttachRequired", about("attachRequired")),
				boolean("PodInfoOnMount", about("podInfoOnMount")),
				boolean("StorageCapacity", about("storageCapacity")),
				textColumn("TokenRequests", about("tokenRequests")),
				boolean("RequiresRepublish", about("requiresRepublish")),
				textColumn("Modes", about("volumeLifecycleModes")),
				ageColumn(),
			},
		},
		Default:  defaultCSIDriver,
		Prepare:  prepareCSIDriver,
		Validate: validateCSIDriver,
		Warn:     warnCSIDriver,
		Cells:    csiDriverCells,
	}.row()
}

func defaultCSIDriver(d *storagev1.CSIDriver) {
	s := &d.Spec
	fillPointer(&s.AttachRequired, true)
	fillPointer(&s.PodInfoOnMount, false)
	fillPointer(&s.StorageCapacity, false)
	fillPointer(&s.RequiresRepublish, false)
	fillPointer(&s.SELinuxMount, false)
	fillPointer(&s.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	if len(s.VolumeLifecycleModes) == 0 {
		s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	}
}

// prepareCSIDriver drops what 1.36 has not switched on, unless it is stored already. A new object's generation is
// left alone: only a change of the spec counts.
func prepareCSIDriver(_ *Write, d, old *storagev1.CSIDriver) {
	if old == nil || old.Spec.PreventPodSchedulingIfMissing == nil {
		d.Spec.PreventPodSchedulingIfMissing = nil
	}
	if old != nil && !equal(d.Spec, old.Spec) {
		d.Generation = old.Generation + 1
	}
}

func validateCSIDriver(_ *Write, d, old *storagev1.CSIDriver) field.ErrorList {
	path := field.NewPath("spec")
	errs := validateCSIDriverSpec(&d.Spec, path)
	if old == nil {
		return errs
	}
	errs = append(errs, apivalidation.ValidateImmutableField(d.Spec.AttachRequired, old.Spec.AttachRequired, path.Child("attachedRequired"))...)
	return append(errs, apivalidation.ValidateImmutableField(d.Spec.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes, path.Child("volumeLifecycleModes"))...)
}

func validateCSIDriverSpec(s *storagev1.CSIDriverSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	required := func(set bool, name string) {
		if !set {
			errs = append(errs, field.Required(path.Child(name), ""))
		}
	}
	required(s.AttachRequired != nil, "attachedRequired")
	required(s.PodInfoOnMount != nil, "podInfoOnMount")
	required(s.StorageCapacity != nil, "storageCapacity")
	required(s.SELinuxMount != nil, "seLinuxMount")
	if p := s.FSGroupPolicy; p != nil {
		switch *p {
		case storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy, storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy:
		default:
			errs = append(errs, field.NotSupported(path.Child("fsGroupPolicy"), p, []storagev1.FSGroupPolicy{
				storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy}))
		}
	}
	errs = append(errs, validateCSITokenRequests(s.TokenRequests, path.Child("tokenRequests"))...)
	for _, mode := range s.VolumeLifecycleModes {
		if mode != storagev1.VolumeLifecyclePersistent && mode != storagev1.VolumeLifecycleEphemeral {
			errs = append(errs, field.NotSupported(path.Child("volumeLifecycleModes"), mode,
				[]storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral}))
		}
	}
	if p := s.NodeAllocatableUpdatePeriodSeconds; p != nil && *p < 10 {
		errs = append(errs, field.Invalid(path.Child("nodeAllocatableUpdatePeriodSeconds"), *p, "must be greater than or equal to 10 seconds"))
	}
	if s.ServiceAccountTokenInSecrets != nil && len(s.TokenRequests) == 0 {
		errs = append(errs, field.Invalid(path.Child("serviceAccountTokenInSecrets"), s.ServiceAccountTokenInSecrets,
			"serviceAccountTokenInSecrets is set but no tokenRequests are specified"))
	}
	return errs
}

// validateCSITokenRequests allows one token an audience, with a sensible life.
func validateCSITokenRequests(requests []storagev1.TokenRequest, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, r := range requests {
		at := path.Index(i)
		if seen[r.Audience] {
			errs = append(errs, field.Duplicate(at.Child("audience"), r.Audience))
			continue
		}
		seen[r.Audience] = true
		if r.ExpirationSeconds != nil {
			errs = append(errs, validateTokenLife(*r.ExpirationSeconds, at.Child("expirationSeconds"))...)
		}
	}
	return errs
}

// validateTokenLife bounds how long a service account token may be asked for.
func validateTokenLife(seconds int64, path *field.Path) field.ErrorList {
	switch {
	case seconds < 600:
		return field.ErrorList{field.Invalid(path, seconds, "may not specify a duration less than 10 minutes")}
	case seconds > 1<<32:
		return field.ErrorList{field.Invalid(path, seconds, "may not specify a duration larger than 2^32 seconds")}
	}
	return nil
}

// warnCSIDriver recommends the field that keeps tokens out of logs, to whoever asks for (other) tokens now.
func warnCSIDriver(_ *Write, d, old *storagev1.CSIDriver) []string {
	asked := old == nil || !equal(old.Spec.TokenRequests, d.Spec.TokenRequests)
	if !asked || len(d.Spec.TokenRequests) == 0 || d.Spec.ServiceAccountTokenInSecrets != nil {
		return nil
	}
	return []string{"spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes"}
}

func csiDriverCells(d *storagev1.CSIDriver) []any {
	is := func(p *bool, unset bool) bool {
		if p == nil {
			return unset
		}
		return *p
	}
	var modes, audiences []string
	for _, m := range d.Spec.VolumeLifecycleModes {
		modes = append(modes, string(m))
	}
	for _, r := range d.Spec.TokenRequests {
		audiences = append(audiences, r.Audience)
	}
	life, tokens := strings.Join(modes, ","), strings.Join(audiences, ",")
	if life == "" {
		life = "<none>"
	}
	if d.Spec.TokenRequests == nil {
		tokens = "<unset>"
	}
	s := d.Spec
	return []any{d.Name, is(s.AttachRequired, true), is(s.PodInfoOnMount, false), is(s.StorageCapacity, false),
		tokens, is(s.RequiresRepublish, false), life, Age{At: d.CreationTimestamp}}
}
