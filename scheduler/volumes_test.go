package scheduler

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	storagevolume "k8s.io/component-helpers/storage/volume"
)

// storing puts objects where informers would have put them.
func (s *stand) storing(t *testing.T, objects ...runtime.Object) {
	t.Helper()
	core, storage := s.config.Informers.Core().V1(), s.config.Informers.Storage().V1()
	for _, o := range objects {
		var into cache.SharedIndexInformer
		switch o.(type) {
		case *corev1.PersistentVolumeClaim:
			into = core.PersistentVolumeClaims().Informer()
		case *corev1.PersistentVolume:
			into = core.PersistentVolumes().Informer()
		case *storagev1.StorageClass:
			into = storage.StorageClasses().Informer()
		case *corev1.Node:
			into = core.Nodes().Informer()
		case *corev1.Pod:
			into = core.Pods().Informer()
		case *storagev1.CSINode:
			into = storage.CSINodes().Informer()
		case *storagev1.CSIDriver:
			into = storage.CSIDrivers().Informer()
		case *storagev1.CSIStorageCapacity:
			into = storage.CSIStorageCapacities().Informer()
		case *storagev1.VolumeAttachment:
			into = storage.VolumeAttachments().Informer()
		}
		if err := into.GetStore().Add(o); err != nil {
			t.Fatal(err)
		}
	}
}

func using(claims ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		for _, c := range claims {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: c, VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c}}})
		}
	}
}

func claimOf(name, class string, options ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: "1", Annotations: map[string]string{}},
		Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: list("storage=1Gi")}}}
	for _, o := range options {
		o(c)
	}
	return c
}

func boundTo(volume string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) {
		c.Spec.VolumeName = volume
		c.Annotations[storagevolume.AnnBindCompleted] = "yes"
	}
}

func volumeOf(name, class string, options ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}},
		Spec: corev1.PersistentVolumeSpec{StorageClassName: class, Capacity: list("storage=1Gi"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}}}
	v.Status.Phase = corev1.VolumeAvailable
	for _, o := range options {
		o(v)
	}
	return v
}

func onlyOn(node string) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) {
		v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: hostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}}}}
	}
}

func classOf(name, provisioner string, mode storagev1.VolumeBindingMode, topologies ...corev1.TopologySelectorTerm) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: &mode, AllowedTopologies: topologies}
}

// TestVolumes: a pod with claims among nodes x and y (in zones 1 and 2), and where it goes, or what is said.
func TestVolumes(t *testing.T) {
	const wait, now = storagev1.VolumeBindingWaitForFirstConsumer, storagev1.VolumeBindingImmediate
	alone := func(c *corev1.PersistentVolumeClaim) {
		c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
	}
	csi := func(handle string) func(*corev1.PersistentVolume) {
		return func(v *corev1.PersistentVolume) {
			v.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: "d", VolumeHandle: handle}
		}
	}
	limit := func(node string, n int32) *storagev1.CSINode {
		return &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: node}, Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{
			{Name: "d", Allocatable: &storagev1.VolumeNodeResources{Count: &n}}}}}
	}
	inZone := func(name string) func(*corev1.PersistentVolume) {
		return func(v *corev1.PersistentVolume) { v.Labels[zoneKey] = name }
	}
	zone2 := corev1.TopologySelectorTerm{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{{Key: zoneKey, Values: []string{"2"}}}}
	gce := func(readOnly bool) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{VolumeSource: corev1.VolumeSource{GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{PDName: "disk", ReadOnly: readOnly}}})
		}
	}
	type objects []runtime.Object
	for _, c := range []struct {
		rule    string
		pod     *corev1.Pod
		objects objects
		on      *corev1.Pod // x
		want    string
	}{
		{"a claim that does not exist", podOf("p", using("c")), nil, nil, `persistentvolumeclaim "c" not found`},
		{"a claim that should be bound", podOf("p", using("c")), objects{claimOf("c", "now"), classOf("now", "p", now)}, nil, "pod has unbound immediate PersistentVolumeClaims"},
		{"a bound claim", podOf("p", using("c")), objects{claimOf("c", "k", boundTo("v")), volumeOf("v", "k", onlyOn("y"))}, nil, "y"},
		{"a volume that is on no node", podOf("p", using("c")), objects{claimOf("c", "k", boundTo("v")), volumeOf("v", "k", onlyOn("z"))}, nil, "2 node(s) didn't match PersistentVolume's node affinity"},
		{"a volume that is there waits for a claim", podOf("p", using("c")), objects{claimOf("c", "k"), classOf("k", storagevolume.NotSupportedProvisioner, wait), volumeOf("v", "k", onlyOn("y"))}, nil, "y"},
		{"one volume is not for two claims", podOf("p", using("c", "d")), objects{claimOf("c", "k"), claimOf("d", "k"), classOf("k", storagevolume.NotSupportedProvisioner, wait), volumeOf("v", "k")}, nil, "2 node(s) didn't find available persistent volumes to bind"},
		{"a volume can be made", podOf("p", using("c")), objects{claimOf("c", "k"), classOf("k", "maker", wait)}, nil, "x"},
		{"where the class allows it", podOf("p", using("c")), objects{claimOf("c", "k"), classOf("k", "maker", wait, zone2)}, nil, "y"},
		{"a claim whose node is chosen already", podOf("p", using("c")), objects{claimOf("c", "k", func(c *corev1.PersistentVolumeClaim) { c.Annotations[storagevolume.AnnSelectedNode] = "y" }), classOf("k", "maker", wait)}, nil, "y"},
		{"where there is space", podOf("p", using("c")), objects{claimOf("c", "k"), classOf("k", "maker", wait),
			&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "maker"}, Spec: storagev1.CSIDriverSpec{StorageCapacity: new(true)}}}, nil, "2 node(s) did not have enough free storage"},
		{"the zone of a volume", podOf("p", using("c")), objects{claimOf("c", "k", boundTo("v")), volumeOf("v", "k", inZone("2"))}, nil, "y"},
		{"several zones", podOf("p", using("c")), objects{claimOf("c", "k", boundTo("v")), volumeOf("v", "k", inZone("3__2"))}, nil, "y"},
		{"no such zone", podOf("p", using("c")), objects{claimOf("c", "k", boundTo("v")), volumeOf("v", "k", inZone("3"))}, nil, "2 node(s) had no available volume zone"},
		{"a claim for one pod alone", podOf("p", using("c")), objects{claimOf("c", "k", boundTo("v"), alone), volumeOf("v", "k")}, podOf("o", using("c")),
			"2 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"},
		{"a disk that somebody has", podOf("p", gce(false)), nil, podOf("o", gce(true)), "y"},
		{"no more volumes than a driver can attach", podOf("p", using("c")), objects{claimOf("c", "k", boundTo("v")), volumeOf("v", "k", csi("1")), claimOf("d", "k", boundTo("w")), volumeOf("w", "k", csi("2")), limit("x", 1), limit("y", 1)}, podOf("o", using("d")), "y"},
		{"a volume counts whatever is wrong with its claim", podOf("p", using("c")), objects{claimOf("c", "k", boundTo("v")), volumeOf("v", "k", csi("1")),
			claimOf("d", "k", boundTo("w"), func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimLost }), volumeOf("w", "k", csi("2")), limit("x", 1), limit("y", 1)}, podOf("o", using("d")), "y"},
		{"a claim whose volume is gone", podOf("p", using("c")), objects{claimOf("c", "k", boundTo("v"), func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimLost })}, nil, `persistentvolumeclaim "c" bound to non-existent persistentvolume "v"`},
		{"the same volume counts once", podOf("p", using("c")), objects{claimOf("c", "k", boundTo("v")), volumeOf("v", "k", csi("1")), limit("x", 1), limit("y", 0)}, podOf("o", using("c")), "x"},
		{"what is attached counts", podOf("p", using("c")), objects{claimOf("c", "k", boundTo("v")), volumeOf("v", "k", csi("1")), volumeOf("w", "k", csi("2")), limit("x", 1), limit("y", 0),
			&storagev1.VolumeAttachment{Spec: storagev1.VolumeAttachmentSpec{NodeName: "x", Attacher: "d", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: new("w")}}}}, nil, "2 node(s) exceed max volume count"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s := newStand()
			s.cluster.setNode(nodeOf("x", zone("1")))
			s.cluster.setNode(nodeOf("y", zone("2")))
			s.storing(t, c.objects...)
			if c.on != nil {
				s.place(c.on, "x")
			}
			node, message := s.decide(c.pod)
			want := c.want
			if message != "" {
				want = fmt.Sprintf("0/2 nodes are available: %s.", c.want)
			}
			if node+message != want {
				t.Errorf("%s%s, not %s", node, message, want)
			}
		})
	}
}

func TestAVolumeThatIsAssumedIsNotGivenTwice(t *testing.T) {
	s := newStand()
	s.cluster.setNode(nodeOf("x"))
	s.storing(t, claimOf("c", "k"), claimOf("d", "k", func(c *corev1.PersistentVolumeClaim) { c.UID = "2" }),
		classOf("k", storagevolume.NotSupportedProvisioner, storagev1.VolumeBindingWaitForFirstConsumer), volumeOf("v", "k"))
	binding := &volumeBinding{scheduler: s.Scheduler, volumes: s.volumes, plans: map[types.UID]*volumePlan{}}
	first := s.cycle(podOf("first", using("c")))
	if refusal := binding.Reserve(first, s.cluster.nodes["x"]); refusal != nil || !binding.Awaits(first.Pod) {
		t.Fatal(refusal)
	}
	if node, _ := s.decide(podOf("second", using("d"))); node != "" {
		t.Error("the volume is given twice")
	}
	binding.Unreserve(first.Pod)
	if _, message := s.decide(podOf("second", using("d"))); message != "" {
		t.Error(message)
	}
	if binding.Awaits(first.Pod) {
		t.Error("the plan is still there")
	}
}

func TestADiskThatAllOnlyReadIsForAll(t *testing.T) {
	disk := func(readOnly bool) corev1.Volume {
		return corev1.Volume{VolumeSource: corev1.VolumeSource{GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{PDName: "disk", ReadOnly: readOnly}}}
	}
	for _, c := range []struct{ a, b, conflict bool }{{true, true, false}, {true, false, true}, {false, true, true}} {
		v, p := disk(c.a), podOf("p", func(p *corev1.Pod) { p.Spec.Volumes = []corev1.Volume{disk(c.b)} })
		if diskConflicts(&v, p) != c.conflict {
			t.Errorf("%+v", c)
		}
	}
}

// TestWhatVolumesAreWaitedFor: what there is to see while a pod on node x waits for a volume that is made for it, or for one
// that was there, and what comes of it.
func TestWhatVolumesAreWaitedFor(t *testing.T) {
	const wait = storagev1.VolumeBindingWaitForFirstConsumer
	selected := func(node string) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) { c.Annotations[storagevolume.AnnSelectedNode] = node }
	}
	claimed := func(v *corev1.PersistentVolume) {
		v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "default", Name: "c", UID: "1"}
	}
	onX := podOf("p", using("c"), func(p *corev1.Pod) { p.Spec.NodeName = "x" })
	made := &volumePlan{provision: []*corev1.PersistentVolumeClaim{claimOf("c", "k", selected("x"))}}
	there := &volumePlan{bind: []*corev1.PersistentVolume{volumeOf("v", "k", claimed)}, claims: []*corev1.PersistentVolumeClaim{claimOf("c", "k")}}
	type objects []runtime.Object
	for _, c := range []struct {
		rule    string
		plan    *volumePlan
		objects objects
		done    bool
		err     string
	}{
		{"nobody has made it yet", made, objects{nodeOf("x"), claimOf("c", "k", selected("x"))}, false, ""},
		{"it is made", made, objects{nodeOf("x"), claimOf("c", "k", selected("x"), boundTo("v")), volumeOf("v", "k", onlyOn("x"))}, true, ""},
		{"it is made, and does not show", made, objects{nodeOf("x"), claimOf("c", "k", selected("x"), boundTo("v"))}, false, ""},
		{"it is made elsewhere", made, objects{nodeOf("x"), claimOf("c", "k", selected("x"), boundTo("v")), volumeOf("v", "k", onlyOn("y"))}, false,
			`pv "v" node affinity doesn't match node "x": no matching NodeSelectorTerms`},
		{"it cannot be made there", made, objects{nodeOf("x"), claimOf("c", "k")}, false, `provisioning failed for PVC "c"`},
		{"the node is gone", made, objects{claimOf("c", "k", selected("x"))}, false, `failed to get node "x": node "x" not found`},
		{"it is bound", there, objects{nodeOf("x"), claimOf("c", "k", boundTo("v")), volumeOf("v", "k", claimed)}, true, ""},
		{"the claim does not know yet", there, objects{nodeOf("x"), claimOf("c", "k"), volumeOf("v", "k", claimed)}, false, ""},
		{"somebody took it back", there, objects{nodeOf("x"), claimOf("c", "k"), volumeOf("v", "k")}, false, `ClaimRef got reset for pv "v"`},
		{"the node has changed its labels", there, objects{nodeOf("x"), claimOf("c", "k", boundTo("v")), volumeOf("v", "k", claimed, onlyOn("y"))}, false,
			`pv "v" node affinity doesn't match node "x": no matching NodeSelectorTerms`},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s := newStand()
			s.storing(t, append(c.objects, onX, classOf("k", "maker", wait))...)
			binding := &volumeBinding{scheduler: s.Scheduler, volumes: s.volumes, plans: map[types.UID]*volumePlan{}}
			done, err := binding.isDone(newPod(onX), c.plan)
			message := ""
			if err != nil {
				message = err.Error()
			}
			if done != c.done || message != c.err {
				t.Errorf("%v %q, not %v %q", done, message, c.done, c.err)
			}
		})
	}
}
