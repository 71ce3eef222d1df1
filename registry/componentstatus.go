package registry

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/knarr-dev/knarr/registry/store"
)

// componentStatus shows whether the other parts of the control plane are well, if they run on the same machine. It is
// deprecated, and nothing of it is stored: the parts are asked when somebody asks.
func componentStatus() *Resource {
	return Kind[*corev1.ComponentStatus]{
		Resource: Resource{
			Plural: "componentstatuses", Singular: "componentstatus", Kind: "ComponentStatus", ShortNames: []string{"cs"},
			Verbs: []string{"get", "list"}, Versions: []Version{{Name: "v1", Warning: "v1 ComponentStatus is deprecated in v1.19+"}},
			Observe: observeComponents, ListOf: componentList,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("Status", "Status of the component conditions"),
				textColumn("Message", "Message of the component conditions"),
				textColumn("Error", "Error of the component conditions"),
			},
		},
		Cells: func(c *corev1.ComponentStatus) []any {
			for _, condition := range c.Conditions {
				if condition.Type != corev1.ComponentHealthy {
					continue
				}
				if condition.Status == corev1.ConditionTrue {
					return []any{c.Name, "Healthy", condition.Message, condition.Error}
				}
				return []any{c.Name, "Unhealthy", condition.Message, condition.Error}
			}
			return []any{c.Name, "Unknown", "", ""}
		},
	}.row()
}

func componentList(objects []Object) runtime.Object {
	list := &corev1.ComponentStatusList{TypeMeta: metav1.TypeMeta{Kind: "ComponentStatusList", APIVersion: "v1"}, Items: []corev1.ComponentStatus{}}
	for _, o := range objects {
		item := *o.(*corev1.ComponentStatus)
		item.TypeMeta = metav1.TypeMeta{}
		list.Items = append(list.Items, item)
	}
	return list
}

// defaultParts is where upstream's parts are.
func defaultParts() map[string]string {
	return map[string]string{
		"controller-manager": "https://127.0.0.1:10257/healthz",
		"scheduler":          "https://127.0.0.1:10259/healthz",
	}
}

// componentCheck asks one part; ok is false and err nil if the part says itself that it is not well.
type componentCheck func(ctx context.Context) (ok bool, message string, err error)

func observeComponents(ctx context.Context, r *Registry) []Object {
	checks := map[string]componentCheck{"etcd-0": r.etcdHealth}
	for name, url := range r.Parts {
		checks[name] = componentHealth(url)
	}
	names := sortedKeys(checks)
	list := make([]Object, len(names))
	row := r.Resource("", "componentstatuses")
	var asking sync.WaitGroup
	for i, name := range names {
		asking.Go(func() { list[i] = observeComponent(ctx, row, name, checks[name]) })
	}
	asking.Wait()
	return list
}

func observeComponent(ctx context.Context, row *Resource, name string, check componentCheck) Object {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	c := row.New().(*corev1.ComponentStatus)
	c.Name = name
	condition := corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionFalse}
	ok, message, err := check(ctx)
	condition.Message = message
	switch {
	case err != nil:
		condition.Status, condition.Error = corev1.ConditionUnknown, err.Error()
	case ok:
		condition.Status = corev1.ConditionTrue
	}
	c.Conditions = []corev1.ComponentCondition{condition}
	return c
}

// componentHealth asks a part's own health end point. Nobody vouches for the certificates of parts on this machine.
func componentHealth(url string) componentCheck {
	return func(ctx context.Context) (bool, string, error) {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return false, "", err
		}
		answer, err := (&http.Client{Transport: transport}).Do(request)
		if err != nil {
			return false, err.Error(), nil
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(io.LimitReader(answer.Body, 10<<10))
		if err != nil {
			return false, "", err
		}
		if !slices.Contains([]int{2, 3}, answer.StatusCode/100) {
			return false, fmt.Sprintf("HTTP probe failed with statuscode: %d", answer.StatusCode), nil
		}
		return true, strings.TrimSpace(string(body)), nil
	}
}

// etcdHealth reads something that etcd has to be asked for.
func (r *Registry) etcdHealth(ctx context.Context) (bool, string, error) {
	_, err := r.Store("", "namespaces").Get(ctx, store.Key{Name: metav1.NamespaceDefault}, "")
	if err != nil && !apierrors.IsNotFound(err) {
		return false, err.Error(), nil
	}
	return true, "ok", nil
}
