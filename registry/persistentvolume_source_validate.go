package registry

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validatePVSource wants one source of a PersistentVolume of that name, and that one valid. A flexVolume beside another
// source has always been let through.
func validatePVSource(s *corev1.PersistentVolumeSource, name string, path *field.Path) field.ErrorList {
	members := []unionMember{
		member(path, "hostPath", s.HostPath, validateHostPath),
		memberAt(path, "gcePersistentDisk", "persistentDisk", s.GCEPersistentDisk, validateGCEPersistentDisk),
		member(path, "awsElasticBlockStore", s.AWSElasticBlockStore, validateAWSElasticBlockStore),
		member(path, "glusterfs", s.Glusterfs, validatePVGlusterfs),
		member(path, "flocker", s.Flocker, validateFlocker),
		member(path, "nfs", s.NFS, validateNFS),
		member(path, "rbd", s.RBD, validatePVRBD),
		member(path, "quobyte", s.Quobyte, validateQuobyte),
		memberAt(path, "cephFS", "cephfs", s.CephFS, validatePVCephFS),
		member(path, "iscsi", s.ISCSI, func(i *corev1.ISCSIPersistentVolumeSource, at *field.Path) field.ErrorList {
			return validatePVISCSI(i, name, at)
		}),
		member(path, "cinder", s.Cinder, validatePVCinder),
		member(path, "fc", s.FC, validateFC),
		member(path, "flexVolume", s.FlexVolume, validatePVFlexVolume),
		member(path, "azureFile", s.AzureFile, validatePVAzureFile),
		member(path, "vsphereVolume", s.VsphereVolume, validateVsphereVolume),
		member(path, "photonPersistentDisk", s.PhotonPersistentDisk, validatePhotonPersistentDisk),
		member(path, "portworxVolume", s.PortworxVolume, validatePortworxVolume),
		member(path, "azureDisk", s.AzureDisk, validateAzureDisk),
		member(path, "scaleIO", s.ScaleIO, validatePVScaleIO),
		member(path, "local", s.Local, validateLocalVolume),
		member(path, "storageos", s.StorageOS, validatePVStorageOS),
		member(path, "csi", s.CSI, validatePVCSI),
	}
	for i := range members {
		members[i].tolerated = members[i].name == "flexVolume"
	}
	return validateUnion(path, "volume type", members)
}

func validatePVGlusterfs(g *corev1.GlusterfsPersistentVolumeSource, at *field.Path) field.ErrorList {
	errs := append(validateRequired(g.EndpointsName, at.Child("endpoints")), validateRequired(g.Path, at.Child("path"))...)
	if ns := g.EndpointsNamespace; ns != nil {
		at = at.Child("endpointsNamespace")
		if *ns == "" {
			return append(errs, field.Invalid(at, *ns, "if the endpointnamespace is set, it must be a valid namespace name"))
		}
		errs = append(errs, invalidValue(at, *ns, apivalidation.ValidateNamespaceName(*ns, false))...)
	}
	return errs
}

func validatePVRBD(r *corev1.RBDPersistentVolumeSource, at *field.Path) field.ErrorList {
	return validateRBDImage(r.CephMonitors, r.RBDImage, at)
}

func validatePVCephFS(c *corev1.CephFSPersistentVolumeSource, at *field.Path) field.ErrorList {
	return validateMonitors(c.Monitors, at)
}

func validatePVISCSI(i *corev1.ISCSIPersistentVolumeSource, volume string, at *field.Path) field.ErrorList {
	errs := validateISCSITarget(i.TargetPortal, i.IQN, i.Lun, i.InitiatorName, "must be valid format", at)
	errs = append(errs, validateISCSIPortalLength(i.InitiatorName, volume, i.TargetPortal, i.TargetPortal, at.Child("targetportal"))...)
	switch {
	case i.SecretRef != nil:
		errs = append(errs, validateRequired(i.SecretRef.Name, at.Child("secretRef", "name"))...)
	case i.DiscoveryCHAPAuth || i.SessionCHAPAuth:
		errs = append(errs, field.Required(at.Child("secretRef"), ""))
	}
	return errs
}

func validatePVCinder(c *corev1.CinderPersistentVolumeSource, at *field.Path) field.ErrorList {
	errs := validateRequired(c.VolumeID, at.Child("volumeID"))
	if c.SecretRef != nil {
		errs = append(errs, validateRequired(c.SecretRef.Name, at.Child("secretRef", "name"))...)
		errs = append(errs, validateRequired(c.SecretRef.Namespace, at.Child("secretRef", "namespace"))...)
	}
	return errs
}

func validatePVFlexVolume(f *corev1.FlexPersistentVolumeSource, at *field.Path) field.ErrorList {
	return validateFlexDriver(f.Driver, f.Options, at)
}

func validatePVAzureFile(a *corev1.AzureFilePersistentVolumeSource, at *field.Path) field.ErrorList {
	errs := append(validateRequired(a.SecretName, at.Child("secretName")), validateRequired(a.ShareName, at.Child("shareName"))...)
	if a.SecretNamespace != nil {
		errs = append(errs, validateRequired(*a.SecretNamespace, at.Child("secretNamespace"))...)
	}
	return errs
}

func validatePVScaleIO(s *corev1.ScaleIOPersistentVolumeSource, at *field.Path) field.ErrorList {
	return validateScaleIOVolume(s.Gateway, s.System, s.VolumeName, at)
}

func validatePVStorageOS(s *corev1.StorageOSPersistentVolumeSource, at *field.Path) field.ErrorList {
	errs := validateStorageOSVolume(s.VolumeName, s.VolumeNamespace, at)
	if s.SecretRef != nil {
		errs = append(errs, validateRequired(s.SecretRef.Name, at.Child("secretRef", "name"))...)
		errs = append(errs, validateRequired(s.SecretRef.Namespace, at.Child("secretRef", "namespace"))...)
	}
	return errs
}

func validatePVCSI(c *corev1.CSIPersistentVolumeSource, at *field.Path) field.ErrorList {
	errs := append(validateCSIDriverName(c.Driver, at.Child("driver")), validateRequired(c.VolumeHandle, at.Child("volumeHandle"))...)
	for _, secret := range []struct {
		name string
		ref  *corev1.SecretReference
	}{
		{"controllerPublishSecretRef", c.ControllerPublishSecretRef},
		{"controllerExpandSecretRef", c.ControllerExpandSecretRef},
		{"nodePublishSecretRef", c.NodePublishSecretRef},
		{"nodeExpandSecretRef", c.NodeExpandSecretRef},
	} {
		if secret.ref != nil {
			errs = append(errs, validateSecretReference(secret.ref, at.Child(secret.name))...)
		}
	}
	return errs
}

// validateSecretReference wants the full name of a Secret.
func validateSecretReference(ref *corev1.SecretReference, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if ref.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	} else {
		errs = append(errs, validateDNSSubdomain(ref.Name, at.Child("name"))...)
	}
	return append(errs, validateRequiredLabel(ref.Namespace, at.Child("namespace"))...)
}
