package scheduler

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// volumeRestrictions keeps pods from nodes where a disk that only one may have is in use, and from all nodes while the
// claim that they want for themselves alone is.
type volumeRestrictions struct{ volumes *volumes }

func newVolumeRestrictions(s *Scheduler) *volumeRestrictions { return &volumeRestrictions{s.volumes} }

func (v *volumeRestrictions) Filter(c *Cycle) (Judge, *Refusal) {
	const plugin = "VolumeRestrictions"
	if len(c.Pod.Spec.Volumes) == 0 {
		return nil, nil
	}
	v = v.in(c)
	j := &restrictionJudge{pod: c.Pod,
		taken: &Refusal{Plugin: plugin, Reasons: []string{"node(s) had no available disk"}},
		alone: &Refusal{Plugin: plugin, Reasons: []string{"node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"}}}
	for i := range c.Pod.Spec.Volumes {
		volume := &c.Pod.Spec.Volumes[i]
		if isDisk(volume) {
			j.disks = append(j.disks, volume)
		}
		if volume.PersistentVolumeClaim == nil {
			continue
		}
		claim, err := v.volumes.claim(c.Pod.Namespace, volume.PersistentVolumeClaim.ClaimName)
		if err != nil {
			return nil, hopeless(plugin, err)
		}
		if slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteOncePod) {
			j.claims = append(j.claims, claim.Name)
			j.users += c.usersOf(claim)
		}
	}
	if len(j.disks) == 0 && j.users == 0 {
		return nil, nil
	}
	return j, nil
}

// usersOf counts the pods on nodes that use a claim.
func (c *Cluster) usersOf(claim *corev1.PersistentVolumeClaim) (users int) {
	for _, n := range c.nodes {
		users += n.claims[claim.Namespace+"/"+claim.Name]
	}
	return users
}

type restrictionJudge struct {
	pod          *Pod
	disks        []*corev1.Volume
	claims       []string // that the pod wants for itself alone
	users        int      // of these
	taken, alone *Refusal
}

func (j *restrictionJudge) Judge(n *Node) *Refusal {
	for _, disk := range j.disks {
		for _, p := range n.Pods {
			if diskConflicts(disk, p.Pod) {
				return j.taken
			}
		}
	}
	if j.users > 0 {
		return j.alone
	}
	return nil
}

// Adjust counts users that come and go in thought.
func (j *restrictionJudge) Adjust(_ *Node, p *Pod, sign int32) {
	if p.Namespace != j.pod.Namespace {
		return
	}
	for i := range p.Spec.Volumes {
		if v := p.Spec.Volumes[i].PersistentVolumeClaim; v != nil && slices.Contains(j.claims, v.ClaimName) {
			j.users += int(sign)
		}
	}
}

// isDisk reports that a volume is of a sort that not everybody may have at once.
func isDisk(v *corev1.Volume) bool {
	return v.GCEPersistentDisk != nil || v.AWSElasticBlockStore != nil || v.RBD != nil || v.ISCSI != nil
}

// diskConflicts reports that a pod uses the same disk, and not both only read it. (An AWS disk is nobody else's at all.)
func diskConflicts(v *corev1.Volume, pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(o corev1.Volume) bool {
		switch {
		case v.GCEPersistentDisk != nil && o.GCEPersistentDisk != nil:
			a, b := v.GCEPersistentDisk, o.GCEPersistentDisk
			return a.PDName == b.PDName && !(a.ReadOnly && b.ReadOnly)
		case v.AWSElasticBlockStore != nil && o.AWSElasticBlockStore != nil:
			return v.AWSElasticBlockStore.VolumeID == o.AWSElasticBlockStore.VolumeID
		case v.ISCSI != nil && o.ISCSI != nil:
			return v.ISCSI.IQN == o.ISCSI.IQN && !(v.ISCSI.ReadOnly && o.ISCSI.ReadOnly)
		case v.RBD != nil && o.RBD != nil:
			a, b := v.RBD, o.RBD
			return a.RBDPool == b.RBDPool && a.RBDImage == b.RBDImage && !(a.ReadOnly && b.ReadOnly) &&
				slices.ContainsFunc(a.CephMonitors, func(m string) bool { return slices.Contains(b.CephMonitors, m) })
		}
		return false
	})
}

func (*volumeRestrictions) WakenBy() Kind { return NodeAdded | PodDeleted | ClaimChanged }

func (*volumeRestrictions) Helps(e *Event, p *Pod) bool {
	switch {
	case e.Kind&ClaimChanged != 0:
		return e.OldObject == nil && isOf(e, p)
	case e.Pod == nil:
		return true
	case e.Pod.Namespace != p.Namespace:
		return false
	}
	for i := range p.Spec.Volumes {
		if diskConflicts(&p.Spec.Volumes[i], e.Pod.Pod) {
			return true
		}
	}
	gone := claims(e.Pod.Pod)
	return slices.ContainsFunc(claims(p.Pod), func(name string) bool { return slices.Contains(gone, name) })
}

// Facts are the volumes that others have.
func (v *volumeRestrictions) Facts(c *Cycle, judge Judge, n *Node) (facts []Fact) {
	j, ok := judge.(*restrictionJudge)
	if !ok {
		return nil
	}
	for _, disk := range j.disks {
		if pods := j.having(disk, n); len(pods) > 0 {
			facts = append(facts, Fact{Text: "volume " + disk.Name + " is in use by " + strings.Join(podNames(pods), ", "), Volume: disk.Name})
		}
	}
	for _, name := range j.claims {
		if users := c.claiming(j.pod.Namespace, name); len(users) > 0 {
			facts = append(facts, Fact{Text: "claim " + name + " (ReadWriteOncePod) is in use by " + strings.Join(podNames(users), ", "), Volume: name})
		}
	}
	return facts
}

// having are the pods on a node that have a disk which the pod cannot share.
func (j *restrictionJudge) having(disk *corev1.Volume, n *Node) (pods []*Pod) {
	for _, p := range n.Pods {
		if diskConflicts(disk, p.Pod) {
			pods = append(pods, p)
		}
	}
	return pods
}

// claiming are the pods on nodes that use a claim.
func (c *Cluster) claiming(namespace, name string) (pods []*Pod) {
	for _, n := range c.nodes {
		for _, p := range n.Pods {
			if p.Namespace == namespace && slices.Contains(claims(p.Pod), name) {
				pods = append(pods, p)
			}
		}
	}
	return pods
}

// Changes are that the others go, that all only read a disk, or that a claim is for more than one.
func (v *volumeRestrictions) Changes(c *Cycle, judge Judge, n *Node) (changes []Change) {
	v = v.in(c)
	j, ok := judge.(*restrictionJudge)
	if !ok || n == nil {
		return v.volumes.forUnbound(c.Pod.Pod)
	}
	for _, disk := range j.disks {
		if pods := j.having(disk, n); len(pods) > 0 {
			return append(reading(disk, pods), freeing(n, "volume "+disk.Name, pods)...)
		}
	}
	for _, name := range j.claims {
		users := c.claiming(j.pod.Namespace, name)
		claim, err := v.volumes.claim(j.pod.Namespace, name)
		if len(users) == 0 || err != nil {
			continue
		}
		shared := claim.DeepCopy()
		shared.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
		changes = freeing(n, "claim "+name, users)
		for i := range changes {
			changes[i].Text = strings.Replace(changes[i].Text, " on "+n.name, "", 1) // wherever they are
		}
		return append(changes, anew(shared, "ReadWriteOnce", "ReadWriteOncePod", "claim-modes", 60))
	}
	return nil
}

// reading is that the pod only reads a disk, if all others do.
func reading(disk *corev1.Volume, others []*Pod) []Change {
	only := disk.DeepCopy()
	switch {
	case only.GCEPersistentDisk != nil:
		only.GCEPersistentDisk.ReadOnly = true
	case only.ISCSI != nil:
		only.ISCSI.ReadOnly = true
	case only.RBD != nil:
		only.RBD.ReadOnly = true
	}
	if slices.ContainsFunc(others, func(p *Pod) bool { return diskConflicts(only, p.Pod) }) {
		return nil
	}
	return []Change{{Text: "make volume " + disk.Name + " read-only in the pod: all others only read it", Kind: "read-only", Cost: 20, Pod: func(p *corev1.Pod) {
		for i := range p.Spec.Volumes {
			if p.Spec.Volumes[i].Name == disk.Name {
				p.Spec.Volumes[i] = *only
			}
		}
	}}}
}
