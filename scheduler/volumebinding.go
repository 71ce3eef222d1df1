package scheduler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	storagevolume "k8s.io/component-helpers/storage/volume"
	configv1 "k8s.io/kube-scheduler/config/v1"
)

// volumeBinding keeps pods to nodes that reach their volumes, and chooses volumes for claims that wait for their first
// pod: one that is there already, or else the provisioner of the class is told the node.
//
// What it has chosen is assumed when the pod's node is, written in the background, and then the pod waits until the
// volume controller has bound the claims: so a pod is never bound to a node without its volumes.
type volumeBinding struct {
	scheduler *Scheduler
	volumes   *volumes
	timeout   time.Duration // of waiting for volumes

	mu    sync.Mutex // guards plans
	plans map[types.UID]*volumePlan
}

func newVolumeBinding(s *Scheduler, args *volumeBindingArgs) *volumeBinding {
	return &volumeBinding{scheduler: s, volumes: s.volumes, timeout: time.Duration(*args.BindTimeoutSeconds) * time.Second, plans: map[types.UID]*volumePlan{}}
}

type volumeBindingArgs struct{ configv1.VolumeBindingArgs }

func (a *volumeBindingArgs) Default() { orElse(&a.BindTimeoutSeconds, 600) }

func (a *volumeBindingArgs) Validate(at *field.Path) (errs field.ErrorList) {
	if *a.BindTimeoutSeconds < 0 {
		errs = append(errs, field.Invalid(at.Child("bindTimeoutSeconds"), *a.BindTimeoutSeconds, "invalid BindTimeoutSeconds, should not be a negative value"))
	}
	if a.Shape != nil {
		errs = append(errs, field.Invalid(at.Child("shape"), a.Shape, "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring"))
	}
	return errs
}

// volumePlan is what has to be written for a pod on a node.
type volumePlan struct {
	bind      []*corev1.PersistentVolume      // with the claim that they are for
	claims    []*corev1.PersistentVolumeClaim // of these volumes
	provision []*corev1.PersistentVolumeClaim // with the node
}

// volumeCheck is how often a pod that waits for its volumes looks for them.
const volumeCheck = 200 * time.Millisecond

// podClaims is a pod's claims, sorted by what is to be done.
type podClaims struct {
	bound, waiting []*corev1.PersistentVolumeClaim
	candidates     map[string][]*corev1.PersistentVolume // by class, for those waiting
}

func (v *volumeBinding) Filter(c *Cycle) (Judge, *Refusal) {
	if !hasClaims(c.Pod.Pod) {
		return nil, nil
	}
	v = v.in(c)
	sorted, err := v.sort(c.Pod.Pod)
	if err != nil {
		return nil, hopeless("VolumeBinding", err)
	}
	return judging(func(n *Node) *Refusal {
		_, reasons := v.plan(sorted, n)
		if len(reasons) > 0 {
			return &Refusal{"VolumeBinding", reasons, true}
		}
		return nil
	}), nil
}

// sort sorts a pod's claims. It is an error if one has to be bound before anybody may use it, and is not.
func (v *volumeBinding) sort(pod *corev1.Pod) (*podClaims, error) {
	all, err := v.volumes.claimsOf(pod)
	if err != nil {
		return nil, err
	}
	sorted := &podClaims{candidates: map[string][]*corev1.PersistentVolume{}}
	immediate := false
	for _, claim := range all {
		if isBound(claim) {
			sorted.bound = append(sorted.bound, claim)
			continue
		}
		waits, err := storagevolume.IsDelayBindingMode(claim, v.volumes.classes)
		if err != nil {
			return nil, err
		}
		if !waits || claim.Spec.VolumeName != "" {
			immediate = true
			continue
		}
		sorted.waiting = append(sorted.waiting, claim)
		class := storagevolume.GetPersistentVolumeClaimClass(claim)
		sorted.candidates[class] = v.volumes.ofClass(class)
	}
	if immediate {
		return nil, errors.New("pod has unbound immediate PersistentVolumeClaims")
	}
	slices.SortStableFunc(sorted.waiting, func(a, b *corev1.PersistentVolumeClaim) int {
		x, y := a.Spec.Resources.Requests[corev1.ResourceStorage], b.Spec.Resources.Requests[corev1.ResourceStorage]
		return x.Cmp(y) // the small ones first, so that they leave the large volumes to the others
	})
	return sorted, nil
}

// isBound reports that both sides are.
func isBound(claim *corev1.PersistentVolumeClaim) bool {
	return claim.Spec.VolumeName != "" && metav1.HasAnnotation(claim.ObjectMeta, storagevolume.AnnBindCompleted)
}

// plan finds what would have to be done for the pod on a node, or why that cannot be.
func (v *volumeBinding) plan(sorted *podClaims, n *Node) (*volumePlan, []string) {
	var reasons []string
	for _, claim := range sorted.bound {
		volume, err := v.volumes.volume(claim.Spec.VolumeName)
		if err != nil {
			reasons = append(reasons, "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")
			break
		}
		if storagevolume.CheckNodeAffinity(volume, n.Labels) != nil {
			reasons = append(reasons, "node(s) didn't match PersistentVolume's node affinity")
			break
		}
	}
	p := &volumePlan{}
	chosen := map[string]*corev1.PersistentVolume{}
	for _, claim := range sorted.waiting {
		if reason := v.planClaim(p, claim, sorted, chosen, n); reason != "" {
			return nil, append(reasons, reason)
		}
	}
	return p, reasons
}

const noVolumeToBind = "node(s) didn't find available persistent volumes to bind"

// planClaim finds a volume for a claim, or else somebody who makes one; it returns why there is neither.
func (v *volumeBinding) planClaim(p *volumePlan, claim *corev1.PersistentVolumeClaim, sorted *podClaims, chosen map[string]*corev1.PersistentVolume, n *Node) string {
	class := storagevolume.GetPersistentVolumeClaimClass(claim)
	if selected, ok := claim.Annotations[storagevolume.AnnSelectedNode]; ok {
		if selected != n.name {
			return noVolumeToBind
		}
	} else if volume, err := storagevolume.FindMatchingVolume(claim, sorted.candidates[class], n.Node, chosen, true, true); err != nil {
		return err.Error()
	} else if volume != nil {
		chosen[volume.Name] = volume
		claimed, _, err := storagevolume.GetBindVolumeToClaim(volume, claim)
		if err != nil {
			return err.Error()
		}
		p.bind, p.claims = append(p.bind, claimed), append(p.claims, claim)
		return ""
	}
	if reason := v.whyNotProvisioned(claim, class, n); reason != "" {
		return reason
	}
	told := claim.DeepCopy()
	metav1.SetMetaDataAnnotation(&told.ObjectMeta, storagevolume.AnnSelectedNode, n.name)
	p.provision = append(p.provision, told)
	return ""
}

// whyNotProvisioned is empty if a volume can be made for a claim on a node.
func (v *volumeBinding) whyNotProvisioned(claim *corev1.PersistentVolumeClaim, name string, n *Node) string {
	class, err := v.volumes.classes.Get(name)
	switch {
	case err != nil:
		return fmt.Sprintf("failed to find storage class %q", name)
	case class.Provisioner == "" || class.Provisioner == storagevolume.NotSupportedProvisioner || !isAllowed(class.AllowedTopologies, n.Labels):
		return noVolumeToBind
	case !v.hasCapacity(claim, class, n):
		return "node(s) did not have enough free storage"
	}
	return ""
}

// isAllowed reports that a node matches one of the terms, if there are any.
func isAllowed(terms []corev1.TopologySelectorTerm, node map[string]string) bool {
	return len(terms) == 0 || slices.ContainsFunc(terms, func(t corev1.TopologySelectorTerm) bool {
		return len(t.MatchLabelExpressions) > 0 && !slices.ContainsFunc(t.MatchLabelExpressions, func(r corev1.TopologySelectorLabelRequirement) bool {
			value, ok := node[r.Key]
			return !ok || !slices.Contains(r.Values, value)
		})
	})
}

// hasCapacity asks drivers that tell how much there is left.
func (v *volumeBinding) hasCapacity(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, n *Node) bool {
	size, ok := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	driver, err := v.volumes.drivers.Get(class.Provisioner)
	if !ok || err != nil || driver.Spec.StorageCapacity == nil || !*driver.Spec.StorageCapacity {
		return true
	}
	return slices.ContainsFunc(v.capacitiesAt(class, n), func(c *storagev1.CSIStorageCapacity) bool {
		most := largestVolume(c)
		return most != nil && most.Cmp(size) >= 0
	})
}

// capacitiesAt are what drivers tell of a class where a node is.
func (v *volumeBinding) capacitiesAt(class *storagev1.StorageClass, n *Node) []*storagev1.CSIStorageCapacity {
	all, _ := v.volumes.capacities.List(labels.Everything()) // a lister of memory
	return slices.DeleteFunc(all, func(c *storagev1.CSIStorageCapacity) bool {
		return c.StorageClassName != class.Name || c.NodeTopology == nil || !selectorOf(c.NodeTopology).Matches(labels.Set(n.Labels))
	})
}

// largestVolume is the size of the largest volume that can be made; nil if that is not told.
func largestVolume(c *storagev1.CSIStorageCapacity) *resource.Quantity {
	if c.MaximumVolumeSize != nil {
		return c.MaximumVolumeSize
	}
	return c.Capacity
}

// Reserve assumes the plan for the node that was chosen.
func (v *volumeBinding) Reserve(c *Cycle, n *Node) *Refusal {
	if !hasClaims(c.Pod.Pod) {
		return nil
	}
	sorted, err := v.sort(c.Pod.Pod)
	if err != nil {
		return hopeless("VolumeBinding", err)
	}
	plan, reasons := v.plan(sorted, n)
	if len(reasons) > 0 {
		return &Refusal{"VolumeBinding", reasons, true}
	}
	if len(plan.bind)+len(plan.provision) > 0 {
		v.volumes.assume(plan)
		v.mu.Lock()
		v.plans[c.Pod.UID] = plan
		v.mu.Unlock()
	}
	return nil
}

// Unreserve forgets the plan.
func (v *volumeBinding) Unreserve(p *Pod) {
	if plan := v.take(p); plan != nil {
		v.volumes.forget(plan)
	}
}

func (v *volumeBinding) take(p *Pod) *volumePlan {
	v.mu.Lock()
	defer v.mu.Unlock()
	plan := v.plans[p.UID]
	delete(v.plans, p.UID)
	return plan
}

// Awaits reports that there is something to write.
func (v *volumeBinding) Awaits(p *Pod) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.plans[p.UID] != nil
}

// Prepare writes the plan and waits for the volumes.
func (v *volumeBinding) Prepare(ctx context.Context, p *Pod) error {
	v.mu.Lock()
	plan := v.plans[p.UID]
	v.mu.Unlock()
	if plan == nil {
		return nil
	}
	if err := v.write(ctx, plan); err != nil {
		return err
	}
	if err := v.await(ctx, p, plan); err != nil {
		return fmt.Errorf("binding volumes: %w", err)
	}
	v.take(p)
	return nil
}

func (v *volumeBinding) write(ctx context.Context, plan *volumePlan) error {
	client := v.scheduler.config.Client.CoreV1()
	for _, volume := range plan.bind {
		if _, err := client.PersistentVolumes().Update(ctx, volume, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	for _, claim := range plan.provision {
		if _, err := client.PersistentVolumeClaims(claim.Namespace).Update(ctx, claim, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// await looks until all is bound, or something shows that it never will be.
func (v *volumeBinding) await(ctx context.Context, p *Pod, plan *volumePlan) error {
	ctx, cancel := context.WithTimeout(ctx, v.timeout)
	defer cancel()
	tick := v.scheduler.config.Clock.NewTicker(volumeCheck)
	defer tick.Stop()
	for {
		done, err := v.isDone(p, plan)
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C():
		}
	}
}

// isDone looks at what the informers show; they may be behind what was written.
func (v *volumeBinding) isDone(p *Pod, plan *volumePlan) (bool, error) {
	node, err := v.scheduler.config.Informers.Core().V1().Nodes().Lister().Get(p.Spec.NodeName)
	if err != nil {
		return false, fmt.Errorf("failed to get node %q: %w", p.Spec.NodeName, err)
	}
	if _, err := v.scheduler.config.Informers.Core().V1().Pods().Lister().Pods(p.Namespace).Get(p.Name); apierrors.IsNotFound(err) {
		return false, fmt.Errorf("pod does not exist any more: %w", err)
	}
	for i, volume := range plan.bind {
		now, err := v.volumes.volume(volume.Name)
		if err != nil {
			return false, fmt.Errorf("failed to check binding: %w", err)
		}
		if err := isWithin(node, now); err != nil {
			return false, err
		}
		if now.Spec.ClaimRef == nil || now.Spec.ClaimRef.UID == "" {
			return false, fmt.Errorf("ClaimRef got reset for pv %q", volume.Name)
		}
		claim, err := v.volumes.claims.PersistentVolumeClaims(plan.claims[i].Namespace).Get(plan.claims[i].Name)
		if err != nil {
			return false, fmt.Errorf("failed to check binding: %w", err)
		}
		if !isBound(claim) {
			return false, nil
		}
	}
	for _, told := range plan.provision {
		claim, err := v.volumes.claim(told.Namespace, told.Name)
		if err != nil {
			return false, fmt.Errorf("failed to check provisioning pvc: %w", err)
		}
		if claim.Annotations[storagevolume.AnnSelectedNode] != p.Spec.NodeName {
			return false, fmt.Errorf("provisioning failed for PVC %q", claim.Name) // the provisioner gives the node back
		}
		if claim.Spec.VolumeName != "" {
			made, err := v.volumes.volume(claim.Spec.VolumeName)
			if err != nil {
				return false, nil // it does not show yet, or the claim will be lost
			}
			if err := isWithin(node, made); err != nil {
				return false, err
			}
		}
		if !isBound(claim) {
			return false, nil
		}
	}
	return true, nil
}

// isWithin says why a volume cannot be reached from a node; nil if it can.
func isWithin(node *corev1.Node, volume *corev1.PersistentVolume) error {
	if err := storagevolume.CheckNodeAffinity(volume, node.Labels); err != nil {
		return fmt.Errorf("pv %q node affinity doesn't match node %q: %w", volume.Name, node.Name, err)
	}
	return nil
}

func (*volumeBinding) WakenBy() Kind {
	return NodeAdded | NodeLabels | ClaimChanged | VolumeChanged | ClassChanged | StorageNodeChanged | StorageDriverChanged | StorageCapacityChanged
}

func (*volumeBinding) Helps(e *Event, p *Pod) bool {
	switch e.Object.(type) {
	case *corev1.PersistentVolumeClaim:
		return isOf(e, p)
	case *storagev1.CSINode:
		return e.OldObject == nil
	}
	return true
}
