package scheduler

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	storagevolume "k8s.io/component-helpers/storage/volume"
)

// TestWhyOfVolumes: a pod with claims that neither node x, in zone 1, nor node y, which says nothing of zones and takes no pods, will
// do for; and the changes that help.
func TestWhyOfVolumes(t *testing.T) {
	const wait, now = storagev1.VolumeBindingWaitForFirstConsumer, storagev1.VolumeBindingImmediate
	none := storagevolume.NotSupportedProvisioner
	asking := func(size string) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) { c.Spec.Resources.Requests = list("storage=" + size) }
	}
	modes := func(modes ...corev1.PersistentVolumeAccessMode) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) { c.Spec.AccessModes = modes }
	}
	whereLabel := func(key, value string) func(*corev1.PersistentVolume) {
		return func(v *corev1.PersistentVolume) {
			onlyOn("")(v)
			v.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0] = corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{value}}
		}
	}
	inZone := func(name string) func(*corev1.PersistentVolume) {
		return func(v *corev1.PersistentVolume) { v.Labels[zoneKey] = name }
	}
	csi := func(handle string) func(*corev1.PersistentVolume) {
		return func(v *corev1.PersistentVolume) {
			v.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: "d", VolumeHandle: handle}
		}
	}
	one := int32(1)
	limit := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: "d", Allocatable: &storagev1.VolumeNodeResources{Count: &one}}}}}
	attachment := func(volume string) *storagev1.VolumeAttachment {
		return &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: "att"}, Spec: storagev1.VolumeAttachmentSpec{NodeName: "x", Attacher: "d", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume}}}
	}
	zone2 := corev1.TopologySelectorTerm{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{{Key: zoneKey, Values: []string{"2"}}}}
	onRack := corev1.TopologySelectorTerm{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{{Key: "rack", Values: []string{"r"}}}}
	disk := func(readOnly bool) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "disk", VolumeSource: corev1.VolumeSource{GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{PDName: "d", ReadOnly: readOnly}}})
		}
	}
	pod := func(options ...func(*corev1.Pod)) *corev1.Pod { return podOf("p", options...) }
	local := classOf("local", "maker", wait)
	local.Annotations = map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}
	type objects []runtime.Object
	for _, c := range []struct {
		rule    string
		pod     *corev1.Pod
		objects objects
		on      *corev1.Pod // x
		want    string
	}{
		{"a claim that does not exist", pod(using("c")), nil, nil, "=> x: create claim c, and a volume for it"},
		{"where there is a class", pod(using("c")), objects{classOf("a", "maker", wait), local}, nil, "=> x: create claim c, of class local for example"},
		{"two of them", pod(using("c", "d")), objects{local}, nil, "=> x: create claim c, of class local for example, create claim d, of class local for example"},
		{"a class that does not exist", pod(using("c")), objects{claimOf("c", "k"), local}, nil,
			"=> x: create storage class k, which claim c names, with a provisioner\n=> x: make claim c anew with class local in place of \"k\""},
		{"a claim that is bound before it is used", pod(using("c")), objects{claimOf("c", "k"), classOf("k", "maker", now)}, nil,
			`=> x: create a volume for claim c: class "k", at least 1Gi, ReadWriteOnce`},
		{"a claim that has lost its volume", pod(using("c")), objects{claimOf("c", "local", boundTo("v"), func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimLost }), local}, nil,
			"=> x: make claim c anew: what was in volume v is lost"},
		{"a volume that is elsewhere", pod(using("c")), objects{claimOf("c", "k", boundTo("v")), volumeOf("v", "k", onlyOn("z"))}, nil, ""},
		{"a volume where nodes do not say that they are", pod(using("c")), objects{claimOf("c", "k", boundTo("v")), volumeOf("v", "k", whereLabel("rack", "r"))}, nil,
			"=> x: label x with rack=r"},
		{"no volume of the class", pod(using("c")), objects{claimOf("c", "k"), classOf("k", none, wait), local}, nil,
			`=> x: create a volume that x reaches for claim c: class "k", at least 1Gi, ReadWriteOnce` + "\n" + `=> x: make claim c anew with class local in place of "k"`},
		{"a volume that is too small", pod(using("c")), objects{claimOf("c", "k", asking("5Gi")), classOf("k", none, wait), volumeOf("v", "k")}, nil,
			`=> x: create a volume that x reaches for claim c: class "k", at least 5Gi, ReadWriteOnce` + "\n=> x: make claim c anew with 1Gi in place of 5Gi: volume v has no more"},
		{"a volume for one node only", pod(using("c")), objects{claimOf("c", "k", modes(corev1.ReadWriteMany)), classOf("k", none, wait), volumeOf("v", "k")}, nil,
			`=> x: create a volume that x reaches for claim c: class "k", at least 1Gi, ReadWriteMany` + "\n=> x: make claim c anew with ReadWriteOnce in place of ReadWriteMany, for volume v"},
		{"a volume that is not selected", pod(using("c")), objects{claimOf("c", "k", func(c *corev1.PersistentVolumeClaim) { c.Spec.Selector = matching("tier", "fast") }), classOf("k", none, wait), volumeOf("v", "k")}, nil,
			"=> x: label volume v with tier=fast\n" + `=> x: create a volume that x reaches for claim c: class "k", at least 1Gi, ReadWriteOnce`},
		{"a topology that is not allowed", pod(using("c")), objects{claimOf("c", "k"), classOf("k", "maker", wait, zone2)}, nil, "=> x: add topology.kubernetes.io/zone=1 to allowedTopologies of storage class k"},
		{"one that the node does not tell", pod(using("c")), objects{claimOf("c", "k"), classOf("k", "maker", wait, onRack)}, nil, "=> x: label x with rack=r"},
		{"too little storage", pod(using("c")), objects{claimOf("c", "k", asking("5Gi")), classOf("k", "maker", wait),
			&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "maker"}, Spec: storagev1.CSIDriverSpec{StorageCapacity: new(true)}},
			&storagev1.CSIStorageCapacity{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StorageClassName: "k", NodeTopology: matching(zoneKey, "1"), Capacity: new(resource.MustParse("3Gi"))}}, nil,
			"=> x: make claim c anew with 3Gi in place of 5Gi: maker has no more there"},
		{"a claim that another node was chosen for", pod(using("c")), objects{claimOf("c", "k", func(c *corev1.PersistentVolumeClaim) { c.Annotations[storagevolume.AnnSelectedNode] = "gone" }), classOf("k", "maker", wait)}, nil,
			"=> x: take the annotation volume.kubernetes.io/selected-node (gone) off claim c"},
		{"a volume in another zone", pod(using("c")), objects{claimOf("c", "k", boundTo("v")), volumeOf("v", "k", inZone("2"))}, nil,
			"=> x: correct the label topology.kubernetes.io/zone of volume v from 2 to 1, if that is where it is"},
		{"too many volumes", pod(using("c")), objects{claimOf("c", "k", boundTo("v")), volumeOf("v", "k", csi("1")), claimOf("d", "k", boundTo("w")), volumeOf("w", "k", csi("2")), limit, attachment("w")}, podOf("o", using("d")),
			"=> x: free a volume's place on x: delete or move default/o (priority 0)"},
		{"one that nobody uses", pod(using("c")), objects{claimOf("c", "k", boundTo("v")), volumeOf("v", "k", csi("1")), volumeOf("w", "k", csi("2")), limit, attachment("w")}, nil,
			"=> x: detach volume w from x, where no pod uses it: delete VolumeAttachment att"},
		{"a claim for one pod", pod(using("c")), objects{claimOf("c", "k", boundTo("v"), modes(corev1.ReadWriteOncePod)), volumeOf("v", "k")}, podOf("o", using("c")),
			"=> x: free claim c: delete or move default/o (priority 0)\n=> x: make claim c anew with ReadWriteOnce in place of ReadWriteOncePod"},
		{"a disk that others only read", pod(disk(false)), nil, podOf("o", disk(true)),
			"=> x: make volume disk read-only in the pod: all others only read it\n=> x: free volume disk on x: delete or move default/o (priority 0)"},
		{"a disk that others write to", pod(disk(false)), nil, podOf("o", disk(false)), "=> x: free volume disk on x: delete or move default/o (priority 0)"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s := newStand()
			s.cluster.setNode(nodeOf("x", zone("1")))
			s.cluster.setNode(nodeOf("y", allocatable("pods=0")))
			s.storing(t, c.objects...)
			if c.on != nil {
				s.place(c.on, "x")
			}
			s.wait(c.pod)
			s.run()
			before := s.fingerprint()
			y := s.why(t, c.pod)
			var got []string
			for _, change := range y.Changes {
				got = append(got, "=> "+change.Node+": "+strings.Join(change.Steps, ", "))
			}
			if text := strings.Join(got, "\n"); text != c.want {
				t.Errorf("got\n%s\nnot\n%s", text, c.want)
			}
			if len(y.Refusals) == 0 {
				t.Error("nobody refuses it")
			}
			if after := s.fingerprint(); after != before {
				t.Errorf("the question has changed the world:\n%s\n%s", before, after)
			}
		})
	}
}
