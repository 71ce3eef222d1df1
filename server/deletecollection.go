package server

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/knarr-dev/knarr/registry/store"
)

// deletecollection removes every object that a list would show, and answers with them as a list.
func (c *call) deletecollection() error {
	// 1. How is the answer wanted, what is to go, and how?
	if err := c.negotiateForm(); err != nil {
		return err
	}
	lo, selection, err := c.collection(c.r.URL.Query())
	if err != nil {
		return err
	}
	o, err := c.deleteOptions()
	if err != nil {
		return err
	}
	// 2. List, then remove one by one; what has gone in between does not matter.
	l, err := c.store().List(c.ctx(), store.ListOptions{Selection: selection, ResourceVersion: lo.ResourceVersion,
		Match: lo.ResourceVersionMatch, Limit: lo.Limit, Continue: lo.Continue})
	if err != nil {
		return err
	}
	for _, b := range l.Blocks {
		for _, entry := range b.Entries {
			if _, err := c.remove(c.ctx(), entry.Key, o); err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
	}
	// 3. Answer with the list as it was.
	return c.writeList(l)
}
