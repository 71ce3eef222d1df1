package admission

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/registry"
)

// Operation is what a write does.
type Operation string

const (
	Create  Operation = "CREATE"
	Update  Operation = "UPDATE"
	Delete  Operation = "DELETE"
	Connect Operation = "CONNECT"
)

// Attributes are what a plugin decides on.
type Attributes struct {
	Operation   Operation
	Resource    schema.GroupVersionResource // as the URL names it
	Kind        schema.GroupVersionKind     // of Object
	Subresource string
	Namespace   string // empty for cluster-scoped resources
	Name        string // empty while it is yet to be generated
	Object      registry.Object
	Old         registry.Object // of updates and deletes; never changed
	Connection  runtime.Object  // of connections, in Object's place: the options of the stream (PodExecOptions)
	Options     runtime.Object  // the request's CreateOptions, UpdateOptions, PatchOptions or DeleteOptions
	DryRun      bool
	User        registry.User
	Warn        func(text string) // adds a Warning header to the answer
	// Annotate adds to the request's audit event. A key that is there keeps its first value.
	Annotate func(key, value string)

	// charged says that quotas have been charged for this create. It may be validated again under another generated name.
	charged bool
}

// Is reports whether the write is to a resource itself (of any version), not to a sub-resource.
func (a *Attributes) Is(group, plural string) bool {
	return a.Subresource == "" && a.Resource.Group == group && a.Resource.Resource == plural
}

// Objects is where plugins read the cluster's objects.
type Objects = registry.Objects

// A Plugin is a row of the list.
type Plugin struct {
	Name       string
	Operations []Operation
	// Mutate may change a.Object. An error refuses the write.
	Mutate func(ctx context.Context, a *Attributes) error
	// Validate may refuse the write.
	Validate func(ctx context.Context, a *Attributes) error
}

// Chain is the list of plugins in execution order.
type Chain []Plugin

// Mutate lets each plugin change the object.
func (c Chain) Mutate(ctx context.Context, a *Attributes) error {
	for i := range c {
		if p := &c[i]; p.Mutate != nil && slices.Contains(p.Operations, a.Operation) {
			if err := p.Mutate(ctx, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// Validate asks each plugin whether the object may be stored.
func (c Chain) Validate(ctx context.Context, a *Attributes) error {
	for i := range c {
		if p := &c[i]; p.Validate != nil && slices.Contains(p.Operations, a.Operation) {
			if err := p.Validate(ctx, a); err != nil {
				return err
			}
		}
	}
	return nil
}
