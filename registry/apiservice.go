package registry

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/knarr-dev/knarr/registry/store"
)

// apiService says who serves a group's version: this server, or another one behind a Service.
func apiService() *Resource {
	return Kind[*apiregistrationv1.APIService]{
		Resource: Resource{
			Group: apiregistrationv1.GroupName, Plural: "apiservices", Singular: "apiservice", Kind: "APIService", Categories: []string{"api-extensions"},
			Prefix: apiregistrationv1.GroupName + "/apiservices", Versions: []Version{{Name: "v1"}}, StoredJSON: true,
			RequireRevision: true, UpdateMeta: NoRules, PlainFinalizers: true, Reset: []string{"status"},
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("Service", "The reference to the service that hosts this API endpoint."),
				textColumn("Available", "Whether this service is available."),
				ageColumn(),
			},
		},
		Default: func(a *apiregistrationv1.APIService) {
			if a.Spec.Service != nil {
				fillPointer(&a.Spec.Service.Port, 443)
			}
		},
		Prepare: func(w *Write, a, old *apiregistrationv1.APIService) {
			if old != nil {
				a.Status = old.Status
				return
			}
			a.Status = apiregistrationv1.APIServiceStatus{}
			if a.Spec.Service == nil {
				a.Status.Conditions = []apiregistrationv1.APIServiceCondition{{
					Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue, LastTransitionTime: metav1.NewTime(w.Now),
					Reason: "Local", Message: "Local APIServices are always available",
				}}
			}
		},
		Validate: validateAPIService,
		Cells:    apiServiceCells,
		Status: &Door[*apiregistrationv1.APIService]{
			Reset: []string{"spec", "metadata"},
			Prepare: func(_ *Write, a, old *apiregistrationv1.APIService) {
				a.Spec = old.Spec
				a.Labels, a.Annotations, a.Finalizers, a.OwnerReferences = old.Labels, old.Annotations, old.Finalizers, old.OwnerReferences
			},
			Validate: func(_ *Write, a, _ *apiregistrationv1.APIService) field.ErrorList {
				var errs field.ErrorList
				for i, c := range a.Status.Conditions {
					errs = append(errs, validateChoice(c.Status, field.NewPath("status", "conditions").Index(i).Child("status"),
						apiregistrationv1.ConditionTrue, apiregistrationv1.ConditionFalse, apiregistrationv1.ConditionUnknown)...)
				}
				return errs
			},
		},
	}.row()
}

func apiServiceCells(a *apiregistrationv1.APIService) []any {
	service, available := "Local", "Unknown"
	if s := a.Spec.Service; s != nil {
		service = s.Namespace + "/" + s.Name
	}
	for _, c := range a.Status.Conditions {
		if c.Type != apiregistrationv1.Available {
			continue
		}
		available = string(c.Status)
		if c.Status != apiregistrationv1.ConditionTrue && c.Reason != "" {
			available += " (" + c.Reason + ")"
		}
		break
	}
	return []any{a.Name, service, available, Age{At: a.CreationTimestamp}}
}

func validateAPIService(_ *Write, a, old *apiregistrationv1.APIService) field.ErrorList {
	at, s := field.NewPath("spec"), &a.Spec
	name := s.Version + "." + s.Group
	errs := apivalidation.ValidateObjectMeta(&a.ObjectMeta, false, func(given string, _ bool) []string {
		if msgs := path.IsValidPathSegmentName(given); len(msgs) > 0 || given == name {
			return msgs
		}
		return []string{fmt.Sprintf("must be `spec.version+\".\"+spec.group`: %q", name)}
	}, field.NewPath("metadata"))
	if old != nil {
		errs = append(errs, apivalidation.ValidateObjectMetaUpdate(&a.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))...)
	}
	switch {
	case s.Group != "":
		errs = append(errs, invalidValue(at.Child("group"), s.Group, validation.IsDNS1123Subdomain(s.Group))...)
	case s.Version != "v1":
		errs = append(errs, field.Required(at.Child("group"), "only v1 may have an empty group and it better be legacy kube"))
	}
	errs = append(errs, invalidValue(at.Child("version"), s.Version, validation.IsDNS1035Label(s.Version))...)
	if p := s.GroupPriorityMinimum; p <= 0 || p > 20000 {
		errs = append(errs, field.Invalid(at.Child("groupPriorityMinimum"), p, "must be positive and less than 20000"))
	}
	if p := s.VersionPriority; p <= 0 || p > 1000 {
		errs = append(errs, field.Invalid(at.Child("versionPriority"), p, "must be positive and less than 1000"))
	}
	return append(errs, validateAPIServiceBackend(s, at)...)
}

// validateAPIServiceBackend is about the other server; this one needs neither CA nor leniency.
func validateAPIServiceBackend(s *apiregistrationv1.APIServiceSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	insecure := at.Child("insecureSkipTLSVerify")
	if s.Service == nil {
		if n := len(s.CABundle); n > 0 {
			errs = append(errs, field.Invalid(at.Child("caBundle"), fmt.Sprintf("%d bytes", n), "local APIServices may not have a caBundle"))
		}
		if s.InsecureSkipTLSVerify {
			errs = append(errs, field.Invalid(insecure, true, "local APIServices may not have insecureSkipTLSVerify"))
		}
		return errs
	}
	errs = append(errs, validateRequired(s.Service.Namespace, at.Child("service", "namespace"))...)
	errs = append(errs, validateRequired(s.Service.Name, at.Child("service", "name"))...)
	port := int32(0)
	if s.Service.Port != nil {
		port = *s.Service.Port
	}
	if msgs := validation.IsValidPortNum(int(port)); msgs != nil {
		errs = append(errs, field.Invalid(at.Child("service", "port"), port, "port is not valid: "+strings.Join(msgs, ", ")))
	}
	if s.InsecureSkipTLSVerify && len(s.CABundle) > 0 {
		errs = append(errs, field.Invalid(insecure, true, "may not be true if caBundle is present"))
	}
	return errs
}

// managedAPIService labels the APIServices that the server makes for its own groups when it starts.
const managedAPIService = "kube-aggregator.kubernetes.io/automanaged"

// EnsureAPIServices makes the APIService of every group's version that this server serves, save of the group of
// APIServices itself, and puts right what others made of those that are still labelled as its own.
func (r *Registry) EnsureAPIServices(ctx context.Context) error {
	row := r.Resource(apiregistrationv1.GroupName, "apiservices")
	if row == nil {
		return nil
	}
	for _, gv := range r.servedVersions() {
		place, ok := BuiltinPriority(gv)
		if !ok || gv.Group == apiregistrationv1.GroupName {
			continue
		}
		spec := apiregistrationv1.APIServiceSpec{Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: place.Group, VersionPriority: place.Version}
		if err := r.ensureAPIService(ctx, row, spec); err != nil {
			return fmt.Errorf("APIService of %s: %w", gv, err)
		}
	}
	return nil
}

func (r *Registry) ensureAPIService(ctx context.Context, row *Resource, spec apiregistrationv1.APIServiceSpec) error {
	a := row.New().(*apiregistrationv1.APIService)
	a.Name, a.Spec, a.Labels = spec.Version+"."+spec.Group, spec, map[string]string{managedAPIService: "onstart"}
	_, err := r.Create(ctx, row, a)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	_, err = r.Update(ctx, row, "", store.Key{Name: a.Name}, func(o Object) error {
		if have := o.(*apiregistrationv1.APIService); have.Labels[managedAPIService] != "" {
			have.Spec = spec
		}
		return nil
	})
	return err
}

// servedVersions are all groups' versions that the table has rows for.
func (r *Registry) servedVersions() []schema.GroupVersion {
	var list []schema.GroupVersion
	seen := map[schema.GroupVersion]bool{}
	for _, row := range r.Rows() {
		for _, v := range row.Versions {
			if gv := (schema.GroupVersion{Group: row.Group, Version: v.Name}); !seen[gv] {
				seen[gv] = true
				list = append(list, gv)
			}
		}
	}
	return list
}
