package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// userToken is that of a user who has one of the load's many role bindings.
const (
	userToken = "bench-user-token"
	userName  = "bench-user"
)

// decisions measures what it costs to decide who may do what, in a namespace with many role bindings: GETs of a user who
// has one of them, and access reviews about the users of all.
func (l *load) decisions(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(l.config)
	if err != nil {
		return err
	}
	api := client.RbacV1()
	role := rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "bench-reader"},
		Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"configmaps"}}}}
	if _, err := api.ClusterRoles().Create(ctx, &role, metav1.CreateOptions{}); err != nil {
		return err
	}
	read := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "read"}}
	if _, err := client.CoreV1().ConfigMaps(namespace).Create(ctx, read, metav1.CreateOptions{}); err != nil {
		return err
	}
	each(ctx, l.bindings, l.writers, func(_, i int) {
		_, err := api.RoleBindings(namespace).Create(ctx, binding(i, l.bindings), metav1.CreateOptions{})
		l.fail(err)
	})
	if err := l.write(ctx, "get, RBAC, 10,000 role bindings", l.reads*l.sizes.pods, func(i int) request {
		return request{method: "GET", path: "/api/v1/namespaces/" + namespace + "/configmaps/read", token: userToken}
	}); err != nil {
		return err
	}
	if err := l.write(ctx, "access review", l.sizes.pods, func(i int) request {
		return request{method: "POST", path: "/apis/authorization.k8s.io/v1/subjectaccessreviews", contentType: "application/json",
			body: fmt.Appendf(nil, `{"spec":{"user":"user-%d","resourceAttributes":{"verb":"get","resource":"configmaps","namespace":%q}}}`, i%l.bindings, namespace)}
	}); err != nil {
		return err
	}
	if err := l.failures(); err != nil {
		return err
	}
	return api.RoleBindings(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
}

// binding gives a role to a user of its own; the last is for the user whose GETs are measured.
func binding(i, n int) *rbacv1.RoleBinding {
	name := fmt.Sprintf("user-%d", i)
	if i == n-1 {
		name = userName
	}
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "bench-reader"},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}}}
}
