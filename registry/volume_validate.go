package registry

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateVolumes is about the volumes of a pod. It returns the valid ones by name, for the containers' mounts. pod is
// nil in a template; a pod's name takes part in those of the claims that its ephemeral volumes create.
func validateVolumes(volumes []corev1.Volume, pod *metav1.ObjectMeta, path *field.Path, opts podOptions) (map[string]corev1.VolumeSource, field.ErrorList) {
	var errs field.ErrorList
	created := createdClaims(volumes, pod)
	valid := make(map[string]corev1.VolumeSource, len(volumes))
	for i := range volumes {
		v, at := &volumes[i], path.Index(i)
		wrong := validateVolumeSource(v, pod, at, opts)
		wrong = append(wrong, validateRequiredLabel(v.Name, at.Child("name"))...)
		if _, taken := valid[v.Name]; taken {
			wrong = append(wrong, field.Duplicate(at.Child("name"), v.Name))
		}
		if len(wrong) == 0 {
			valid[v.Name] = v.VolumeSource
		}
		errs = append(errs, wrong...)
		if c := v.PersistentVolumeClaim; c != nil && created.Has(c.ClaimName) {
			errs = append(errs, field.Invalid(at.Child("persistentVolumeClaim", "claimName"), c.ClaimName,
				"must not reference a PVC that gets created for an ephemeral volume"))
		}
	}
	return valid, errs
}

// createdClaims are the names of the claims that ephemeral volumes will create; none while the pod has no name.
func createdClaims(volumes []corev1.Volume, pod *metav1.ObjectMeta) sets.Set[string] {
	created := sets.New[string]()
	if pod == nil || pod.Name == "" {
		return created
	}
	for i := range volumes {
		if volumes[i].Ephemeral != nil {
			created.Insert(pod.Name + "-" + volumes[i].Name)
		}
	}
	return created
}

// validateVolumeSource wants one source of the volume, and that one valid. Some names in error paths are not those of
// the fields; clients know them so.
func validateVolumeSource(v *corev1.Volume, pod *metav1.ObjectMeta, path *field.Path, opts podOptions) field.ErrorList {
	s := &v.VolumeSource
	errs := validateUnion(path, "volume type", []unionMember{
		member(path, "emptyDir", s.EmptyDir, validateEmptyDir),
		member(path, "hostPath", s.HostPath, validateHostPath),
		member(path, "gitRepo", s.GitRepo, validateGitRepo),
		memberAt(path, "gcePersistentDisk", "persistentDisk", s.GCEPersistentDisk, validateGCEPersistentDisk),
		member(path, "awsElasticBlockStore", s.AWSElasticBlockStore, validateAWSElasticBlockStore),
		member(path, "secret", s.Secret, validateSecretVolume),
		member(path, "nfs", s.NFS, validateNFS),
		member(path, "iscsi", s.ISCSI, validateISCSI),
		member(path, "glusterfs", s.Glusterfs, validateGlusterfs),
		member(path, "flocker", s.Flocker, validateFlocker),
		member(path, "persistentVolumeClaim", s.PersistentVolumeClaim, validateClaimVolume),
		member(path, "rbd", s.RBD, validateRBD),
		member(path, "cinder", s.Cinder, validateCinder),
		memberAt(path, "cephFS", "cephfs", s.CephFS, validateCephFS),
		member(path, "quobyte", s.Quobyte, validateQuobyte),
		memberAt(path, "downwarAPI", "downwardAPI", s.DownwardAPI, validateDownwardAPIVolume),
		member(path, "fc", s.FC, validateFC),
		member(path, "flexVolume", s.FlexVolume, validateFlexVolume),
		member(path, "configMap", s.ConfigMap, validateConfigMapVolume),
		member(path, "azureFile", s.AzureFile, validateAzureFile),
		member(path, "vsphereVolume", s.VsphereVolume, validateVsphereVolume),
		member(path, "photonPersistentDisk", s.PhotonPersistentDisk, validatePhotonPersistentDisk),
		member(path, "portworxVolume", s.PortworxVolume, validatePortworxVolume),
		member(path, "azureDisk", s.AzureDisk, validateAzureDisk),
		member(path, "storageos", s.StorageOS, validateStorageOS),
		member(path, "projected", s.Projected, func(p *corev1.ProjectedVolumeSource, at *field.Path) field.ErrorList {
			return validateProjectedVolume(p, at, opts)
		}),
		member(path, "scaleIO", s.ScaleIO, validateScaleIO),
		member(path, "csi", s.CSI, validateCSIVolume),
		member(path, "ephemeral", s.Ephemeral, func(e *corev1.EphemeralVolumeSource, at *field.Path) field.ErrorList {
			return append(validateEphemeralVolume(e, at), validateCreatedClaimName(v.Name, pod, path)...)
		}),
		member(path, "image", s.Image, func(i *corev1.ImageVolumeSource, at *field.Path) field.ErrorList {
			return validateImageVolume(i, pod != nil, at)
		}),
	})
	if s.ISCSI != nil {
		errs = append(errs, validateISCSIPortalLength(s.ISCSI.InitiatorName, v.Name, s.ISCSI.TargetPortal, v.Name, path.Child("name"))...)
	}
	return errs
}

// validateCreatedClaimName wants the claim of an ephemeral volume to have a possible name.
func validateCreatedClaimName(volume string, pod *metav1.ObjectMeta, path *field.Path) field.ErrorList {
	if pod == nil || pod.Name == "" || volume == "" {
		return nil
	}
	claim := pod.Name + "-" + volume
	var errs field.ErrorList
	for _, complaint := range apivalidation.NameIsDNSSubdomain(claim, false) {
		errs = append(errs, field.Invalid(path.Child("name"), volume, fmt.Sprintf("PVC name %q: %v", claim, complaint)))
	}
	return errs
}

func validateEmptyDir(e *corev1.EmptyDirVolumeSource, path *field.Path) field.ErrorList {
	if e.SizeLimit != nil && e.SizeLimit.Sign() < 0 {
		return field.ErrorList{field.Forbidden(path.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity")}
	}
	return nil
}

func validateGitRepo(g *corev1.GitRepoVolumeSource, path *field.Path) field.ErrorList {
	return append(validateRequired(g.Repository, path.Child("repository")), validateDescendingPath(g.Directory, path.Child("directory"))...)
}

func validateClaimVolume(c *corev1.PersistentVolumeClaimVolumeSource, path *field.Path) field.ErrorList {
	return validateRequired(c.ClaimName, path.Child("claimName"))
}

func validateEphemeralVolume(e *corev1.EphemeralVolumeSource, path *field.Path) field.ErrorList {
	path = path.Child("volumeClaimTemplate")
	if e.VolumeClaimTemplate == nil {
		return field.ErrorList{field.Required(path, "")}
	}
	return append(validateClaimTemplateMeta(&e.VolumeClaimTemplate.ObjectMeta, path.Child("metadata")),
		validateClaimSpec(&e.VolumeClaimTemplate.Spec, path.Child("spec"), claimOptions{})...)
}

// validateImageVolume lets a template leave out the reference, for those who fill it in later.
func validateImageVolume(i *corev1.ImageVolumeSource, inPod bool, path *field.Path) field.ErrorList {
	errs := validatePullPolicy(i.PullPolicy, path.Child("pullPolicy"))
	if inPod {
		errs = append(errs, validateRequired(i.Reference, path.Child("reference"))...)
	}
	return errs
}
