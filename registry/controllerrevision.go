package registry

import (
	"encoding/json"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// controllerRevision is what a StatefulSet or DaemonSet once looked like; its data never changes.
func controllerRevision() *Resource {
	return Kind[*appsv1.ControllerRevision]{
		Resource: Resource{
			Group: "apps", Plural: "controllerrevisions", Singular: "controllerrevision", Kind: "ControllerRevision",
			Namespaced: true, Prefix: "controllerrevisions", Versions: []Version{{Name: "v1"}},
			ValidateName: apivalidation.NameIsDNSSubdomain, UpdateMeta: UpdateAndCreateRules,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("Controller", "Controller of the object"),
				textColumn("Revision", doc(appsv1.ControllerRevision{}, "revision")),
				ageColumn(),
			},
		},
		Validate: validateControllerRevision,
		Cells: func(r *appsv1.ControllerRevision) []any {
			return []any{r.Name, controllerCell(r), r.Revision, Age{At: r.CreationTimestamp}}
		},
	}.row()
}

func validateControllerRevision(_ *Write, r, old *appsv1.ControllerRevision) field.ErrorList {
	errs := validateNonnegative(r.Revision, field.NewPath("revision"))
	if old == nil {
		return append(errs, validateRevisionData(r.Data.Raw, field.NewPath("data"))...)
	}
	return append(errs, apivalidation.ValidateImmutableField(r.Data, old.Data, field.NewPath("data"))...)
}

func validateRevisionData(raw []byte, path *field.Path) field.ErrorList {
	if raw == nil {
		return field.ErrorList{field.Required(path, "data is mandatory")}
	}
	var data any
	if err := json.Unmarshal(raw, &data); err != nil {
		return field.ErrorList{field.Invalid(path, "<value omitted>", fmt.Sprintf("error parsing data: %v", err))}
	}
	switch data.(type) {
	case nil:
		return field.ErrorList{field.Required(path, "data is mandatory")}
	case map[string]any:
		return nil
	}
	return field.ErrorList{field.Required(path, "data must be a valid JSON object")}
}

// controllerCell is the kind and name of the object's controller: "statefulset.apps/web".
func controllerCell(obj metav1.Object) string {
	ref := metav1.GetControllerOf(obj)
	if ref == nil {
		return "<none>"
	}
	gv, _ := schema.ParseGroupVersion(ref.APIVersion)
	kind := gv.WithKind(ref.Kind).GroupKind()
	if kind.Empty() {
		return ref.Name
	}
	return strings.ToLower(kind.String()) + "/" + ref.Name
}
