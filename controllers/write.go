package controllers

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A controller writes through these functions. They note what the key has to see before its next turn, so that no
// controller has to think of it. The clients are those of client-go: t.Client.CoreV1().Pods(namespace).

// Create creates an object.
func Create[T metav1.Object](ctx context.Context, t *Turn, client interface {
	Create(context.Context, T, metav1.CreateOptions) (T, error)
}, o T) (T, error) {
	made, err := client.Create(ctx, o, metav1.CreateOptions{})
	t.wrote(o, made, err)
	return made, err
}

// Update replaces an object.
func Update[T metav1.Object](ctx context.Context, t *Turn, client interface {
	Update(context.Context, T, metav1.UpdateOptions) (T, error)
}, o T) (T, error) {
	made, err := client.Update(ctx, o, metav1.UpdateOptions{})
	t.wrote(o, made, err)
	return made, err
}

// UpdateStatus replaces an object's status.
func UpdateStatus[T metav1.Object](ctx context.Context, t *Turn, client interface {
	UpdateStatus(context.Context, T, metav1.UpdateOptions) (T, error)
}, o T) (T, error) {
	made, err := client.UpdateStatus(ctx, o, metav1.UpdateOptions{})
	t.wrote(o, made, err)
	return made, err
}

// Patch changes an object, or a sub-resource of it.
func Patch[T metav1.Object](ctx context.Context, t *Turn, client interface {
	Patch(context.Context, string, types.PatchType, []byte, metav1.PatchOptions, ...string) (T, error)
}, name string, kind types.PatchType, body []byte, subresources ...string) (T, error) {
	made, err := client.Patch(ctx, name, kind, body, metav1.PatchOptions{}, subresources...)
	t.wrote(made, made, err)
	return made, err
}

// Apply applies what a controller wants of an object as the field manager of its name, whoever else has set it.
func Apply[T metav1.Object, C any](ctx context.Context, t *Turn, client interface {
	Apply(context.Context, C, metav1.ApplyOptions) (T, error)
}, wanted C) (T, error) {
	made, err := client.Apply(ctx, wanted, metav1.ApplyOptions{FieldManager: t.loop.name, Force: true})
	t.wrote(made, made, err)
	return made, err
}

// Delete deletes the very object that was read: one of the same name that has taken its place is left alone. One that is
// gone already is no error.
func Delete[T metav1.Object](ctx context.Context, t *Turn, client interface {
	Delete(context.Context, string, metav1.DeleteOptions) error
}, o T, options metav1.DeleteOptions) error {
	uid := o.GetUID()
	if options.Preconditions == nil {
		options.Preconditions = &metav1.Preconditions{UID: &uid}
	}
	err := client.Delete(ctx, o.GetName(), options)
	s := t.loop.config.sourceOf(o)
	// A conflict says that another object has the name by now, or, if a revision was asked for, that it is another version.
	gone := apierrors.IsNotFound(err) || apierrors.IsConflict(err) && options.Preconditions.ResourceVersion == nil
	switch {
	case s == nil:
	case err == nil, gone:
		t.loop.awaited.set(t.Key, func(m *marks) { m.parting[uid] = parting{s, KeyOf(o)} })
	case mayHaveHappened(err):
		t.loop.awaited.set(t.Key, func(m *marks) { m.doubts[s] = true })
	}
	if gone {
		return nil
	}
	return err
}

// wrote notes the outcome of a write: its revision, or that nobody knows whether it has happened.
func (t *Turn) wrote(kind, made metav1.Object, err error) {
	s := t.loop.config.sourceOf(kind)
	if s == nil {
		return
	}
	switch {
	case err == nil:
		t.loop.awaited.set(t.Key, func(m *marks) { m.revision(s, made.GetResourceVersion()) })
	case mayHaveHappened(err):
		t.loop.awaited.set(t.Key, func(m *marks) { m.doubts[s] = true })
	}
}

// mayHaveHappened tells errors that leave open whether the write took place from those with which the server says that it
// did not.
func mayHaveHappened(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true // no answer came
	}
	return apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) || apierrors.IsInternalError(err) || apierrors.IsUnexpectedServerError(err)
}
