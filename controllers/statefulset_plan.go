package controllers

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// setView is a StatefulSet with its pods at one moment.
type setView struct {
	set             *appsv1.StatefulSet
	current, update *appsv1.ControllerRevision
	currentTemplate *corev1.PodTemplateSpec // what current keeps
	now             time.Time

	pods      []*corev1.Pod
	replicas  []*corev1.Pod // by ordinal; those that are not there yet are as they are to be created
	condemned []*corev1.Pod // beyond the ordinals that are wanted, the highest first
}

// memberStep is something to be done to a pod.
type memberStep struct {
	do  memberAction
	pod *corev1.Pod
}

type memberAction string

const (
	setCreates memberAction = "create"
	setDeletes memberAction = "delete"
	setTends   memberAction = "tend"   // identity, volumes and the owners of its claims are put right
	setClaims  memberAction = "claims" // claims that are missing are created
	setRetains memberAction = "retain" // the owners of its claims are put right
)

// memberPlan is what is to be done: in order, each step only if those before it succeeded. Those of one row of steps may be
// done at once where the set's policy is parallel.
type memberPlan [][]memberStep

func viewSet(set *appsv1.StatefulSet, current, update *appsv1.ControllerRevision, currentTemplate *corev1.PodTemplateSpec, pods []*corev1.Pod, now time.Time) *setView {
	v := &setView{set: set, current: current, update: update, currentTemplate: currentTemplate, pods: pods, now: now}
	v.replicas = make([]*corev1.Pod, *set.Spec.Replicas)
	for _, p := range pods {
		switch ordinal := ordinalOf(p); {
		case inOrdinals(set, p):
			v.replicas[ordinal-firstOrdinal(set)] = p
		case ordinal >= 0:
			v.condemned = append(v.condemned, p)
		}
	}
	for i, p := range v.replicas {
		if p == nil {
			v.replicas[i] = v.newPod(firstOrdinal(set) + i)
		}
	}
	slices.SortFunc(v.condemned, func(a, b *corev1.Pod) int { return ordinalOf(b) - ordinalOf(a) })
	return v
}

// plan says what is to be done. In order, one pod after the other is brought to be available; then those that are too many
// go, from above; then those that are not up to date, from above, each when the one before is available again. In parallel
// nothing waits but the update.
func (v *setView) plan() memberPlan {
	tend, blocked := v.tendReplicas()
	plan := memberPlan{tend}
	if blocked {
		return plan
	}
	var claims []memberStep
	for _, p := range v.condemned {
		claims = append(claims, memberStep{setRetains, p})
	}
	remove, blocked := v.removeCondemned()
	plan = append(plan, claims, remove)
	if p := v.outOfDate(); !blocked && p != nil {
		plan = append(plan, []memberStep{{setDeletes, p}})
	}
	return plan
}

func (v *setView) inOrder() bool {
	return v.set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
}

// tendReplicas creates pods that are missing, deletes those that have ended so that they can be created anew, and keeps
// identity and claims of the others right. blocked says that nothing else may be done yet.
func (v *setView) tendReplicas() (steps []memberStep, blocked bool) {
	for _, p := range v.replicas {
		switch {
		case p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded:
			if p.DeletionTimestamp == nil {
				steps = append(steps, memberStep{setDeletes, p})
			}
			blocked = true
		case p.Status.Phase == "":
			steps = append(steps, memberStep{setCreates, p})
			blocked = true
		default:
			blocked = !v.available(p)
			if p.Status.Phase == corev1.PodPending {
				steps = append(steps, memberStep{setClaims, p})
			}
			if !blocked || !v.inOrder() {
				steps = append(steps, memberStep{setTends, p})
			}
		}
		if blocked && v.inOrder() {
			return steps, true
		}
	}
	return steps, false
}

// removeCondemned deletes pods that are too many. In order only the highest goes, and only when nothing is unavailable
// but itself.
func (v *setView) removeCondemned() (steps []memberStep, blocked bool) {
	sick := v.firstUnavailable()
	for _, p := range v.condemned {
		switch {
		case p.DeletionTimestamp != nil:
			if v.inOrder() {
				return steps, true
			}
		case v.inOrder() && !v.available(p) && p != sick:
			return steps, true
		default:
			steps = append(steps, memberStep{setDeletes, p})
			if v.inOrder() {
				return steps, true
			}
		}
	}
	return steps, false
}

func (v *setView) firstUnavailable() *corev1.Pod {
	ascending := slices.Clone(v.condemned)
	slices.Reverse(ascending)
	for _, p := range slices.Concat(v.replicas, ascending) {
		if !v.available(p) {
			return p
		}
	}
	return nil
}

// outOfDate is the pod that goes next to be made anew from the update revision; nil if there is none, or one of those that
// were is not available yet.
func (v *setView) outOfDate() *corev1.Pod {
	if v.set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return nil
	}
	for i := len(v.replicas) - 1; i >= v.partition(); i-- {
		p := v.replicas[i]
		if p.Labels[appsv1.StatefulSetRevisionLabel] != v.update.Name && p.DeletionTimestamp == nil {
			return p
		}
		if !v.available(p) {
			return nil
		}
	}
	return nil
}

func (v *setView) partition() int {
	if r := v.set.Spec.UpdateStrategy.RollingUpdate; r != nil && r.Partition != nil {
		return int(*r.Partition)
	}
	return 0
}

func (v *setView) available(p *corev1.Pod) bool {
	rest, ready := availableIn(p, v.set.Spec.MinReadySeconds, v.now)
	return ready && rest == 0 && p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil
}

// newPod is the pod of an ordinal: of the current revision below the partition, else of the update revision.
func (v *setView) newPod(ordinal int) *corev1.Pod {
	template, revision := &v.set.Spec.Template, v.update
	below := v.partition()
	strategy := v.set.Spec.UpdateStrategy
	if strategy.RollingUpdate == nil && strategy.Type == appsv1.RollingUpdateStatefulSetStrategyType {
		below = int(v.set.Status.CurrentReplicas)
	}
	if ordinal < firstOrdinal(v.set)+below {
		template, revision = v.currentTemplate, v.current
	}
	p := podOf(template, v.set.Namespace, v.set, setReference(v.set))
	p.Name = fmt.Sprintf("%s-%d", v.set.Name, ordinal)
	identify(p, ordinal)
	p.Spec.Hostname, p.Spec.Subdomain = p.Name, v.set.Spec.ServiceName
	mount(v.set, p)
	setEntry(&p.Labels, appsv1.StatefulSetRevisionLabel, revision.Name)
	return p
}

// status is what the pods amount to, and how long it takes until one of them has been ready for long enough; zero is never.
func (v *setView) status(collisions int32) (s appsv1.StatefulSetStatus, next time.Duration) {
	s = appsv1.StatefulSetStatus{ObservedGeneration: v.set.Generation, CurrentRevision: v.current.Name, UpdateRevision: v.update.Name,
		CollisionCount: &collisions, Conditions: v.set.Status.Conditions}
	for _, p := range v.pods {
		s.Replicas++
		if rest, ready := availableIn(p, v.set.Spec.MinReadySeconds, v.now); ready && p.Status.Phase == corev1.PodRunning {
			s.ReadyReplicas++
			if rest == 0 {
				s.AvailableReplicas++
			} else if next == 0 || rest < next {
				next = rest
			}
		}
		if p.DeletionTimestamp != nil {
			continue
		}
		if p.Labels[appsv1.StatefulSetRevisionLabel] == v.current.Name {
			s.CurrentReplicas++
		}
		if p.Labels[appsv1.StatefulSetRevisionLabel] == v.update.Name {
			s.UpdatedReplicas++
		}
	}
	return s, next
}

// completeUpdate makes the update revision the current one when all pods are of it.
func completeUpdate(set *appsv1.StatefulSet, s *appsv1.StatefulSetStatus) {
	n := *set.Spec.Replicas
	if set.Spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType && s.UpdatedReplicas == n && s.ReadyReplicas == n && s.Replicas == n {
		s.CurrentReplicas, s.CurrentRevision = s.UpdatedReplicas, s.UpdateRevision
	}
}

func setReference(set *appsv1.StatefulSet) metav1.OwnerReference {
	return ownedBy(set, metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"})
}

// parentAndOrdinal are what the name of a pod says: whose it is, and the how-manieth; -1 if it says nothing.
func parentAndOrdinal(p *corev1.Pod) (parent string, ordinal int) {
	dash := strings.LastIndexByte(p.Name, '-')
	if dash < 0 {
		return "", -1
	}
	n, err := strconv.ParseUint(p.Name[dash+1:], 10, 31)
	if err != nil {
		return "", -1
	}
	return p.Name[:dash], int(n)
}

func ordinalOf(p *corev1.Pod) int {
	_, ordinal := parentAndOrdinal(p)
	return ordinal
}

func firstOrdinal(set *appsv1.StatefulSet) int {
	if set.Spec.Ordinals == nil {
		return 0
	}
	return int(set.Spec.Ordinals.Start)
}

// inOrdinals reports that the set wants a pod of that ordinal.
func inOrdinals(set *appsv1.StatefulSet, p *corev1.Pod) bool {
	n := ordinalOf(p) - firstOrdinal(set)
	return n >= 0 && n < int(*set.Spec.Replicas)
}

func identify(p *corev1.Pod, ordinal int) {
	setEntry(&p.Labels, appsv1.StatefulSetPodNameLabel, p.Name)
	setEntry(&p.Labels, appsv1.PodIndexLabel, strconv.Itoa(ordinal))
}

// claimName is the name of a pod's claim of a template.
func claimName(set *appsv1.StatefulSet, template string, ordinal int) string {
	return fmt.Sprintf("%s-%s-%d", template, set.Name, ordinal)
}

// mount puts the pod's claims in the place of volumes of the same names.
func mount(set *appsv1.StatefulSet, p *corev1.Pod) {
	var volumes []corev1.Volume
	own := map[string]bool{}
	for _, c := range set.Spec.VolumeClaimTemplates {
		own[c.Name] = true
		volumes = append(volumes, corev1.Volume{Name: c.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claimName(set, c.Name, ordinalOf(p))}}})
	}
	p.Spec.Volumes = append(volumes, slices.DeleteFunc(slices.Clone(p.Spec.Volumes), func(v corev1.Volume) bool { return own[v.Name] })...)
}

// mounts reports that a pod has the claims of all templates.
func mounts(set *appsv1.StatefulSet, p *corev1.Pod) bool {
	has := map[string]string{}
	for _, v := range p.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			has[v.Name] = v.PersistentVolumeClaim.ClaimName
		}
	}
	return !slices.ContainsFunc(set.Spec.VolumeClaimTemplates, func(c corev1.PersistentVolumeClaim) bool {
		return has[c.Name] != claimName(set, c.Name, ordinalOf(p))
	})
}

// claimsOf are a pod's claims as they are to be created.
func claimsOf(set *appsv1.StatefulSet, p *corev1.Pod) (claims []*corev1.PersistentVolumeClaim) {
	for i := range set.Spec.VolumeClaimTemplates {
		c := set.Spec.VolumeClaimTemplates[i].DeepCopy()
		c.Name, c.Namespace = claimName(set, c.Name, ordinalOf(p)), set.Namespace
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		maps.Copy(c.Labels, set.Spec.Selector.MatchLabels)
		claims = append(claims, c)
	}
	return claims
}
