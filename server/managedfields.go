package server

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"unicode"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/knarr-dev/knarr/registry"
)

// fieldManagers attribute fields to managers: one for each door of each version of a resource, made when it is first
// needed, because the schemas that all of them share take 80 ms and several MB to make.
type fieldManagers struct {
	once    sync.Once
	schemas managedfields.TypeConverter // of client-go's apply configurations
	known   sync.Map                    // door -> *ownership
}

// ownership is the field manager of a door.
type ownership struct {
	*managedfields.FieldManager
	typed *typed.TypedValue // of an empty object: the schema; nil for kinds without one
}

// door is a way to write to a resource.
type door struct {
	row     *registry.Resource
	version string
	sub     string
}

// of returns the field manager of a call's door.
func (f *fieldManagers) of(c *call) (*ownership, error) {
	d := door{c.row, c.version.Name, c.Subresource}
	if m, ok := f.known.Load(d); ok {
		return m.(*ownership), nil
	}
	v := versions{c.row}
	kind, hub := c.kind(), c.hubKind().GroupVersion()
	if c.sub != nil && (c.sub.Scale != nil || c.sub.Create != nil) {
		kind, hub = c.sub.Kind, c.sub.Kind.GroupVersion()
	}
	if hub.Group != kind.Group {
		hub.Version = runtime.APIVersionInternal // tells the object itself from its version in the hub's group
	}
	types, empty := f.typesOf(kind)
	m, err := managedfields.NewDefaultFieldManager(types, v, v, v, kind, hub, c.Subresource, ownable(c))
	if err != nil {
		return nil, fmt.Errorf("field manager of %s: %w", kind, err)
	}
	made := &ownership{FieldManager: m, typed: empty}
	f.known.Store(d, made)
	return made, nil
}

// typesOf reads objects as typed values by client-go's schemas, and returns an empty one. The few kinds that have no
// schema there are read by that of their group's OpenAPI document, or (Scale, Binding) without: every list is atomic.
func (f *fieldManagers) typesOf(kind schema.GroupVersionKind) (managedfields.TypeConverter, *typed.TypedValue) {
	f.once.Do(func() { f.schemas = clientTypes() })
	if probe, err := scheme.Scheme.New(kind); err == nil {
		probe.GetObjectKind().SetGroupVersionKind(kind)
		if empty, err := f.schemas.ObjectToTyped(probe); err == nil {
			return f.schemas, empty
		}
	}
	probe := &unstructured.Unstructured{}
	probe.SetGroupVersionKind(kind)
	if types := documentTypes(kind.GroupVersion()); types != nil {
		if empty, err := types.ObjectToTyped(probe); err == nil {
			return types, empty
		}
	}
	return managedfields.NewDeducedTypeConverter(), nil
}

// ownable says which fields writers of a door may own, for each version.
func ownable(c *call) map[fieldpath.APIVersion]fieldpath.Filter {
	reset := c.row.Reset
	if c.sub != nil {
		reset = c.sub.Reset
	}
	if len(reset) == 0 {
		return nil
	}
	filter := fieldpath.NewExcludeSetFilter(fieldpath.NewSet(paths(reset)...))
	out := map[fieldpath.APIVersion]fieldpath.Filter{}
	for _, v := range c.row.Versions {
		out[fieldpath.APIVersion(groupVersion(c.row.Group, v.Name))] = filter
	}
	return out
}

func paths(dotted []string) []fieldpath.Path {
	var out []fieldpath.Path
	for _, d := range dotted {
		var parts []any
		for _, name := range strings.Split(d, ".") {
			parts = append(parts, name)
		}
		out = append(out, fieldpath.MakePathOrDie(parts...))
	}
	return out
}

// managerName is the manager that a write is attributed to: the one it names, else the user agent up to its version.
func managerName(named string, r *http.Request) string {
	if named != "" {
		return named
	}
	agent, _, _ := strings.Cut(r.UserAgent(), "/")
	var b strings.Builder
	for _, ch := range agent {
		if b.Len()+len(string(ch)) > 128 {
			break
		}
		if unicode.IsPrint(ch) {
			b.WriteRune(ch)
		}
	}
	return b.String()
}

// shallowCopy copies the object itself but not what it points to: enough to set fields of its metadata.
func shallowCopy(o registry.Object) registry.Object {
	v := reflect.New(reflect.TypeOf(o).Elem())
	v.Elem().Set(reflect.ValueOf(o).Elem())
	return v.Interface().(registry.Object)
}

// versions converts between the versions of a row, in the terms of apimachinery's field managers.
type versions struct{ row *registry.Resource }

// New makes an object of a version.
func (v versions) New(kind schema.GroupVersionKind) (runtime.Object, error) {
	if version := v.named(kind.GroupVersion()); version != nil && kind.Kind == v.row.Kind {
		o := version.New()
		o.GetObjectKind().SetGroupVersionKind(kind)
		return o, nil
	}
	o, err := scheme.Scheme.New(kind)
	if err == nil {
		o.GetObjectKind().SetGroupVersionKind(kind)
	}
	return o, err
}

// Default fills in a new object's defaults.
func (v versions) Default(o runtime.Object) {
	kind := o.GetObjectKind().GroupVersionKind()
	version := v.named(kind.GroupVersion())
	switch {
	case version == nil || kind.Kind != v.row.Kind:
	case version.ToHub == nil:
		v.row.Complete(o.(registry.Object))
	case version.Default != nil:
		version.Default(o.(registry.Object))
	}
}

func (v versions) named(gv schema.GroupVersion) *registry.Version {
	for i := range v.row.Versions {
		if v.row.Group == gv.Group && v.row.Versions[i].Name == gv.Version {
			return &v.row.Versions[i]
		}
	}
	return nil
}

// ConvertToVersion brings an object to another version of its row, and an unstructured one to its Go type. It may
// return the object itself. Where a row shows another group's kind (events), that group's versions are none of its own:
// field managers forget what was written through them.
func (v versions) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	have := in.GetObjectKind().GroupVersionKind()
	if u, ok := in.(*unstructured.Unstructured); ok {
		typed, err := v.New(have)
		if err != nil {
			return nil, err
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, typed); err != nil {
			return nil, fmt.Errorf("unable to convert unstructured object to %v: %w", have, err)
		}
		in = typed
	}
	hub := v.row.HubKind()
	candidates := []schema.GroupVersionKind{have}
	if have.Kind == v.row.Kind {
		candidates = append(candidates, hub, schema.GroupVersionKind{Group: v.row.Group, Version: hub.Version, Kind: v.row.Kind})
	}
	want, ok := target.KindForGroupVersionKinds(candidates)
	switch {
	case !ok || want == hub && hub.Group != v.row.Group:
		return nil, runtime.NewNotRegisteredErrForTarget(schemeName, reflect.TypeOf(in), target)
	case want.Version == runtime.APIVersionInternal:
		want = hub
	}
	if have == want {
		return in, nil
	}
	o := in.(registry.Object)
	if have != hub {
		from := v.named(have.GroupVersion())
		if from == nil {
			return nil, runtime.NewNotRegisteredErrForKind(schemeName, have)
		}
		o = from.ToHub(o)
		o.GetObjectKind().SetGroupVersionKind(hub)
	}
	if want == hub {
		return o, nil
	}
	to := v.named(want.GroupVersion())
	if to == nil {
		return nil, runtime.NewNotRegisteredErrForKind(schemeName, want)
	}
	return convertFromHub(v.row, to, o), nil
}

// Convert is not used by field managers.
func (v versions) Convert(in, out, context any) error {
	return fmt.Errorf("convert %T to %T: only ConvertToVersion is possible", in, out)
}

// ConvertFieldLabel is not used by field managers.
func (v versions) ConvertFieldLabel(gvk schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}
