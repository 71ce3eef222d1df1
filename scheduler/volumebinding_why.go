package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/storage/ephemeral"
	storagevolume "k8s.io/component-helpers/storage/volume"
)

// Facts are the claims whose volumes the node does not reach, or that find none there.
func (v *volumeBinding) Facts(c *Cycle, _ Judge, n *Node) (facts []Fact) {
	v = v.in(c)
	if n == nil {
		return v.unbound(c.Pod.Pod)
	}
	sorted, err := v.sort(c.Pod.Pod)
	if err != nil {
		return nil
	}
	for _, claim := range sorted.bound {
		volume, err := v.volumes.volume(claim.Spec.VolumeName)
		if err == nil {
			err = storagevolume.CheckNodeAffinity(volume, n.Labels)
		}
		if err != nil {
			facts = append(facts, Fact{Text: fmt.Sprintf("claim %s is bound to volume %s, which is not to be had here", claim.Name, claim.Spec.VolumeName), Volume: claim.Name})
		}
	}
	plan, chosen := &volumePlan{}, map[string]*corev1.PersistentVolume{}
	for _, claim := range sorted.waiting {
		if v.planClaim(plan, claim, sorted, chosen, n) != "" {
			facts = append(facts, Fact{Text: fmt.Sprintf("claim %s of class %q finds no volume here, and nobody makes one", claim.Name, storagevolume.GetPersistentVolumeClaimClass(claim)), Volume: claim.Name})
		}
	}
	return facts
}

// unbound are the claims that have to be bound before a node is looked for.
func (v *volumeBinding) unbound(pod *corev1.Pod) (facts []Fact) {
	for _, name := range claims(pod) {
		claim, err := v.volumes.claim(pod.Namespace, name)
		switch {
		case err != nil:
			facts = append(facts, Fact{Text: "claim " + name + " does not exist", Volume: name})
		case !isBound(claim):
			class := storagevolume.GetPersistentVolumeClaimClass(claim)
			facts = append(facts, Fact{Text: fmt.Sprintf("claim %s of class %q is not bound to a volume (%s)", name, class, claim.Status.Phase), Volume: name})
		}
	}
	return facts
}

// Changes are of the first claim that stands in the way: to let the node reach its volume, to let a volume that there is do for
// it, to make it anew with other wishes, or to make a volume.
func (v *volumeBinding) Changes(c *Cycle, _ Judge, n *Node) []Change {
	v = v.in(c)
	pod := c.Pod.Pod
	if n == nil {
		return v.volumes.forUnbound(pod)
	}
	sorted, err := v.sort(pod)
	if err != nil {
		return nil
	}
	for _, claim := range sorted.bound {
		volume, err := v.volumes.volume(claim.Spec.VolumeName)
		switch {
		case err != nil:
			return v.volumes.remaking(claim, storagevolume.GetPersistentVolumeClaimClass(claim))
		case storagevolume.CheckNodeAffinity(volume, n.Labels) != nil:
			return reaching(volume, n)
		}
	}
	plan, chosen := &volumePlan{}, map[string]*corev1.PersistentVolume{}
	for _, claim := range sorted.waiting {
		if v.planClaim(plan, claim, sorted, chosen, n) != "" {
			return v.forWaiting(pod, claim, chosen, n)
		}
	}
	return nil
}

// forWaiting are the changes with which a claim that waits for its first pod finds a volume on a node.
func (v *volumeBinding) forWaiting(pod *corev1.Pod, claim *corev1.PersistentVolumeClaim, chosen map[string]*corev1.PersistentVolume, n *Node) (changes []Change) {
	if selected, ok := claim.Annotations[storagevolume.AnnSelectedNode]; ok && selected != n.name {
		free := claim.DeepCopy()
		delete(free.Annotations, storagevolume.AnnSelectedNode)
		return []Change{{Text: fmt.Sprintf("take the annotation %s (%s) off claim %s", storagevolume.AnnSelectedNode, selected, claim.Name), Kind: "selected-node", Cost: 30, Storage: []metav1.Object{free}}}
	}
	changes = v.volumes.nearMisses(claim, chosen, n)
	class, err := v.volumes.classes.Get(storagevolume.GetPersistentVolumeClaimClass(claim))
	switch {
	case err != nil:
	case class.Provisioner == "" || class.Provisioner == storagevolume.NotSupportedProvisioner:
		changes = append(changes, making(claim, n))
	case !isAllowed(class.AllowedTopologies, n.Labels):
		changes = append(changes, allowing(class, n)...)
	default:
		changes = append(changes, v.lessening(claim, class, n)...)
	}
	changes = append(changes, v.volumes.otherClass(claim)...)
	if metav1.IsControlledBy(claim, pod) { // the claim is as the pod's template says
		changes = slices.DeleteFunc(changes, func(c Change) bool { return strings.HasPrefix(c.Kind, "claim") })
	}
	return changes
}

// forUnbound are the changes for the first claim that has to be bound before a node is looked for.
func (v *volumes) forUnbound(pod *corev1.Pod) []Change {
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		switch {
		case volume.PersistentVolumeClaim != nil:
			if changes, stands := v.forClaim(pod.Namespace, volume.PersistentVolumeClaim.ClaimName); stands {
				return changes
			}
		case volume.Ephemeral != nil:
			if claim, err := v.claim(pod.Namespace, ephemeral.VolumeClaimName(pod, volume)); err == nil && !isBound(claim) {
				return []Change{making(claim, nil)}
			}
		}
	}
	return nil
}

// forClaim are the changes for a claim; stands says that it stands in the way.
func (v *volumes) forClaim(namespace, name string) (changes []Change, stands bool) {
	claim, err := v.claim(namespace, name)
	if err != nil {
		return v.creating(namespace, name), true
	}
	class := storagevolume.GetPersistentVolumeClaimClass(claim)
	if claim.DeletionTimestamp != nil || claim.Status.Phase == corev1.ClaimLost {
		return v.remaking(claim, class), true
	}
	waits, err := storagevolume.IsDelayBindingMode(claim, v.classes)
	if isBound(claim) || err == nil && waits && claim.Spec.VolumeName == "" {
		return nil, false
	}
	if _, err := v.classes.Get(class); err != nil && class != "" {
		made := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: class}, Provisioner: "example.com/any", VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer)}
		changes = append(changes, Change{Text: fmt.Sprintf("create storage class %s, which claim %s names, with a provisioner", class, name), Kind: "class", Cost: 45, Storage: []metav1.Object{made}})
		return append(changes, v.otherClass(claim)...), true
	}
	changes = append(v.nearMisses(claim, nil, nil), making(claim, nil))
	return append(changes, v.otherClass(claim)...), true
}

// creating is that a claim is made which is missing.
func (v *volumes) creating(namespace, name string) []Change {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	class := v.suitable("")
	if class == "" {
		return []Change{{Text: "create claim " + name + ", and a volume for it", Kind: "claim", Cost: 30, Storage: provided(claim, nil)}}
	}
	claim.Spec.StorageClassName = &class
	return []Change{{Text: fmt.Sprintf("create claim %s, of class %s for example", name, class), Kind: "claim", Cost: 20, Storage: []metav1.Object{claim}}}
}

// remaking is that a claim whose volume is gone, or which goes itself, is made anew.
func (v *volumes) remaking(claim *corev1.PersistentVolumeClaim, class string) []Change {
	again := unboundCopy(claim)
	storage := []metav1.Object{again}
	if waits, err := storagevolume.IsDelayBindingMode(again, v.classes); err != nil || !waits || class == "" {
		storage = provided(again, nil)
	}
	return []Change{{Text: fmt.Sprintf("make claim %s anew: what was in volume %s is lost", claim.Name, claim.Spec.VolumeName), Kind: "claim", Cost: 60, Storage: storage}}
}

// otherClass is that a claim is made anew with a class of which volumes are made where pods are.
func (v *volumes) otherClass(claim *corev1.PersistentVolumeClaim) []Change {
	has := storagevolume.GetPersistentVolumeClaimClass(claim)
	class := v.suitable(has)
	if class == "" {
		return nil
	}
	other := unboundCopy(claim)
	other.Spec.StorageClassName = &class
	return []Change{anew(other, "class "+class, fmt.Sprintf("%q", has), "claim-class", 45)}
}

// suitable is the first class but one that has volumes made where pods are; a default class comes first.
func (v *volumes) suitable(but string) string {
	all, _ := v.classes.List(labels.Everything()) // a lister of memory
	best, preferred := "", false
	for _, class := range all {
		if class.Name == but || class.Provisioner == storagevolume.NotSupportedProvisioner || class.VolumeBindingMode == nil ||
			*class.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer {
			continue
		}
		isDefault := class.Annotations["storageclass.kubernetes.io/is-default-class"] == "true"
		if best == "" || isDefault && !preferred || isDefault == preferred && class.Name < best {
			best, preferred = class.Name, isDefault
		}
	}
	return best
}

// nearMisses are the changes with which a volume that is free would do for a claim, if there is one that all but does. n is nil
// if it need not be on a node.
func (v *volumes) nearMisses(claim *corev1.PersistentVolumeClaim, chosen map[string]*corev1.PersistentVolume, n *Node) (changes []Change) {
	var largest *corev1.PersistentVolume
	asked := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	for _, volume := range v.ofClass(storagevolume.GetPersistentVolumeClaimClass(claim)) {
		if chosen[volume.Name] != nil || volume.Spec.ClaimRef != nil || volume.DeletionTimestamp != nil || volume.Status.Phase != corev1.VolumeAvailable ||
			storagevolume.CheckVolumeModeMismatches(&claim.Spec, &volume.Spec) {
			continue
		}
		size := volume.Spec.Capacity[corev1.ResourceStorage]
		small, modes, labelled := size.Cmp(asked) < 0, !storagevolume.CheckAccessModes(claim, volume), isSelected(claim, volume)
		away := n != nil && storagevolume.CheckNodeAffinity(volume, n.Labels) != nil
		switch (misses{small, modes, !labelled, away}) {
		case misses{small: true}:
			if largest == nil || size.Cmp(largest.Spec.Capacity[corev1.ResourceStorage]) > 0 {
				largest = volume
			}
		case misses{modes: true}:
			other := unboundCopy(claim)
			other.Spec.AccessModes = volume.Spec.AccessModes
			changes = append(changes, anew(other, modesText(volume.Spec.AccessModes), modesText(claim.Spec.AccessModes)+", for volume "+volume.Name, "claim-modes", 40))
		case misses{selector: true}:
			changes = append(changes, labelingVolume(volume, claim.Spec.Selector.MatchLabels)...)
		case misses{away: true}:
			changes = append(changes, reaching(volume, n)...)
		}
	}
	if largest != nil {
		size := largest.Spec.Capacity[corev1.ResourceStorage]
		changes = append(changes, smaller(claim, size, "volume "+largest.Name+" has no more"))
	}
	return changes
}

// misses are what is wrong with a volume for a claim.
type misses struct{ small, modes, selector, away bool }

func isSelected(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) bool {
	return claim.Spec.Selector == nil || selectorOf(claim.Spec.Selector).Matches(labels.Set(volume.Labels))
}

// labelingVolume is the change that a volume gets the labels that a claim selects.
func labelingVolume(volume *corev1.PersistentVolume, with map[string]string) []Change {
	other := volume.DeepCopy()
	if other.Labels == nil {
		other.Labels = map[string]string{}
	}
	var texts []string
	for _, key := range slices.Sorted(maps.Keys(with)) {
		if volume.Labels[key] != with[key] {
			texts = append(texts, key+"="+with[key])
		}
	}
	if len(texts) == 0 {
		return nil // it is an expression that does not hold
	}
	maps.Copy(other.Labels, with)
	return []Change{{Text: fmt.Sprintf("label volume %s with %s", volume.Name, strings.Join(texts, ", ")), Kind: "volume-label", Cost: 25, Storage: []metav1.Object{other}}}
}

// reaching is the change that a node gets the labels which a volume asks for. Those that it has are not changed: they say where
// the node is, and volumes do not move.
func reaching(volume *corev1.PersistentVolume, n *Node) []Change {
	if volume.Spec.NodeAffinity == nil || volume.Spec.NodeAffinity.Required == nil {
		return nil
	}
	lacks := lacking(volume.Spec.NodeAffinity.Required.NodeSelectorTerms, n)
	if slices.ContainsFunc(lacks, func(u unmetLabel) bool { _, has := n.Labels[u.Key]; return has }) {
		return nil
	}
	if with := meeting(lacks); with != nil {
		return []Change{labeling(n, 20+5*len(with), with)}
	}
	return nil
}

// making is that somebody makes a volume for a claim, on a node if there is one.
func making(claim *corev1.PersistentVolumeClaim, n *Node) Change {
	size, where := claim.Spec.Resources.Requests[corev1.ResourceStorage], ""
	if n != nil {
		where = " that " + n.name + " reaches"
	}
	c := Change{Text: fmt.Sprintf("create a volume%s for claim %s: class %q, at least %s, %s", where, claim.Name, storagevolume.GetPersistentVolumeClaimClass(claim),
		size.String(), modesText(claim.Spec.AccessModes)), Kind: "volume", Cost: 35}
	if c.Storage = provided(claim, n); n != nil {
		c.Storage = c.Storage[1:] // the claim finds it when it is looked for
	}
	return c
}

// allowing are the changes with which a class allows a node: labels that the node lacks, or what it has in the class.
func allowing(class *storagev1.StorageClass, n *Node) []Change {
	term := class.AllowedTopologies[0].MatchLabelExpressions
	with, texts := map[string]string{}, []string{}
	other := class.DeepCopy()
	for i, r := range term {
		value, has := n.Labels[r.Key]
		switch {
		case !has && len(r.Values) > 0:
			with[r.Key] = r.Values[0]
		case has && !slices.Contains(r.Values, value):
			texts = append(texts, r.Key+"="+value)
			other.AllowedTopologies[0].MatchLabelExpressions[i].Values = append(other.AllowedTopologies[0].MatchLabelExpressions[i].Values, value)
		}
	}
	var changes []Change
	if len(with) > 0 {
		changes = append(changes, labeling(n, 20+5*len(with), with))
	}
	if len(texts) > 0 {
		changes = append(changes, Change{Text: fmt.Sprintf("add %s to allowedTopologies of storage class %s", strings.Join(texts, ", "), class.Name), Kind: "topology", Cost: 30, Storage: []metav1.Object{other}})
	}
	return changes
}

// lessening is that a claim asks for no more than its driver says there is.
func (v *volumeBinding) lessening(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, n *Node) []Change {
	var most *resource.Quantity
	for _, c := range v.capacitiesAt(class, n) {
		if largest := largestVolume(c); largest != nil && (most == nil || largest.Cmp(*most) > 0) {
			most = largest
		}
	}
	if most == nil || most.IsZero() {
		return nil
	}
	return []Change{smaller(claim, *most, class.Provisioner+" has no more there")}
}

// smaller is a claim that asks for less.
func smaller(claim *corev1.PersistentVolumeClaim, size resource.Quantity, why string) Change {
	other, asked := unboundCopy(claim), claim.Spec.Resources.Requests[corev1.ResourceStorage]
	other.Spec.Resources.Requests[corev1.ResourceStorage] = size
	return anew(other, size.String(), asked.String()+": "+why, "claim-size", 40)
}

// anew is the change that a claim is made again with another wish: what a claim asks for cannot be changed.
func anew(claim *corev1.PersistentVolumeClaim, with, instead, kind string, cost int) Change {
	return Change{Text: fmt.Sprintf("make claim %s anew with %s in place of %s", claim.Name, with, instead), Kind: kind, Cost: cost, Storage: []metav1.Object{claim}}
}

// unboundCopy is a claim as it was when it was made.
func unboundCopy(claim *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaim {
	c := claim.DeepCopy()
	c.UID, c.DeletionTimestamp, c.Spec.VolumeName = "supposed", nil, ""
	c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
	delete(c.Annotations, storagevolume.AnnBindCompleted)
	delete(c.Annotations, storagevolume.AnnSelectedNode)
	return c
}

// provided are a claim that is bound and its volume: on a node, or anywhere.
func provided(claim *corev1.PersistentVolumeClaim, n *Node) []metav1.Object {
	bound, volume := unboundCopy(claim), &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "for " + claim.Name, Labels: map[string]string{}}}
	metav1.SetMetaDataAnnotation(&bound.ObjectMeta, storagevolume.AnnBindCompleted, "yes")
	bound.Spec.VolumeName, bound.Status.Phase = volume.Name, corev1.ClaimBound
	volume.Spec.StorageClassName, volume.Status.Phase = storagevolume.GetPersistentVolumeClaimClass(claim), corev1.VolumeAvailable
	volume.Spec.Capacity, volume.Spec.AccessModes, volume.Spec.VolumeMode = claim.Spec.Resources.Requests, claim.Spec.AccessModes, claim.Spec.VolumeMode
	volume.Spec.VolumeAttributesClassName = claim.Spec.VolumeAttributesClassName
	if claim.Spec.Selector != nil {
		maps.Copy(volume.Labels, claim.Spec.Selector.MatchLabels)
	}
	if n != nil {
		volume.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{n.Labels[corev1.LabelHostname]}}}}}}}
	}
	return []metav1.Object{bound, volume}
}

func modesText(modes []corev1.PersistentVolumeAccessMode) string {
	texts := make([]string, len(modes))
	for i, m := range modes {
		texts[i] = string(m)
	}
	return strings.Join(texts, " and ")
}
