package controllers

import (
	"cmp"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// rollout is a plan in the making: a deployment and its ReplicaSets as they shall be after the turn, and the steps that lead
// there. Nothing that was read is changed.
type rollout struct {
	was     *appsv1.Deployment
	d       *appsv1.Deployment   // its status and annotations are those to be
	current *appsv1.ReplicaSet   // with the deployment's template; nil as long as there is none
	old     []*appsv1.ReplicaSet // the others, the oldest first
	now     time.Time

	steps       []setStep
	events      []note
	respecified bool // d has another template: the status can wait
}

// setStep is something to do to a ReplicaSet.
type setStep struct {
	do   setVerb
	set  *appsv1.ReplicaSet // as it shall be
	from int32              // its size until then
}

type setVerb string

const (
	setCreate setVerb = "create"
	setUpdate setVerb = "update"
	setDelete setVerb = "delete"
)

// note is an event to tell of when the steps are taken.
type note struct{ kind, reason, message string }

// planDeployment says what to do with a deployment next. running counts the pods of each ReplicaSet that may still run,
// where that matters.
func planDeployment(d *appsv1.Deployment, sets []*appsv1.ReplicaSet, running map[types.UID]int, now time.Time) *rollout {
	o := newRollout(d, sets, now)
	if d.DeletionTimestamp != nil {
		o.syncRevision()
		o.observe()
		return o
	}
	o.notePause()
	o.syncRevision()
	target, back := rollbackTarget(d)
	switch {
	case d.Spec.Paused:
		o.scale()
		if !back {
			o.cleanup()
		}
		o.observe()
	case back:
		o.ensureCurrent()
		o.rollback(target)
	case o.isScaled():
		o.scale()
		o.observe()
	case d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		o.recreate(running)
		o.progress()
	default:
		o.roll()
		o.progress()
	}
	return o
}

func newRollout(d *appsv1.Deployment, sets []*appsv1.ReplicaSet, now time.Time) *rollout {
	o := &rollout{was: d, d: d.DeepCopy(), now: now, old: slices.SortedFunc(slices.Values(sets), compareSetAges)}
	// Of several with the template (a cluster's upgrade can bring that about) the oldest is the current one.
	if i := slices.IndexFunc(o.old, func(rs *appsv1.ReplicaSet) bool { return sameTemplate(&rs.Spec.Template, &d.Spec.Template) }); i >= 0 {
		o.current = o.old[i]
		o.old = slices.Delete(o.old, i, i+1)
	}
	return o
}

// compareSetAges puts the oldest first.
func compareSetAges(a, b *appsv1.ReplicaSet) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// sizeOf is how many pods a ReplicaSet wants.
func sizeOf(rs *appsv1.ReplicaSet) int32 { return ptr.Deref(rs.Spec.Replicas, 1) }

// wanted is how many pods the deployment wants.
func (o *rollout) wanted() int32 { return ptr.Deref(o.d.Spec.Replicas, 1) }

// all are the current and the old ReplicaSets.
func (o *rollout) all() []*appsv1.ReplicaSet {
	if o.current == nil {
		return o.old
	}
	return append(slices.Clone(o.old), o.current)
}

// activeSets are those that want pods.
func activeSets(sets []*appsv1.ReplicaSet) (active []*appsv1.ReplicaSet) {
	for _, rs := range sets {
		if sizeOf(rs) > 0 {
			active = append(active, rs)
		}
	}
	return active
}

// sum adds up a number of ReplicaSets.
func sum(sets []*appsv1.ReplicaSet, number func(*appsv1.ReplicaSet) int32) (n int32) {
	for _, rs := range sets {
		n += number(rs)
	}
	return n
}

func availableOf(rs *appsv1.ReplicaSet) int32 { return rs.Status.AvailableReplicas }

func replicasOf(rs *appsv1.ReplicaSet) int32 { return rs.Status.Replicas }

// change plans an update of a ReplicaSet and returns what can be changed, which all further decisions see. However many changes
// there are, they are one step.
func (o *rollout) change(rs *appsv1.ReplicaSet) *appsv1.ReplicaSet {
	if slices.ContainsFunc(o.steps, func(s setStep) bool { return s.set == rs }) {
		return rs
	}
	changed := rs.DeepCopy()
	o.steps = append(o.steps, setStep{setUpdate, changed, sizeOf(rs)})
	if rs == o.current {
		o.current = changed
	} else {
		o.old[slices.Index(o.old, rs)] = changed
	}
	return changed
}

// cleanup deletes what is empty and older than the history that is to be kept.
func (o *rollout) cleanup() {
	if !hasHistoryLimit(o.d) {
		return
	}
	history := slices.DeleteFunc(slices.Clone(o.old), func(rs *appsv1.ReplicaSet) bool { return rs.DeletionTimestamp != nil })
	surplus := len(history) - int(*o.d.Spec.RevisionHistoryLimit)
	if surplus <= 0 {
		return
	}
	slices.SortStableFunc(history, compareRevisions)
	for _, rs := range history[:surplus] {
		if rs.Status.Replicas == 0 && sizeOf(rs) == 0 && rs.Generation <= rs.Status.ObservedGeneration {
			o.steps = append(o.steps, setStep{do: setDelete, set: rs})
		}
	}
}

// tell plans an event.
func (o *rollout) tell(kind, reason, message string) {
	o.events = append(o.events, note{kind, reason, message})
}

// warn plans an event that something could not be done.
func (o *rollout) warn(reason, message string) { o.tell(corev1.EventTypeWarning, reason, message) }
