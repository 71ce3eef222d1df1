package registry

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	rbacv1beta1 "k8s.io/api/rbac/v1beta1" // its wording stands in the tables
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// roleBinding gives a role to subjects within its namespace; which role, never changes.
func roleBinding() *Resource {
	return Kind[*rbacv1.RoleBinding]{
		Resource: Resource{
			Group: rbacv1.GroupName, Plural: "rolebindings", Singular: "rolebinding", Kind: "RoleBinding",
			Namespaced: true, Prefix: "rolebindings", Governs: true, Versions: []Version{{Name: "v1"}}, CreateOnUpdate: true,
			ValidateName: validateRBACName, UpdateMeta: UpdateAndCreateRules,
			Columns: roleBindingColumns(doc(rbacv1beta1.RoleBinding{}, "roleRef"), "roleBinding"),
		},
		Default: func(b *rbacv1.RoleBinding) { defaultRoleBinding(&b.RoleRef, b.Subjects) },
		Permit:  permitRoleBinding,
		Validate: func(_ *Write, b, old *rbacv1.RoleBinding) field.ErrorList {
			errs := validateRoleRef(b.RoleRef, "Role", "ClusterRole")
			errs = append(errs, validateRoleSubjects(b.Subjects, true)...)
			if old != nil && b.RoleRef != old.RoleRef {
				errs = append(errs, field.Invalid(field.NewPath("roleRef"), b.RoleRef, "cannot change roleRef"))
			}
			return errs
		},
		Cells: func(b *rbacv1.RoleBinding) []any {
			return roleBindingCells(b.Name, b.CreationTimestamp, b.RoleRef, b.Subjects)
		},
	}.row()
}

// clusterRoleBinding gives a ClusterRole to subjects in all namespaces.
func clusterRoleBinding() *Resource {
	return Kind[*rbacv1.ClusterRoleBinding]{
		Resource: Resource{
			Group: rbacv1.GroupName, Plural: "clusterrolebindings", Singular: "clusterrolebinding", Kind: "ClusterRoleBinding",
			Prefix: "clusterrolebindings", Governs: true, Versions: []Version{{Name: "v1"}}, CreateOnUpdate: true,
			ValidateName: validateRBACName, UpdateMeta: UpdateAndCreateRules,
			Columns: roleBindingColumns(doc(rbacv1beta1.ClusterRoleBinding{}, "roleRef"), "clusterRoleBinding"),
		},
		Default: func(b *rbacv1.ClusterRoleBinding) { defaultRoleBinding(&b.RoleRef, b.Subjects) },
		Permit:  permitClusterRoleBinding,
		Validate: func(_ *Write, b, old *rbacv1.ClusterRoleBinding) field.ErrorList {
			errs := validateRoleRef(b.RoleRef, "ClusterRole")
			errs = append(errs, validateRoleSubjects(b.Subjects, false)...)
			if old != nil && b.RoleRef != old.RoleRef {
				errs = append(errs, field.Invalid(field.NewPath("roleRef"), b.RoleRef, "cannot change roleRef"))
			}
			return errs
		},
		Cells: func(b *rbacv1.ClusterRoleBinding) []any {
			return roleBindingCells(b.Name, b.CreationTimestamp, b.RoleRef, b.Subjects)
		},
	}.row()
}

// defaultRoleBinding puts roles, users and groups into RBAC's own group; service accounts have none.
func defaultRoleBinding(ref *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	fill(&ref.APIGroup, rbacv1.GroupName)
	for i := range subjects {
		if s := &subjects[i]; s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind {
			fill(&s.APIGroup, rbacv1.GroupName)
		}
	}
}

func validateRoleRef(ref rbacv1.RoleRef, kinds ...string) field.ErrorList {
	path := field.NewPath("roleRef")
	errs := validateChoice(ref.APIGroup, path.Child("apiGroup"), rbacv1.GroupName)
	errs = append(errs, validateChoice(ref.Kind, path.Child("kind"), kinds...)...)
	if ref.Name == "" {
		return append(errs, field.Required(path.Child("name"), ""))
	}
	return append(errs, invalidValue(path.Child("name"), ref.Name, validateRBACName(ref.Name, false))...)
}

func validateRoleSubjects(subjects []rbacv1.Subject, namespaced bool) field.ErrorList {
	var errs field.ErrorList
	for i, s := range subjects {
		errs = append(errs, validateRoleSubject(s, namespaced, field.NewPath("subjects").Index(i))...)
	}
	return errs
}

// validateRoleSubject wants a name, and what else the kind of subject needs. In a RoleBinding a service account's
// namespace may be left out.
func validateRoleSubject(s rbacv1.Subject, namespaced bool, path *field.Path) field.ErrorList {
	errs := validateRequired(s.Name, path.Child("name"))
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		if s.Name != "" {
			errs = append(errs, invalidValue(path.Child("name"), s.Name, apivalidation.ValidateServiceAccountName(s.Name, false))...)
		}
		errs = append(errs, validateChoice(s.APIGroup, path.Child("apiGroup"), "")...)
		if !namespaced && s.Namespace == "" {
			errs = append(errs, field.Required(path.Child("namespace"), ""))
		}
	case rbacv1.UserKind, rbacv1.GroupKind:
		errs = append(errs, validateChoice(s.APIGroup, path.Child("apiGroup"), rbacv1.GroupName)...)
	default:
		errs = append(errs, field.NotSupported(path.Child("kind"), s.Kind,
			[]string{rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind}))
	}
	return errs
}

func roleBindingColumns(roleRef, kind string) []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		nameColumn(),
		textColumn("Role", roleRef),
		ageColumn(),
		wideColumn("Users", "Users in the "+kind),
		wideColumn("Groups", "Groups in the "+kind),
		wideColumn("ServiceAccounts", "ServiceAccounts in the "+kind),
	}
}

func roleBindingCells(name string, created metav1.Time, ref rbacv1.RoleRef, subjects []rbacv1.Subject) []any {
	var users, groups, accounts []string
	for _, s := range subjects {
		switch s.Kind {
		case rbacv1.UserKind:
			users = append(users, s.Name)
		case rbacv1.GroupKind:
			groups = append(groups, s.Name)
		case rbacv1.ServiceAccountKind:
			accounts = append(accounts, s.Namespace+"/"+s.Name)
		}
	}
	return []any{name, ref.Kind + "/" + ref.Name, Age{At: created},
		strings.Join(users, ", "), strings.Join(groups, ", "), strings.Join(accounts, ", ")}
}
