package registry

import (
	"context"
	"log/slog"
	"slices"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/knarr-dev/knarr/registry/store"
)

// KeepDefinitions removes CustomResourceDefinitions that are being deleted, once nothing else holds them, until ctx ends.
func (r *Registry) KeepDefinitions(ctx context.Context) {
	changed := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.notifyChanges(ctx, apiextensionsv1.GroupName, "customresourcedefinitions", changed)
	}()
	defer func() { <-done }()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		if err := r.finishDefinitions(ctx); err != nil && ctx.Err() == nil {
			slog.Error("remove deleted CustomResourceDefinitions", "err", err)
			_ = pause(ctx, time.Second)
		}
	}
}

func (r *Registry) finishDefinitions(ctx context.Context) error {
	definitions := r.Store(apiextensionsv1.GroupName, "customresourcedefinitions")
	list, err := definitions.List(ctx, store.ListOptions{})
	if err != nil {
		return err
	}
	for _, block := range list.Blocks {
		for _, entry := range block.Entries {
			obj, err := entry.Object()
			if err != nil || !finishable(obj) {
				continue
			}
			if _, err := definitions.Update(ctx, entry.Key, finishDefinition); err != nil {
				return err
			}
		}
	}
	return nil
}

// finishable is a definition that is being deleted and waits for its objects, of which there are none.
func finishable(o Object) bool {
	return o.GetDeletionTimestamp() != nil && slices.Contains(o.GetFinalizers(), apiextensionsv1.CustomResourceCleanupFinalizer)
}

// finishDefinition takes the finalizer away, and with the last one the definition.
func finishDefinition(current *store.Entry) (store.Outcome, error) {
	if current == nil {
		return store.Outcome{}, nil
	}
	obj, err := current.Object()
	if err != nil || !finishable(obj) {
		return store.Outcome{}, err
	}
	next := obj.DeepCopyObject().(Object)
	next.SetFinalizers(slices.DeleteFunc(next.GetFinalizers(), func(f string) bool { return f == apiextensionsv1.CustomResourceCleanupFinalizer }))
	if len(next.GetFinalizers()) == 0 {
		return store.Outcome{Delete: true}, nil
	}
	return store.Outcome{Put: next}, nil
}
