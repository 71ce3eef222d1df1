package scheduler

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
)

// watch follows what the scheduler has to know, and returns when it knows all that there is. What it returns ends that.
func (s *Scheduler) watch(ctx context.Context) (unwatch func(), err error) {
	var registered []func()
	unwatch = func() {
		for _, f := range registered {
			f()
		}
	}
	var synced []cache.InformerSynced
	follow := func(informer cache.SharedIndexInformer, handle func(old, now any)) {
		h, e := informer.AddEventHandler(s.handler(handle))
		if e != nil {
			err = e
			return
		}
		registered = append(registered, func() { _ = informer.RemoveEventHandler(h) }) // it fails only for a stopped informer
		synced = append(synced, h.HasSynced)
	}
	core, storage := s.config.Informers.Core().V1(), s.config.Informers.Storage().V1()
	// Nodes and namespaces come first, so that pods find them in most cases; no order is relied on.
	follow(core.Nodes().Informer(), on(s.nodeChanged))
	follow(core.Namespaces().Informer(), on(s.namespaceChanged))
	follow(core.Pods().Informer(), on(s.podChanged))
	follow(core.PersistentVolumeClaims().Informer(), objects[*corev1.PersistentVolumeClaim](s, ClaimChanged))
	follow(core.PersistentVolumes().Informer(), objects[*corev1.PersistentVolume](s, VolumeChanged))
	follow(storage.StorageClasses().Informer(), objects[*storagev1.StorageClass](s, ClassChanged))
	follow(storage.CSINodes().Informer(), objects[*storagev1.CSINode](s, StorageNodeChanged))
	follow(storage.CSIDrivers().Informer(), objects[*storagev1.CSIDriver](s, StorageDriverChanged))
	follow(storage.CSIStorageCapacities().Informer(), objects[*storagev1.CSIStorageCapacity](s, StorageCapacityChanged))
	follow(storage.VolumeAttachments().Informer(), objects[*storagev1.VolumeAttachment](s, AttachmentChanged))
	// Only read when a pod is looked at.
	apps, policy := s.config.Informers.Apps().V1(), s.config.Informers.Policy().V1()
	for _, i := range []cache.SharedIndexInformer{core.Services().Informer(), core.ReplicationControllers().Informer(),
		apps.ReplicaSets().Informer(), apps.StatefulSets().Informer(), policy.PodDisruptionBudgets().Informer()} {
		synced = append(synced, i.HasSynced)
	}
	if err == nil {
		s.config.Informers.Start(ctx.Done())
		cache.WaitForCacheSync(ctx.Done(), synced...)
	}
	return unwatch, err
}

// handler calls handle under the lock, and wakes the loop.
func (s *Scheduler) handler(handle func(old, now any)) cache.ResourceEventHandler {
	locked := func(old, now any) {
		s.mu.Lock()
		handle(old, now)
		s.mu.Unlock()
		s.changed.Signal()
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { locked(nil, o) },
		UpdateFunc: locked,
		DeleteFunc: func(o any) {
			if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			locked(o, nil)
		},
	}
}

// on gives a function of typed objects what an informer tells; nil stands for what there is not.
func on[T any](handle func(old, now *T)) func(old, now any) {
	return func(old, now any) {
		before, _ := old.(*T)
		after, _ := now.(*T)
		handle(before, after)
	}
}

// objects makes events of what happens to objects that plugins look up themselves.
func objects[T runtime.Object](s *Scheduler, kind Kind) func(old, now any) {
	return func(old, now any) {
		e := &Event{Kind: kind}
		if o, ok := old.(T); ok {
			e.OldObject = o
		}
		if o, ok := now.(T); ok {
			e.Object = o
		}
		if e.Object != nil || kind == AttachmentChanged { // of the others, none helps by its end
			s.queue.happened(e)
		}
	}
}

func (s *Scheduler) nodeChanged(old, now *corev1.Node) {
	if now == nil {
		s.cluster.removeNode(old.Name)
		s.queue.happened(&Event{Kind: NodeDeleted, OldNode: old})
		return
	}
	kind := NodeAdded
	if old != nil {
		kind = nodeChange(old, now)
	}
	s.cluster.setNode(now)
	if kind != 0 {
		s.queue.happened(&Event{Kind: kind, OldNode: old, Node: now})
	}
}

// nodeChange is what about a node has changed.
func nodeChange(old, now *corev1.Node) Kind {
	var kind Kind
	if old.Spec.Unschedulable != now.Spec.Unschedulable || !equality.Semantic.DeepEqual(old.Spec.Taints, now.Spec.Taints) {
		kind |= NodeTaints
	}
	if !equality.Semantic.DeepEqual(old.Status.Allocatable, now.Status.Allocatable) {
		kind |= NodeAllocatable
	}
	if !maps.Equal(old.Labels, now.Labels) {
		kind |= NodeLabels
	}
	if !maps.Equal(old.Annotations, now.Annotations) || !slices.Equal(old.Status.DeclaredFeatures, now.Status.DeclaredFeatures) ||
		!slices.EqualFunc(old.Status.Conditions, now.Status.Conditions, func(a, b corev1.NodeCondition) bool {
			return a.Type == b.Type && a.Status == b.Status
		}) {
		kind |= NodeOther
	}
	return kind
}

func (s *Scheduler) namespaceChanged(old, now *corev1.Namespace) {
	if now == nil || old != nil && maps.Equal(old.Labels, now.Labels) {
		return
	}
	s.cluster.setNamespace(now.Name, now.Labels)
	e := &Event{Kind: NamespaceChanged, Object: now}
	if old != nil {
		e.OldObject = old
	}
	s.queue.happened(e)
}

// podChanged sorts pods into those that wait and those on nodes. A finished pod is as good as deleted.
func (s *Scheduler) podChanged(old, now *corev1.Pod) {
	if old != nil && now != nil && old.UID != now.UID { // deleted and made again between two looks
		s.podChanged(old, nil)
		old = nil
	}
	switch {
	case now == nil || isFinished(now):
		gone := now
		if now == nil {
			gone = old
		}
		s.podGone(gone)
	case now.Spec.NodeName != "":
		s.podPlaced(newPod(now))
	default:
		s.podWaits(now)
	}
}

func (s *Scheduler) podGone(pod *corev1.Pod) {
	w := s.queue.pods[pod.UID]
	promised := w != nil && w.promised != ""
	binding := s.cluster.assumed[pod.UID] && pod.Spec.NodeName == "" && w != nil && !w.bound // its end is seen there
	s.queue.remove(pod.UID)
	s.Reject(pod.UID, "", "removed")
	p := s.cluster.pods[pod.UID]
	if !binding {
		s.cluster.removePod(pod.UID)
	}
	delete(s.cluster.leaving, pod.UID)
	if p == nil && promised {
		p = newPod(pod)
	}
	if p != nil {
		s.queue.happened(&Event{Kind: PodDeleted, Pod: p})
	}
}

func (s *Scheduler) podPlaced(p *Pod) {
	s.queue.remove(p.UID)
	old := s.cluster.pods[p.UID]
	kind := PodAdded
	if old != nil {
		copied := *old // setPod may write a new version into it
		old, kind = &copied, 0
		if old.labelKey != p.labelKey {
			kind |= PodRelabeled
		}
		if shrunk(&old.Requests, &p.Requests) {
			kind |= PodShrunk
		}
		if s.cluster.assumed[p.UID] {
			kind |= PodAdded
		}
		if !old.terminating() && p.terminating() {
			kind |= PodRelabeled // spreading looks away from it from now on
		}
	}
	s.cluster.setPod(p)
	if kind != 0 {
		s.queue.happened(&Event{Kind: kind, OldPod: old, Pod: p})
	}
}

func (s *Scheduler) podWaits(pod *corev1.Pod) {
	profile := s.profiles[pod.Spec.SchedulerName]
	if profile != nil {
		s.queue.add(newPod(pod), profile)
	}
}

// shrunk reports that some resource is asked for less.
func shrunk(old, now *Amounts) bool {
	if old.CPU > now.CPU || old.Memory > now.Memory || old.Storage > now.Storage {
		return true
	}
	return slices.ContainsFunc(old.Scalars, func(s Scalar) bool { return s.Value > now.Of(s.Name) })
}

// selfChange is the event of a waiting pod's own change; nil if it is of no interest to any plugin.
func selfChange(old, now *Pod) *Event {
	if old.labelKey == now.labelKey && old.Requests.equal(&now.Requests) &&
		equality.Semantic.DeepEqual(old.Spec.Tolerations, now.Spec.Tolerations) {
		return nil
	}
	return &Event{Kind: SelfChanged, OldPod: old, Pod: now}
}
