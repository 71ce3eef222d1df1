package server

import (
	"bytes"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/registry/store"
)

// deletecollection removes every object that a list would show, and answers with them as a list.
func (c *call) deletecollection() error {
	// 1. How is the answer wanted, what is to go, and how?
	form, err := negotiate(c.r, anyShape)
	if err != nil {
		return err
	}
	c.form, c.form.Pretty = form, prettyWanted(c.r)
	lo, sel, err := listOptions(c.r.URL.Query())
	if err != nil {
		return err
	}
	selection, err := c.selection(sel)
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
	var gone []registry.Object
	for _, b := range l.Blocks {
		for _, entry := range b.Entries {
			r, err := c.remove(c.ctx(), entry.Key, o)
			if err != nil && !apierrors.IsNotFound(err) {
				return err
			}
			if err == nil {
				gone = append(gone, r.obj)
			}
		}
	}
	// 3. Answer with what was removed.
	return c.writeGone(metav1.ListMeta{ResourceVersion: l.Revision.String(), Continue: l.Continue, RemainingItemCount: l.Remaining}, gone)
}

// writeGone answers with objects that may be in the store no more.
func (c *call) writeGone(meta metav1.ListMeta, objs []registry.Object) error {
	e := c.encoding()
	var buf bytes.Buffer
	if c.form.Format == Protobuf {
		return c.writeGoneProto(meta, objs)
	}
	buf.Write(listHead(e.typ.Kind+"List", e.typ.APIVersion, meta))
	for i, o := range objs {
		j, err := marshalJSON(c.fromHub(o))
		if err != nil {
			return err
		}
		if i > 0 {
			buf.WriteByte(',')
		}
		head, rest := e.item(j)
		buf.WriteString(head)
		buf.Write(rest)
	}
	buf.WriteString("]}")
	writeBody(c.w, c.r, http.StatusOK, c.form, buf.Bytes())
	return nil
}

func (c *call) writeGoneProto(meta metav1.ListMeta, objs []registry.Object) error {
	e := c.encoding()
	m, err := meta.Marshal()
	if err != nil {
		return err
	}
	body := appendString(nil, tagField1, string(m))
	for _, o := range objs {
		p, err := marshalProto(c.fromHub(o))
		if err != nil {
			return err
		}
		body = appendString(body, tagField2, string(p))
	}
	typ := metav1.TypeMeta{Kind: e.typ.Kind + "List", APIVersion: e.typ.APIVersion}
	writeBody(c.w, c.r, http.StatusOK, c.form, bytes.Join([][]byte{envelopeHead(typ, len(body)), body, []byte(envelopeTail)}, nil))
	return nil
}
