package server

import (
	"io"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/registry"
)

// getObserved answers with one object of a resource that is observed, not stored.
func (c *call) getObserved() error {
	if err := c.negotiateForm(); err != nil {
		return err
	}
	for _, o := range c.row.Observe(c.ctx(), c.s.registry) {
		if o.GetName() == c.Name {
			return c.writeHub(http.StatusOK, o)
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{Group: c.row.Group, Resource: c.row.Singular}, c.Name)
}

// listObserved answers with all of them that the selectors want. There is no revision, and nothing to continue.
func (c *call) listObserved() error {
	if err := c.negotiateForm(); err != nil {
		return err
	}
	_, selection, err := c.collection(c.r.URL.Query())
	if err != nil {
		return err
	}
	var list []registry.Object
	for _, o := range c.row.Observe(c.ctx(), c.s.registry) {
		named := fields.Set{"metadata.name": o.GetName(), "metadata.namespace": o.GetNamespace()}
		if (selection.Labels == nil || selection.Labels.Matches(labels.Set(o.GetLabels()))) && (selection.Fields == nil || selection.Fields.Matches(named)) {
			list = append(list, o)
		}
	}
	if c.form.Shape == Table {
		return c.writeObservedTable(list)
	}
	typ := c.encoding().typ
	typ.Kind += "List"
	writeObject(c.w, c.r, http.StatusOK, c.form, typ, c.row.ListOf(list))
	return nil
}

func (c *call) writeObservedTable(list []registry.Object) error {
	t, err := c.newTableWriter()
	if err != nil {
		return err
	}
	body, err := t.table(metav1.ListMeta{}, func(out io.Writer) error {
		for i, o := range list {
			if i > 0 {
				io.WriteString(out, ",")
			}
			if err := t.writeRowOf(out, o); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	writeBody(c.w, c.r, http.StatusOK, c.form, body)
	return nil
}
