package controllers

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/dump"
	"k8s.io/utils/ptr"
)

// Each ReplicaSet has a revision, the current one the highest. Going back to an old template makes its ReplicaSet the
// current one again: it gets a new revision, and remembers those that it had.
const (
	revisionAnnotation = "deployment.kubernetes.io/revision"
	historyAnnotation  = "deployment.kubernetes.io/revision-history"
	// longestHistory is how many characters the remembered revisions may take.
	longestHistory = 2000
)

// templateHash tells templates apart in names and labels. collisions is how many names were taken. It is the hash that
// kube-controller-manager computes, so that each recognizes what the other has made.
func templateHash(template *corev1.PodTemplateSpec, collisions *int32) string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%v", dump.ForHash(*template))
	if collisions != nil {
		var salt [8]byte
		binary.LittleEndian.PutUint32(salt[:], uint32(*collisions))
		h.Write(salt[:])
	}
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}

// sameTemplate reports whether templates differ in nothing but the hash. Hashes are not compared: a new field in the API
// changes them.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	return equality.Semantic.DeepEqual(withoutHash(a), withoutHash(b))
}

// withoutHash is a template without the hash among its labels. It shares all else.
func withoutHash(t *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
	if _, ok := t.Labels[appsv1.DefaultDeploymentUniqueLabelKey]; !ok {
		return t
	}
	bare := *t
	bare.Labels = maps.Clone(t.Labels)
	delete(bare.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return &bare
}

func revisionOf(rs *appsv1.ReplicaSet) (int64, error) {
	value, ok := rs.Annotations[revisionAnnotation]
	if !ok {
		return 0, nil
	}
	return strconv.ParseInt(value, 10, 64)
}

// compareRevisions puts the lowest first, and where they are unknown or equal the oldest.
func compareRevisions(a, b *appsv1.ReplicaSet) int {
	x, errA := revisionOf(a)
	y, errB := revisionOf(b)
	if errA != nil || errB != nil {
		return compareSetAges(a, b)
	}
	return cmp.Or(cmp.Compare(x, y), compareSetAges(a, b))
}

// topRevisions are the highest and the second highest.
func topRevisions(sets []*appsv1.ReplicaSet) (first, second int64) {
	for _, rs := range sets {
		switch r, err := revisionOf(rs); {
		case err != nil:
		case r >= first:
			first, second = r, first
		default:
			second = max(second, r)
		}
	}
	return first, second
}

// isOwnNote reports annotations that a deployment and its ReplicaSets do not share.
func isOwnNote(annotation string) bool {
	switch annotation {
	case corev1.LastAppliedConfigAnnotation, revisionAnnotation, historyAnnotation, desiredAnnotation, maximumAnnotation, appsv1.DeprecatedRollbackTo:
		return true
	}
	return false
}

// syncRevision keeps the current ReplicaSet's annotations, revision and minReadySeconds, and the revision that the deployment
// shows.
func (o *rollout) syncRevision() {
	if o.current == nil {
		return
	}
	highest, _ := topRevisions(o.old)
	changed := o.current.DeepCopy()
	if markCurrent(changed, o.d, highest+1) || changed.Spec.MinReadySeconds != o.d.Spec.MinReadySeconds {
		rs := o.change(o.current)
		rs.Annotations, rs.Spec.MinReadySeconds = changed.Annotations, o.d.Spec.MinReadySeconds
	}
	o.showRevision()
	if hasProgressDeadline(o.d) && deploymentCondition(o.d, appsv1.DeploymentProgressing) == nil {
		o.condition(appsv1.DeploymentProgressing, corev1.ConditionTrue, "FoundNewReplicaSet", fmt.Sprintf("Found new replica set %q", o.current.Name))
	}
}

func (o *rollout) showRevision() {
	if o.d.Annotations == nil {
		o.d.Annotations = map[string]string{}
	}
	o.d.Annotations[revisionAnnotation] = o.current.Annotations[revisionAnnotation]
}

// markCurrent gives a ReplicaSet the deployment's annotations and a revision, if that is higher than its own, and reports
// whether it changes anything. A revision that nobody can read is left alone.
func markCurrent(rs *appsv1.ReplicaSet, d *appsv1.Deployment, revision int64) bool {
	changed := false
	for name, value := range d.Annotations {
		if !isOwnNote(name) {
			changed = annotate(rs, name, value) || changed
		}
	}
	before, had := rs.Annotations[revisionAnnotation]
	was, err := strconv.ParseInt(cmp.Or(before, "0"), 10, 64)
	if err != nil {
		return changed
	}
	if was >= revision {
		return changed
	}
	if had {
		rememberRevision(rs, before)
	}
	return annotate(rs, revisionAnnotation, strconv.FormatInt(revision, 10)) || changed
}

// rememberRevision adds to the revisions that a ReplicaSet has had; the oldest are forgotten when they get too long.
func rememberRevision(rs *appsv1.ReplicaSet, revision string) {
	history := rs.Annotations[historyAnnotation]
	if history == "" {
		rs.Annotations[historyAnnotation] = revision
		return
	}
	for len(history)+1+len(revision) > longestHistory {
		_, later, more := strings.Cut(history, ",")
		if !more {
			return
		}
		history = later
	}
	rs.Annotations[historyAnnotation] = history + "," + revision
}

// ensureCurrent plans a ReplicaSet for the deployment's template if there is none, as large as the others let it be.
func (o *rollout) ensureCurrent() {
	if o.current != nil {
		return
	}
	rs := setOf(o.d)
	rs.Spec.Replicas = ptr.To(o.room(0))
	highest, _ := topRevisions(o.old)
	markCurrent(rs, o.d, highest+1)
	rememberSizes(rs, o.d)
	o.current = rs
	o.steps = append(o.steps, setStep{do: setCreate, set: rs})
	o.showRevision()
	if hasProgressDeadline(o.d) {
		o.condition(appsv1.DeploymentProgressing, corev1.ConditionTrue, "NewReplicaSetCreated", fmt.Sprintf("Created new replica set %q", rs.Name))
	}
}

// setOf is a ReplicaSet of the deployment's template. Its name follows from both, so that it cannot be created twice.
func setOf(d *appsv1.Deployment) *appsv1.ReplicaSet {
	hash := templateHash(&d.Spec.Template, d.Status.CollisionCount)
	template, selector := d.Spec.Template.DeepCopy(), d.Spec.Selector.DeepCopy()
	template.Labels = withLabel(template.Labels, appsv1.DefaultDeploymentUniqueLabelKey, hash)
	selector.MatchLabels = withLabel(selector.MatchLabels, appsv1.DefaultDeploymentUniqueLabelKey, hash)
	prefix := d.Name[:min(len(d.Name), validation.DNS1123SubdomainMaxLength-1-len(hash))]
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: prefix + "-" + hash, Namespace: d.Namespace, Labels: maps.Clone(template.Labels),
			OwnerReferences: []metav1.OwnerReference{ownedBy(d, deploymentKind())}},
		Spec: appsv1.ReplicaSetSpec{MinReadySeconds: d.Spec.MinReadySeconds, Selector: selector, Template: *template},
	}
}

func withLabel(labels map[string]string, name, value string) map[string]string {
	if labels == nil {
		labels = map[string]string{}
	}
	labels[name] = value
	return labels
}

// hasHistoryLimit reports whether old ReplicaSets are ever deleted.
func hasHistoryLimit(d *appsv1.Deployment) bool {
	return d.Spec.RevisionHistoryLimit != nil && *d.Spec.RevisionHistoryLimit != math.MaxInt32
}

// rollbackTarget is the revision that clients of long ago want to go back to; zero is the one before the current. Those of
// today change the template themselves.
func rollbackTarget(d *appsv1.Deployment) (int64, bool) {
	revision, err := strconv.ParseInt(d.Annotations[appsv1.DeprecatedRollbackTo], 10, 64)
	return revision, err == nil
}

// rollback gives the deployment the template of a revision, and the annotations that it had then. Whether or not that can be
// done, it is not asked for a second time.
func (o *rollout) rollback(target int64) {
	o.respecified = true
	delete(o.d.Annotations, appsv1.DeprecatedRollbackTo)
	if target == 0 {
		if _, target = topRevisions(o.all()); target == 0 {
			o.warn("DeploymentRollbackRevisionNotFound", "Unable to find last revision.")
			return
		}
	}
	for _, rs := range o.all() {
		if r, err := revisionOf(rs); err == nil && r == target {
			o.goBackTo(rs, target)
			return
		}
	}
	o.warn("DeploymentRollbackRevisionNotFound", "Unable to find the revision to rollback to.")
}

func (o *rollout) goBackTo(rs *appsv1.ReplicaSet, revision int64) {
	if sameTemplate(&rs.Spec.Template, &o.d.Spec.Template) {
		o.warn("DeploymentRollbackTemplateUnchanged", fmt.Sprintf("The rollback revision contains the same template as current deployment %q", o.d.Name))
		return
	}
	o.d.Spec.Template = *withoutHash(&rs.Spec.Template).DeepCopy()
	maps.DeleteFunc(o.d.Annotations, func(name, _ string) bool { return !isOwnNote(name) })
	for name, value := range rs.Annotations {
		if !isOwnNote(name) {
			o.d.Annotations[name] = value
		}
	}
	o.tell(corev1.EventTypeNormal, "DeploymentRollback", fmt.Sprintf("Rolled back deployment %q to revision %d", o.d.Name, revision))
}
