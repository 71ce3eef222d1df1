package nodeagent

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// A static pod is one that its node finds in a folder or under a URL (static_source.go). It runs whether the API knows of it or not.
// So that others see it, the agent keeps a mirror of it in the API: a pod of the same name that nobody runs, with the static
// pod's status. A mirror that somebody deletes comes back; one whose static pod is gone, goes.

// Annotations of static pods and their mirrors, as upstream's.
const (
	configSource = "kubernetes.io/config.source" // file or http
	configHash   = "kubernetes.io/config.hash"
	configSeen   = "kubernetes.io/config.seen"
	configMirror = corev1.MirrorPodAnnotationKey // the hash of what is mirrored
)

// statics are the static pods of the agent, by full name. The desk's lock guards them.
type statics struct {
	work    map[types.NamespacedName]*work
	next    map[types.NamespacedName]*corev1.Pod // in place of one that is being ended
	mirrors map[types.NamespacedName]*corev1.Pod // as the API has them
	read    map[string]bool                      // sources that are known
}

func newStatics() statics {
	return statics{work: map[types.NamespacedName]*work{}, next: map[types.NamespacedName]*corev1.Pod{}, mirrors: map[types.NamespacedName]*corev1.Pod{}, read: map[string]bool{}}
}

// isMirror reports whether a pod of the API is a static pod's.
func isMirror(p *corev1.Pod) bool {
	_, ok := p.Annotations[configMirror]
	return ok
}

func fullName(p *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
}

// staticPod makes a pod of a source that of a node: its name ends in the node's, and if it has no UID, it is made of what the
// manifest says.
func staticPod(manifest *corev1.Pod, source, from, node string, now time.Time) (*corev1.Pod, error) {
	p := manifest.DeepCopy()
	if p.Name == "" {
		return nil, fmt.Errorf("invalid pod: name is needed for the pod")
	}
	content, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	sum := fnv.New128a()
	sum.Write(content)
	fmt.Fprintf(sum, "host:%s%s:%s", node, source, from)
	hash := hex.EncodeToString(sum.Sum(nil))
	if p.UID == "" {
		p.UID = types.UID(hash)
	}
	p.Name += "-" + strings.ToLower(node)
	if p.Namespace == "" {
		p.Namespace = metav1.NamespaceDefault
	}
	p.Spec.NodeName = node
	p.Annotations = maps.Clone(p.Annotations)
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	p.Annotations[configHash], p.Annotations[configSource], p.Annotations[configSeen] = hash, source, now.Format(time.RFC3339Nano)
	anything := corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}
	if source == fileSource && !slices.Contains(p.Spec.Tolerations, anything) {
		p.Spec.Tolerations = append(p.Spec.Tolerations, anything)
	}
	p.Status = corev1.PodStatus{Phase: corev1.PodPending}
	p.CreationTimestamp, p.Generation = metav1.NewTime(now), 1
	return p, nil
}

// setStatics takes in what a source has now.
func (a *Agent) setStatics(ctx context.Context, source, from string, manifests []*corev1.Pod) {
	wanted := map[types.NamespacedName]*corev1.Pod{}
	for _, node := range a.Nodes {
		for _, m := range manifests {
			p, err := staticPod(m, source, from, node, a.Clock.Now())
			if err == nil {
				err = a.Complete(p)
			}
			if err != nil {
				a.Log.Warn("a static pod is not run", "source", from, "pod", m.Name, "err", err)
				continue
			}
			wanted[fullName(p)] = p
		}
	}
	a.desk.mu.Lock()
	defer a.desk.mu.Unlock()
	s := &a.desk.statics
	s.read[source] = true
	for name, w := range s.work {
		p := wanted[name]
		switch {
		case w.pod.Annotations[configSource] != source:
			continue
		case p != nil && p.Annotations[configHash] == w.pod.Annotations[configHash]:
			delete(s.next, name)
		default:
			s.next[name] = p // nil for none
			a.endStatic(ctx, w)
		}
		delete(wanted, name)
	}
	for name, p := range wanted {
		if s.work[name] == nil {
			a.beginStatic(ctx, p)
		}
	}
	for _, mirror := range s.mirrors {
		a.checkMirror(ctx, mirror)
	}
}

// beginStatic takes a static pod up. The desk is locked.
func (a *Agent) beginStatic(ctx context.Context, p *corev1.Pod) {
	w := a.newWork(p, true)
	w.mirror = a.desk.statics.mirrors[fullName(p)]
	if w.mirror != nil && w.mirror.Annotations[configMirror] == p.Annotations[configHash] {
		w.recalled = recall(&w.mirror.Status, a.Clock.Now())
	}
	w.pod = p
	a.desk.statics.work[fullName(p)] = w
	a.wake(ctx, w)
}

// endStatic has a static pod ended. The desk is locked.
func (a *Agent) endStatic(ctx context.Context, w *work) {
	w.gone = true
	if w.interrupt != nil {
		w.interrupt()
	}
	a.wake(ctx, w)
}

// staticEnded makes room for what is to come in a static pod's place. The desk is locked.
func (a *Agent) staticEnded(ctx context.Context, p *corev1.Pod) {
	s, name := &a.desk.statics, fullName(p)
	delete(s.work, name)
	next := s.next[name]
	delete(s.next, name)
	if next != nil {
		a.beginStatic(ctx, next)
	} else if mirror := s.mirrors[name]; mirror != nil {
		a.checkMirror(ctx, mirror)
	}
}

// toldMirror takes in what the API says of a mirror. The desk is locked.
func (a *Agent) toldMirror(ctx context.Context, mirror *corev1.Pod, gone bool) {
	s, name := &a.desk.statics, fullName(mirror)
	if known := s.mirrors[name]; gone && known != nil && known.UID != mirror.UID {
		return // another one is there already
	}
	if s.mirrors[name] = mirror; gone {
		delete(s.mirrors, name)
	}
	w := s.work[name]
	if w == nil {
		if !gone {
			a.checkMirror(ctx, mirror)
		}
		return
	}
	before := w.mirror
	w.mirror = s.mirrors[name]
	if before == nil || w.mirror == nil || before.UID != w.mirror.UID || w.mirror.DeletionTimestamp != nil {
		a.wake(ctx, w)
	}
}

// checkMirror has a mirror deleted of which nothing is the original. The desk is locked.
func (a *Agent) checkMirror(ctx context.Context, mirror *corev1.Pod) {
	s := &a.desk.statics
	source := mirror.Annotations[configSource]
	unread := a.reads(source) && !s.read[source] // it may still turn up
	if s.work[fullName(mirror)] != nil || unread {
		return
	}
	a.desk.busy.Go(func() {
		if err := a.deleteMirror(ctx, mirror); err != nil && ctx.Err() == nil {
			a.Log.Warn("delete the mirror of a static pod that is gone", "pod", fullName(mirror), "err", err)
		}
	})
}

func (a *Agent) deleteMirror(ctx context.Context, mirror *corev1.Pod) error {
	if !a.say(ctx) {
		return ctx.Err()
	}
	defer a.said()
	err := a.Client.CoreV1().Pods(mirror.Namespace).Delete(ctx, mirror.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(0)), Preconditions: &metav1.Preconditions{UID: &mirror.UID}})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// reflect has the mirror of a static pod be there and be of it. It returns the mirror to which the status is to be written;
// nil while there is none.
func (a *Agent) reflect(ctx context.Context, p, mirror *corev1.Pod) (*corev1.Pod, error) {
	if mirror != nil {
		if mirror.DeletionTimestamp == nil && mirror.Annotations[configMirror] == p.Annotations[configHash] {
			return mirror, nil
		}
		return nil, a.deleteMirror(ctx, mirror) // the watch tells when it is gone
	}
	uid, known := a.uids.Load(p.Spec.NodeName)
	if _, away := a.away.Load(p.Spec.NodeName); away || !known {
		return nil, nil
	}
	m := p.DeepCopy()
	m.UID, m.CreationTimestamp, m.Generation = "", metav1.Time{}, 0
	m.Annotations[configMirror] = p.Annotations[configHash]
	m.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: p.Spec.NodeName, UID: uid.(types.UID), Controller: ptr.To(true)}}
	if !a.say(ctx) {
		return nil, ctx.Err()
	}
	defer a.said()
	_, err := a.Client.CoreV1().Pods(m.Namespace).Create(ctx, m, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	return nil, nil // the watch tells of it
}
