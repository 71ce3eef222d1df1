package nodeagent

import (
	"context"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Pods name objects of which the agent has no copies: ConfigMaps, Secrets, claims, volumes. They are read when a pod needs
// them, each as it is then. What many pods ask for at a time is asked for them together (see library).

// referenceKind is what is referred to.
type referenceKind int

const (
	configMapReference referenceKind = iota
	secretReference
	claimReference
	volumeReference
)

// reference names an object.
type reference struct {
	kind            referenceKind
	namespace, name string
}

// shelf is what was found of references.
type shelf map[reference]finding

type finding struct {
	object any
	err    error
}

// lookUp is an object of the shelf.
func lookUp[T any](s shelf, r reference) (*T, error) {
	f := s[r]
	if f.err != nil {
		return nil, f.err
	}
	return f.object.(*T), nil
}

func (s shelf) configMap(namespace, name string) (*corev1.ConfigMap, error) {
	return lookUp[corev1.ConfigMap](s, reference{configMapReference, namespace, name})
}

func (s shelf) secret(namespace, name string) (*corev1.Secret, error) {
	return lookUp[corev1.Secret](s, reference{secretReference, namespace, name})
}

// library reads objects.
//
// Whoever asks gets an answer to a question that was put after he asked, so nothing that he gets is older than his question.
// While one question about an object is under way, all who come wait for the next, which is put for all of them when the first
// is answered: a thousand pods that start together ask for their namespace's certificates a few times, not a thousand.
type library struct {
	client kubernetes.Interface

	mu   sync.Mutex // guards the fields below
	now  map[reference]*answer
	next map[reference]*answer
}

type answer struct {
	finding
	done chan struct{}
}

func newLibrary(client kubernetes.Interface) *library {
	return &library{client: client, now: map[reference]*answer{}, next: map[reference]*answer{}}
}

// gather reads all that is referred to.
func (l *library) gather(ctx context.Context, wanted []reference) shelf {
	s := shelf{}
	waiting := map[reference]*answer{}
	for _, r := range wanted {
		if waiting[r] == nil {
			waiting[r] = l.ask(ctx, r)
		}
	}
	for r, a := range waiting {
		select {
		case <-a.done:
			s[r] = a.finding
		case <-ctx.Done():
			s[r] = finding{err: ctx.Err()}
		}
	}
	return s
}

// ask has a question put, or waits for one that will be.
func (l *library) ask(ctx context.Context, r reference) *answer {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := &answer{done: make(chan struct{})}
	switch {
	case l.now[r] == nil:
		l.now[r] = a
		go l.put(context.WithoutCancel(ctx), r, a)
	case l.next[r] == nil:
		l.next[r] = a
	default:
		a = l.next[r]
	}
	return a
}

// put puts questions until nobody waits for another answer.
func (l *library) put(ctx context.Context, r reference, a *answer) {
	for a != nil {
		object, err := l.read(ctx, r)
		a.finding = finding{object, err}
		close(a.done)
		l.mu.Lock()
		a = l.next[r]
		delete(l.next, r)
		if l.now[r] = a; a == nil {
			delete(l.now, r)
		}
		l.mu.Unlock()
	}
}

// read asks the API. That something is not found is told in the words of upstream's kubelet, which watches it.
func (l *library) read(ctx context.Context, r reference) (object any, err error) {
	core, options := l.client.CoreV1(), metav1.GetOptions{}
	switch r.kind {
	case configMapReference:
		if object, err = core.ConfigMaps(r.namespace).Get(ctx, r.name, options); apierrors.IsNotFound(err) {
			err = apierrors.NewNotFound(corev1.Resource("configmap"), r.name)
		}
	case secretReference:
		if object, err = core.Secrets(r.namespace).Get(ctx, r.name, options); apierrors.IsNotFound(err) {
			err = apierrors.NewNotFound(corev1.Resource("secret"), r.name)
		}
	case claimReference:
		object, err = core.PersistentVolumeClaims(r.namespace).Get(ctx, r.name, options)
	case volumeReference:
		object, err = core.PersistentVolumes().Get(ctx, r.name, options)
	}
	return object, err
}

// environmentReferences are the objects that a container's environment is made of.
func environmentReferences(p *corev1.Pod, c *corev1.Container) (refs []reference) {
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef != nil {
			refs = append(refs, reference{configMapReference, p.Namespace, from.ConfigMapRef.Name})
		}
		if from.SecretRef != nil {
			refs = append(refs, reference{secretReference, p.Namespace, from.SecretRef.Name})
		}
	}
	for _, v := range c.Env {
		if v.ValueFrom == nil {
			continue
		}
		if k := v.ValueFrom.ConfigMapKeyRef; k != nil {
			refs = append(refs, reference{configMapReference, p.Namespace, k.Name})
		}
		if k := v.ValueFrom.SecretKeyRef; k != nil {
			refs = append(refs, reference{secretReference, p.Namespace, k.Name})
		}
	}
	return refs
}

// usedVolumes are the volumes of a pod that a container uses: nobody cares for others.
func usedVolumes(p *corev1.Pod) (used []*corev1.Volume) {
	named := map[string]bool{}
	for _, c := range containers(p) {
		for _, m := range c.VolumeMounts {
			named[m.Name] = true
		}
		for _, d := range c.VolumeDevices {
			named[d.Name] = true
		}
	}
	for i := range p.Spec.Volumes {
		if v := &p.Spec.Volumes[i]; named[v.Name] {
			used = append(used, v)
		}
	}
	return used
}

// volumeReferences are the objects that volumes are made of, save those that claims name.
func volumeReferences(p *corev1.Pod, volumes []*corev1.Volume) (refs []reference) {
	for _, v := range volumes {
		switch {
		case v.ConfigMap != nil:
			refs = append(refs, reference{configMapReference, p.Namespace, v.ConfigMap.Name})
		case v.Secret != nil:
			refs = append(refs, reference{secretReference, p.Namespace, v.Secret.SecretName})
		case claimOf(p, v) != "":
			refs = append(refs, reference{claimReference, p.Namespace, claimOf(p, v)})
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil {
					refs = append(refs, reference{configMapReference, p.Namespace, s.ConfigMap.Name})
				}
				if s.Secret != nil {
					refs = append(refs, reference{secretReference, p.Namespace, s.Secret.Name})
				}
			}
		}
	}
	return slices.Compact(refs)
}

// claimOf is the claim behind a volume, if one is.
func claimOf(p *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return p.Name + "-" + v.Name
	}
	return ""
}
