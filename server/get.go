package server

import (
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// get answers with one object, or with what a sub-resource shows of it.
func (c *call) get() error {
	// 1. How is the answer wanted?
	if err := c.negotiateForm(); err != nil {
		return err
	}
	o, err := readOptions(c.r.URL.Query(), metav1.Convert_url_Values_To_v1_GetOptions)
	if err != nil {
		return err
	}
	// 2. Read: as fresh as the resourceVersion asks for; without one, as fresh as etcd.
	entry, err := c.store().Get(c.ctx(), c.key(), o.ResourceVersion)
	if err != nil {
		return err
	}
	// 3. Write the bytes that the cache holds, or the object's scale.
	if c.sub != nil && c.sub.Scale != nil {
		obj, err := entry.Object()
		if err != nil {
			return err
		}
		return c.writeScale(http.StatusOK, obj)
	}
	return c.writeEntry(http.StatusOK, entry)
}

// negotiateForm settles the form of an answer that holds an object, or a list of them. What is only posted (a review, a
// binding) has no columns.
func (c *call) negotiateForm() (err error) {
	allowed := anyShape
	if c.row.Answer != nil || c.sub != nil && c.sub.Create != nil {
		allowed = noTable
	}
	c.form, err = negotiate(c.r, allowed)
	return err
}
