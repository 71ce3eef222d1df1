package controllers

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	storagevolume "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

type claimOption = func(*corev1.PersistentVolumeClaim)
type volumeOption = func(*corev1.PersistentVolume)

// aClaim asks for 2Gi that one node writes, of no class.
func aClaim(options ...claimOption) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c", UID: "c-uid", Annotations: map[string]string{}},
		Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: ptr.To(""),
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("2Gi")}}},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}}
	for _, o := range options {
		o(c)
	}
	return c
}

func ofClass(name string) claimOption {
	return func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = &name }
}
func naming(volume string) claimOption {
	return func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = volume }
}
func annotated(name, value string) claimOption {
	return func(c *corev1.PersistentVolumeClaim) { c.Annotations[name] = value }
}
func noClass(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = nil }
func wasBound(c *corev1.PersistentVolumeClaim) {
	c.Annotations[storagevolume.AnnBindCompleted] = "yes"
	c.Status.Phase = corev1.ClaimBound
}

// aVolume is an available one of a size, of no class.
func aVolume(name, size string, options ...volumeOption) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}},
		Spec: corev1.PersistentVolumeSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable}}
	for _, o := range options {
		o(v)
	}
	return v
}

func forClaim(name, uid string) volumeOption {
	return func(v *corev1.PersistentVolume) {
		v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "ns", Name: name, UID: types.UID(uid)}
	}
}
func inPhase(p corev1.PersistentVolumePhase) volumeOption {
	return func(v *corev1.PersistentVolume) { v.Status.Phase = p }
}
func madeBy(maker string) volumeOption {
	return func(v *corev1.PersistentVolume) {
		v.Annotations[storagevolume.AnnDynamicallyProvisioned] = maker
	}
}
func withPolicy(p corev1.PersistentVolumeReclaimPolicy) volumeOption {
	return func(v *corev1.PersistentVolume) { v.Spec.PersistentVolumeReclaimPolicy = p }
}
func withModes(modes ...corev1.PersistentVolumeAccessMode) volumeOption {
	return func(v *corev1.PersistentVolume) { v.Spec.AccessModes = modes }
}
func asBlock(v *corev1.PersistentVolume) {
	v.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock)
}

func aClass(name, maker string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: maker, VolumeBindingMode: &mode, ReclaimPolicy: ptr.To(corev1.PersistentVolumeReclaimDelete)}
}

// text is a step in few words.
func (s claimStep) text() string {
	text := string(s.phase)
	switch {
	case s.bind != nil:
		text = "bind " + s.bind.Name
	case s.class != nil:
		text = "class " + s.class.Name
	case s.maker != "":
		text = "ask " + s.maker
	}
	if s.tell != (notice{}) {
		text += fmt.Sprintf(" (%s %s: %s)", s.tell.kind, s.tell.reason, s.tell.message)
	}
	if s.err != nil {
		text += " error: " + s.err.Error()
	}
	return text
}

func TestWhatBecomesOfAClaim(t *testing.T) {
	const now, wait = storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer
	type volumes = []*corev1.PersistentVolume
	labelled := func(v *corev1.PersistentVolume) { v.Labels = map[string]string{"place": "far"} }
	selecting := func(c *corev1.PersistentVolumeClaim) {
		c.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"place": "far"}}
	}
	alone := func(c *corev1.PersistentVolumeClaim) {
		c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
	}
	going := func(v *corev1.PersistentVolume) { v.DeletionTimestamp = &metav1.Time{Time: noon()} }
	const none = "Pending (Normal FailedBinding: no persistent volumes available for this claim and no storage class is set)"
	selected := annotated(storagevolume.AnnSelectedNode, "node")
	const asked = "(Normal ExternalProvisioning: Waiting for a volume to be created either by the external provisioner '%s' or manually by the system administrator. " +
		"If volume creation is delayed, please verify that the provisioner is running and correctly registered.)"
	for rule, c := range map[string]struct {
		view claimView
		want string
	}{
		"the smallest that fits": {claimView{claim: aClaim(), volumes: volumes{aVolume("large", "9Gi"), aVolume("fits", "3Gi"), aVolume("small", "1Gi")}}, "bind fits"},
		"no more access modes than need be": {claimView{claim: aClaim(), volumes: volumes{aVolume("many", "2Gi", withModes(corev1.ReadWriteOnce, corev1.ReadWriteMany)),
			aVolume("one", "9Gi")}}, "bind one"},
		"all access modes that are asked for":              {claimView{claim: aClaim(alone), volumes: volumes{aVolume("v", "2Gi")}}, none},
		"one pod alone":                                    {claimView{claim: aClaim(alone), volumes: volumes{aVolume("v", "2Gi", withModes(corev1.ReadWriteOncePod))}}, "bind v"},
		"a volume that is not available yet":               {claimView{claim: aClaim(), volumes: volumes{aVolume("v", "2Gi", inPhase(corev1.VolumePending))}}, none},
		"a volume that is going":                           {claimView{claim: aClaim(), volumes: volumes{aVolume("v", "2Gi", going)}}, none},
		"a volume that another has":                        {claimView{claim: aClaim(), volumes: volumes{aVolume("v", "2Gi", forClaim("other", "o"))}}, none},
		"a volume that a former claim of that name had":    {claimView{claim: aClaim(), volumes: volumes{aVolume("v", "2Gi", forClaim("c", "former"))}}, none},
		"a volume that is set aside for it, though larger": {claimView{claim: aClaim(), volumes: volumes{aVolume("v", "2Gi"), aVolume("mine", "9Gi", forClaim("c", ""))}}, "bind mine"},
		"a volume for it that is too small":                {claimView{claim: aClaim(), volumes: volumes{aVolume("mine", "1Gi", forClaim("c", ""))}}, none},
		"a block device for one that wants files":          {claimView{claim: aClaim(), volumes: volumes{aVolume("v", "2Gi", asBlock)}}, none},
		"a selector":                                       {claimView{claim: aClaim(selecting), volumes: volumes{aVolume("v", "2Gi"), aVolume("far", "9Gi", labelled)}}, "bind far"},
		"another class":                                    {claimView{claim: aClaim(ofClass("k")), class: aClass("k", "m", now), volumes: volumes{aVolume("v", "2Gi")}}, "ask m " + fmt.Sprintf(asked, "m")},
		"no class, and there is a default":                 {claimView{claim: aClaim(noClass), standard: aClass("std", "m", now)}, "class std"},
		"no class on purpose":                              {claimView{claim: aClaim(), standard: aClass("std", "m", now)}, none},
		"no class, but a volume":                           {claimView{claim: aClaim(noClass), standard: aClass("std", "m", now), volumes: volumes{aVolume("v", "2Gi")}}, "bind v"},
		"a class that does not exist":                      {claimView{claim: aClaim(ofClass("k"))}, ` (Warning ProvisioningFailed: storageclass.storage.k8s.io "k" not found)`},
		"a class that nobody makes volumes of":             {claimView{claim: aClaim(ofClass("k")), class: aClass("k", storagevolume.NotSupportedProvisioner, now)}, " (Warning ProvisioningFailed: no volume plugin matched name: kubernetes.io/no-provisioner)"},
		"a class whose maker has moved to a driver":        {claimView{claim: aClaim(ofClass("k")), class: aClass("k", "kubernetes.io/gce-pd", now)}, "ask pd.csi.storage.gke.io " + fmt.Sprintf(asked, "pd.csi.storage.gke.io")},
		"the first consumer, whom nobody has seen":         {claimView{claim: aClaim(ofClass("k")), class: aClass("k", "m", wait)}, "Pending (Normal WaitForFirstConsumer: waiting for first consumer to be created before binding)"},
		"the first consumer, who has no node":              {claimView{claim: aClaim(ofClass("k")), class: aClass("k", "m", wait), waiting: []string{"p"}}, "Pending (Normal WaitForPodScheduled: waiting for pod p to be scheduled)"},
		"several consumers":                                {claimView{claim: aClaim(ofClass("k")), class: aClass("k", "m", wait), waiting: []string{"p", "q"}}, "Pending (Normal WaitForPodScheduled: waiting for pods p,q to be scheduled)"},
		"the consumer's node is known":                     {claimView{claim: aClaim(ofClass("k"), selected), class: aClass("k", "m", wait)}, "ask m " + fmt.Sprintf(asked, "m")},
		"what waits for a consumer gets no free volume":    {claimView{claim: aClaim(ofClass("k")), class: aClass("k", "m", wait), volumes: volumes{aVolume("v", "2Gi", func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = "k" })}}, "Pending (Normal WaitForFirstConsumer: waiting for first consumer to be created before binding)"},
		"the scheduler has decided":                        {claimView{claim: aClaim(ofClass("k")), class: aClass("k", "m", wait), volumes: volumes{aVolume("v", "2Gi", forClaim("c", "c-uid"))}}, "bind v"},
		"a volume by name":                                 {claimView{claim: aClaim(naming("v")), named: aVolume("v", "2Gi")}, "bind v"},
		"a volume by name that is not there":               {claimView{claim: aClaim(naming("v"))}, "Pending"},
		"a volume by name that is too small":               {claimView{claim: aClaim(naming("v")), named: aVolume("v", "1Gi")}, `Pending (Warning VolumeMismatch: Cannot bind to requested volume "v": requested PV is too small)`},
		"a volume by name of another class":                {claimView{claim: aClaim(naming("v"), ofClass("k")), named: aVolume("v", "2Gi")}, `Pending (Warning VolumeMismatch: Cannot bind to requested volume "v": storageClassName does not match)`},
		"a volume by name with other modes":                {claimView{claim: aClaim(naming("v"), alone), named: aVolume("v", "2Gi")}, `Pending (Warning VolumeMismatch: Cannot bind to requested volume "v": incompatible accessMode)`},
		"a volume by name that is no files":                {claimView{claim: aClaim(naming("v")), named: aVolume("v", "2Gi", asBlock)}, `Pending (Warning VolumeMismatch: Cannot bind to requested volume "v": incompatible volumeMode)`},
		"a volume by name that is going":                   {claimView{claim: aClaim(naming("v")), named: aVolume("v", "2Gi", going)}, `Pending (Warning VolumeMismatch: Cannot bind to requested volume "v": the volume is marked for deletion "v")`},
		"a volume by name that knows it":                   {claimView{claim: aClaim(naming("v")), named: aVolume("v", "2Gi", forClaim("c", ""))}, "bind v"},
		"a volume by name that is another's":               {claimView{claim: aClaim(naming("v")), named: aVolume("v", "2Gi", forClaim("d", "d"))}, `Pending (Warning FailedBinding: volume "v" already bound to a different claim.)`},
		"it was bound, and somebody took away that it was": {claimView{claim: aClaim(naming("v"), annotated(storagevolume.AnnBoundByController, "yes")), named: aVolume("v", "2Gi", forClaim("d", "d"))}, ` (Warning FailedBinding: volume "v" already bound to a different claim.) error: invalid binding of claim "ns/c" to volume "v": volume already claimed by "ns/d"`},
		"bound":                                               {claimView{claim: aClaim(naming("v"), wasBound), named: aVolume("v", "2Gi", forClaim("c", "c-uid"), inPhase(corev1.VolumeBound))}, "bind v"},
		"bound, but its volume forgot":                        {claimView{claim: aClaim(naming("v"), wasBound), named: aVolume("v", "2Gi")}, "bind v"},
		"bound, but its volume is gone":                       {claimView{claim: aClaim(naming("v"), wasBound)}, "Lost (Warning ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!)"},
		"bound, but nobody knows to what":                     {claimView{claim: aClaim(wasBound)}, "Lost (Warning ClaimLost: Bound claim has lost reference to PersistentVolume. Data on the volume is lost!)"},
		"bound to a volume that is bound to another":          {claimView{claim: aClaim(naming("v"), wasBound), named: aVolume("v", "2Gi", forClaim("d", "d"))}, "Lost (Warning ClaimMisbound: Two claims are bound to the same volume, this one is bound incorrectly)"},
		"bound to a volume that waits for any of its name":    {claimView{claim: aClaim(naming("v"), wasBound), named: aVolume("v", "2Gi", forClaim("c", ""))}, "Lost (Warning ClaimMisbound: Two claims are bound to the same volume, this one is bound incorrectly)"},
		"the built-in maker of folders, which makes none":     {claimView{claim: aClaim(ofClass("k")), class: aClass("k", "kubernetes.io/host-path", now)}, `ask kubernetes.io/host-path (Warning ProvisioningFailed: Failed to create provisioner: provisioning in volume plugin "kubernetes.io/host-path" is disabled)`},
		"a built-in kind that never made any":                 {claimView{claim: aClaim(ofClass("k")), class: aClass("k", "kubernetes.io/nfs", now)}, " (Warning ProvisioningFailed: no provisionable volume plugin matched)"},
		"attributes that the volume by that name has not got": {claimView{claim: aClaim(naming("v"), func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeAttributesClassName = ptr.To("fast") }), named: aVolume("v", "2Gi")}, `Pending (Warning VolumeMismatch: Cannot bind to requested volume "v": volumeAttributesClassName does not match)`},
	} {
		t.Run(rule, func(t *testing.T) {
			if got := planClaim(&c.view).text(); got != c.want {
				t.Errorf("%s\nwant %s", got, c.want)
			}
		})
	}
}

func TestWhatBecomesOfAVolume(t *testing.T) {
	const retain, del = corev1.PersistentVolumeReclaimRetain, corev1.PersistentVolumeReclaimDelete
	mine := forClaim("c", "c-uid")
	elsewhere := aClaim(naming("w"), wasBound)
	for rule, c := range map[string]struct {
		volume *corev1.PersistentVolume
		claim  *corev1.PersistentVolumeClaim
		want   volumeStep
	}{
		"for nobody": {aVolume("v", "1Gi"), nil, volumeStep{phase: corev1.VolumeAvailable}},
		"set aside for a claim that is not there yet":   {aVolume("v", "1Gi", forClaim("c", "")), nil, volumeStep{phase: corev1.VolumeAvailable}},
		"its claim is gone":                             {aVolume("v", "1Gi", mine, inPhase(corev1.VolumeBound)), nil, volumeStep{phase: corev1.VolumeReleased, reclaim: true}},
		"its claim is gone, and reclaiming has failed":  {aVolume("v", "1Gi", mine, inPhase(corev1.VolumeFailed)), nil, volumeStep{reclaim: true}},
		"its claim does not know yet":                   {aVolume("v", "1Gi", mine), aClaim(), volumeStep{claim: true}},
		"its claim wants files":                         {aVolume("v", "1Gi", mine, asBlock), aClaim(), volumeStep{mismatch: true}},
		"its claim knows":                               {aVolume("v", "1Gi", mine), aClaim(naming("v")), volumeStep{phase: corev1.VolumeBound}},
		"its claim has another":                         {aVolume("v", "1Gi", mine, withPolicy(del)), elsewhere, volumeStep{unbind: true}},
		"it was made for a claim that has another":      {aVolume("v", "1Gi", mine, withPolicy(del), madeBy("m")), elsewhere, volumeStep{phase: corev1.VolumeReleased, reclaim: true}},
		"it was made for such a claim, and is retained": {aVolume("v", "1Gi", mine, withPolicy(retain), madeBy("m")), elsewhere, volumeStep{unbind: true}},
	} {
		t.Run(rule, func(t *testing.T) {
			if got := planVolume(c.volume, c.claim); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

func TestWhatPeopleHaveBoundStaysTheirs(t *testing.T) {
	byHand := unboundVolume(aVolume("v", "1Gi", forClaim("c", "c-uid")))
	if ref := byHand.Spec.ClaimRef; ref == nil || ref.Name != "c" || ref.UID != "" {
		t.Errorf("set aside by hand: %v", ref)
	}
	byUs := aVolume("v", "1Gi", forClaim("c", "c-uid"))
	byUs.Annotations[storagevolume.AnnBoundByController] = "yes"
	if free := unboundVolume(byUs); free.Spec.ClaimRef != nil || len(free.Annotations) > 0 {
		t.Errorf("bound by the controller: %v %v", free.Spec.ClaimRef, free.Annotations)
	}
	for rule, c := range map[string]struct {
		claim *corev1.PersistentVolumeClaim
		want  map[string]string // nil: it is not written
	}{
		"a claim that gets a volume":   {aClaim(), map[string]string{storagevolume.AnnBindCompleted: "yes", storagevolume.AnnBoundByController: "yes"}},
		"a claim that named it":        {aClaim(naming("v")), map[string]string{storagevolume.AnnBindCompleted: "yes"}},
		"a claim that was bound to it": {aClaim(naming("v"), wasBound), nil},
	} {
		t.Run(rule, func(t *testing.T) {
			var got map[string]string
			if bound := boundClaim(c.claim, byUs); bound != nil {
				got = bound.Annotations
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestTheStatusOfAClaim(t *testing.T) {
	volume := aVolume("v", "3Gi", func(v *corev1.PersistentVolume) { v.Spec.VolumeAttributesClassName = ptr.To("fast") })
	bound, err := claimStatus(aClaim(), corev1.ClaimBound, volume)
	if err != nil {
		t.Fatal(err)
	}
	want := corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, AccessModes: volume.Spec.AccessModes, Capacity: volume.Spec.Capacity, CurrentVolumeAttributesClassName: ptr.To("fast")}
	if d := cmp.Diff(want, bound.Status); d != "" {
		t.Error(d)
	}
	if again, _ := claimStatus(bound, corev1.ClaimBound, volume); again != nil {
		t.Errorf("it is written again: %v", again.Status)
	}
	// From then on the size is the business of those who resize.
	if again, _ := claimStatus(bound, corev1.ClaimBound, aVolume("v", "9Gi")); again != nil {
		t.Errorf("its capacity follows the volume's: %v", again.Status)
	}
	lost, _ := claimStatus(bound, corev1.ClaimLost, nil)
	if d := cmp.Diff(corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimLost}, lost.Status); d != "" {
		t.Error(d)
	}
	bare := aVolume("v", "1Gi")
	bare.Spec.Capacity = nil
	if _, err := claimStatus(aClaim(), corev1.ClaimBound, bare); err == nil || err.Error() != `PersistentVolume "v" is without a storage capacity` {
		t.Error(err)
	}
}

func TestWhoDeletesWhatAVolumeStandsFor(t *testing.T) {
	folder := func(v *corev1.PersistentVolume) {
		v.Spec.HostPath = &corev1.HostPathVolumeSource{Path: "/tmp/x"}
	}
	for rule, c := range map[string]struct {
		volume  *corev1.PersistentVolume
		others  bool
		problem string
	}{
		"whoever made it":          {aVolume("v", "1Gi", madeBy("m"), folder), true, ""},
		"its driver":               {aVolume("v", "1Gi", func(v *corev1.PersistentVolume) { v.Spec.CSI = &corev1.CSIPersistentVolumeSource{} }), true, ""},
		"a folder: this one":       {aVolume("v", "1Gi", folder), false, ""},
		"a built-in kind: nobody":  {aVolume("v", "1Gi", madeBy("kubernetes.io/x")), false, "no volume plugin matched name: kubernetes.io/x"},
		"an export: nobody":        {aVolume("v", "1Gi", func(v *corev1.PersistentVolume) { v.Spec.NFS = &corev1.NFSVolumeSource{} }), false, `error getting deleter volume plugin for volume "v": no deletable volume plugin matched`},
		"whatever else it is: ...": {aVolume("v", "1Gi"), false, `error getting deleter volume plugin for volume "v": no volume plugin matched`},
	} {
		t.Run(rule, func(t *testing.T) {
			if others, problem := deleterOf(c.volume); others != c.others || problem != c.problem {
				t.Errorf("%v %q", others, problem)
			}
		})
	}
}

func TestOnlyFoldersThatNobodyMissesAreDeleted(t *testing.T) {
	there := filepath.Join(t.TempDir(), "x")
	if err := os.Mkdir(there, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/tmp", "/tmp/", "/tmp/../etc", "/home/tmp/x", "tmp/x"} {
		if err := deleteFolder(path); err == nil {
			t.Errorf("%s is deleted", path)
		}
	}
	path := filepath.Join("/tmp", fmt.Sprintf("knarr-test-%d", os.Getpid()))
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := deleteFolder(path); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("it is still there")
	}
}

func TestVolumesOfBuiltInKinds(t *testing.T) {
	const del, retain = corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain
	const own, drivers = storagevolume.PVDeletionInTreeProtectionFinalizer, storagevolume.PVDeletionProtectionFinalizer
	with := func(finalizers ...string) volumeOption {
		return func(v *corev1.PersistentVolume) { v.Finalizers = finalizers }
	}
	moved := func(driver string) volumeOption {
		return func(v *corev1.PersistentVolume) { v.Annotations[storagevolume.AnnMigratedTo] = driver }
	}
	type want struct {
		finalizers []string
		driver     string
	}
	for rule, c := range map[string]struct {
		volume *corev1.PersistentVolume
		want   *want // nil: it stays as it is
	}{
		"nobody made it":                         {aVolume("v", "1Gi", with(own)), nil},
		"somebody else made it":                  {aVolume("v", "1Gi", madeBy("m"), withPolicy(del), with(drivers)), nil},
		"held until its storage is deleted":      {aVolume("v", "1Gi", madeBy(hostPathMaker), withPolicy(del), with(drivers)), &want{[]string{own}, ""}},
		"held as it should be":                   {aVolume("v", "1Gi", madeBy(hostPathMaker), withPolicy(del), with(own)), nil},
		"not held if its storage stays":          {aVolume("v", "1Gi", madeBy(hostPathMaker), withPolicy(retain), with(own)), &want{nil, ""}},
		"its driver is told, and holds it":       {aVolume("v", "1Gi", madeBy("kubernetes.io/aws-ebs"), withPolicy(del), with(own, drivers)), &want{[]string{drivers}, "ebs.csi.aws.com"}},
		"its driver knows":                       {aVolume("v", "1Gi", madeBy("kubernetes.io/aws-ebs"), moved("ebs.csi.aws.com")), nil},
		"a driver that it never had is told off": {aVolume("v", "1Gi", madeBy("m"), moved("ebs.csi.aws.com")), &want{nil, ""}},
	} {
		t.Run(rule, func(t *testing.T) {
			got := migratedVolume(c.volume)
			if (got == nil) != (c.want == nil) {
				t.Fatalf("%v", got)
			}
			if got != nil && (!slices.Equal(got.Finalizers, c.want.finalizers) || got.Annotations[storagevolume.AnnMigratedTo] != c.want.driver) {
				t.Errorf("%v %v, want %+v", got.Finalizers, got.Annotations, *c.want)
			}
		})
	}
}

func TestVolumesThatAreFolders(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{corev1.LabelHostname: "host"}}}
	class := aClass("local", LocalPathProvisioner, storagev1.VolumeBindingWaitForFirstConsumer)
	volume, err := localVolume(aClaim(ofClass("local")), class, node, "/data/volumes")
	if err != nil {
		t.Fatal(err)
	}
	if got := volume.Spec.HostPath.Path; got != "/data/volumes/pvc-c-uid" {
		t.Error(got)
	}
	if err := storagevolume.CheckNodeAffinity(volume, node.Labels); err != nil {
		t.Error(err)
	}
	if storagevolume.CheckNodeAffinity(volume, map[string]string{corev1.LabelHostname: "another"}) == nil {
		t.Error("it is on other nodes, too")
	}
	if !slices.Contains(volume.Finalizers, storagevolume.PVDeletionProtectionFinalizer) {
		t.Error("nothing holds it until its folder is gone")
	}
	// The volume controller binds it to the claim that it was made for.
	if step := planClaim(&claimView{claim: aClaim(ofClass("local")), class: class, volumes: []*corev1.PersistentVolume{volume}}); step.bind != volume {
		t.Error(step.text())
	}
	kept := aClass("local", LocalPathProvisioner, storagev1.VolumeBindingWaitForFirstConsumer)
	kept.ReclaimPolicy = ptr.To(corev1.PersistentVolumeReclaimRetain)
	if volume, err := localVolume(aClaim(), kept, node, "/data"); err != nil || len(volume.Finalizers) > 0 {
		t.Error("what is to be kept is held", err)
	}
	if _, err := localVolume(aClaim(), class, nil, "/data"); err == nil {
		t.Error("a volume on no node")
	}
	for what, option := range map[string]claimOption{
		"a block device": func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock) },
		"for many nodes": func(c *corev1.PersistentVolumeClaim) {
			c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
		},
		"one that is there already": func(c *corev1.PersistentVolumeClaim) { c.Spec.Selector = &metav1.LabelSelector{} },
		"a copy":                    func(c *corev1.PersistentVolumeClaim) { c.Spec.DataSource = &corev1.TypedLocalObjectReference{} },
		"with attributes":           func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeAttributesClassName = ptr.To("fast") },
	} {
		if _, err := localVolume(aClaim(option), class, node, "/data"); err == nil {
			t.Errorf("a folder that is %s", what)
		}
	}
}
