package registry

import (
	"context"
	"reflect"
	"sync"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/knarr-dev/knarr/registry/store"
)

// Kind is a row written with the kind's own Go type P, a pointer. See Resource for what each hook does;
// of the embedded Resource only what has no typed form here is filled in.
type Kind[P Object] struct {
	Resource

	Accept        func(obj P) error
	Default       func(obj P)
	Normalize     func(obj P)
	Restore       func(obj P)
	Repair        func(r *Registry, obj P)
	Permit        func(ctx context.Context, w *Write, obj, old P) error
	Prepare       func(w *Write, obj, old P)
	Validate      func(w *Write, obj, old P) field.ErrorList
	Canonicalize  func(obj P)
	Warn          func(w *Write, obj, old P) []string
	Begin         func(ctx context.Context, w *Write, obj, old P) (finish func(stored bool), err error)
	Deleted       func(ctx context.Context, w *Write, obj P)
	GracePeriod   func(obj P, asked *int64) int64
	MarkDeleting  func(obj P)
	Holds         func(obj P) bool
	TimeToLive    func(obj P) time.Duration
	Cells         func(obj P) []any
	RowConditions func(obj P) []metav1.TableRowCondition

	Fields []Field[P]
	Status *Door[P]           // the status sub-resource
	Doors  map[string]Door[P] // other sub-resources that update the object itself: "approval", "resize"
	Scale  *Scaling[P]        // the scale sub-resource
}

// Field is a selectable field.
type Field[P Object] struct {
	Path    string // "spec.nodeName"
	Value   func(obj P) string
	Indexed bool // watches by this field are common: wake only those that want the value
}

// Door is a sub-resource through which the object is read and updated under rules of its own.
type Door[P Object] struct {
	Verbs    []string // nil means get, patch, update
	Prepare  func(w *Write, obj, old P)
	Validate func(w *Write, obj, old P) field.ErrorList
	Warn     func(w *Write, obj, old P) []string
	Reset    []string

	UpdateMeta MetaRules
}

// Scaling gives a kind its scale sub-resource.
type Scaling[P Object] struct {
	Get func(obj P) *autoscalingv1.Scale // metadata is filled in by the caller
	Set func(obj P, replicas int32)
	// ReplicasPath is where the replica count stands; nil means spec.replicas.
	ReplicasPath []string
}

// row is the kind as a row of the table.
func (k Kind[P]) row() *Resource {
	r := k.Resource
	elem := reflect.TypeFor[P]().Elem()
	if r.Prefix != "" && !r.StoredJSON {
		walk := sync.OnceValue(func() emptier { return emptierOf(elem) })
		r.dropEmpties = func(o Object) {
			if drop := walk(); drop != nil {
				drop(reflect.ValueOf(o).Elem())
			}
		}
	}
	kind := r.HubKind()
	r.New = func() Object {
		o := reflect.New(elem).Interface().(Object)
		o.GetObjectKind().SetGroupVersionKind(kind)
		return o
	}
	if r.Verbs == nil {
		r.Verbs = StandardVerbs()
	}
	for i := range r.Versions {
		if r.Versions[i].New == nil {
			r.Versions[i].New = r.New
		}
	}
	r.Default, r.Normalize = on(k.Default), on(k.Normalize)
	r.Canonicalize, r.MarkDeleting = on(k.Canonicalize), on(k.MarkDeleting)
	r.Prepare, r.Validate, r.Warn = change(k.Prepare), judge(k.Validate), judge(k.Warn)
	r.Holds, r.TimeToLive = of(k.Holds), of(k.TimeToLive)
	r.Cells, r.RowConditions = of(k.Cells), of(k.RowConditions)
	r.Restore = on(k.Restore)
	r.Accept = of(k.Accept)
	if f := k.Repair; f != nil {
		r.Repair = func(reg *Registry, o Object) { f(reg, o.(P)) }
	}
	if f := k.Permit; f != nil {
		r.Permit = func(ctx context.Context, w *Write, obj, old Object) error { return f(ctx, w, obj.(P), as[P](old)) }
	}
	if f := k.Begin; f != nil {
		r.Begin = func(ctx context.Context, w *Write, obj, old Object) (func(bool), error) {
			return f(ctx, w, obj.(P), as[P](old))
		}
	}
	if f := k.Deleted; f != nil {
		r.Deleted = func(ctx context.Context, w *Write, obj Object) { f(ctx, w, obj.(P)) }
	}
	if f := k.GracePeriod; f != nil {
		r.GracePeriod = func(obj Object, asked *int64) int64 { return f(obj.(P), asked) }
	}
	for _, f := range k.Fields {
		r.Fields = append(r.Fields, store.Field{Path: f.Path, Value: of(f.Value), Indexed: f.Indexed})
	}
	r.Subresources = append(k.doors(), r.Subresources...)
	return &r
}

// doors are the sub-resources in their erased form.
func (k Kind[P]) doors() []Subresource {
	var subs []Subresource
	add := func(name string, d Door[P]) {
		if d.Verbs == nil {
			d.Verbs = []string{"get", "patch", "update"}
		}
		validate := judge(d.Validate)
		if validate == nil {
			validate = func(*Write, Object, Object) field.ErrorList { return nil }
		}
		subs = append(subs, Subresource{Name: name, Verbs: d.Verbs, Reset: d.Reset,
			Prepare: change(d.Prepare), Validate: validate, Warn: judge(d.Warn), UpdateMeta: d.UpdateMeta})
	}
	if k.Status != nil {
		add("status", *k.Status)
	}
	for name, d := range k.Doors {
		add(name, d)
	}
	if s := k.Scale; s != nil {
		path := s.ReplicasPath
		if path == nil {
			path = []string{"spec", "replicas"}
		}
		subs = append(subs, Subresource{
			Name: "scale", Verbs: []string{"get", "patch", "update"},
			Kind:  autoscalingv1.SchemeGroupVersion.WithKind("Scale"),
			Scale: &Scale{Get: of(s.Get), Set: func(o Object, n int32) { s.Set(o.(P), n) }, ReplicasPath: path},
		})
	}
	return subs
}

// as is the object as a P; a nil object is P's nil.
func as[P Object](o Object) P {
	p, _ := o.(P)
	return p
}

func on[P Object](f func(P)) func(Object) {
	if f == nil {
		return nil
	}
	return func(o Object) { f(o.(P)) }
}

func of[P Object, V any](f func(P) V) func(Object) V {
	if f == nil {
		return nil
	}
	return func(o Object) V { return f(o.(P)) }
}

func change[P Object](f func(w *Write, obj, old P)) func(w *Write, obj, old Object) {
	if f == nil {
		return nil
	}
	return func(w *Write, obj, old Object) { f(w, obj.(P), as[P](old)) }
}

func judge[P Object, V any](f func(w *Write, obj, old P) V) func(w *Write, obj, old Object) V {
	if f == nil {
		return nil
	}
	return func(w *Write, obj, old Object) V { return f(w, obj.(P), as[P](old)) }
}
