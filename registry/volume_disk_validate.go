package registry

import (
	"net"
	"path"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Disks, file servers and directories as sources of volumes: of pods' inline volumes, and of PersistentVolumes where
// the type is the same. Where a PersistentVolume has a type of its own (pv_source_validate.go) the rules in common are
// functions of the fields.

func validateHostPath(h *corev1.HostPathVolumeSource, at *field.Path) field.ErrorList {
	if h.Path == "" {
		return field.ErrorList{field.Required(at.Child("path"), "")}
	}
	return append(validateNoBacksteps(h.Path, at.Child("path")), validateOptionalChoice(h.Type, at.Child("type"),
		corev1.HostPathUnset, corev1.HostPathBlockDev, corev1.HostPathCharDev, corev1.HostPathDirectory,
		corev1.HostPathDirectoryOrCreate, corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket)...)
}

func validateLocalVolume(l *corev1.LocalVolumeSource, at *field.Path) field.ErrorList {
	if l.Path == "" {
		return field.ErrorList{field.Required(at.Child("path"), "")}
	}
	return validateNoBacksteps(l.Path, at.Child("path"))
}

func validateGCEPersistentDisk(d *corev1.GCEPersistentDiskVolumeSource, at *field.Path) field.ErrorList {
	return append(validateRequired(d.PDName, at.Child("pdName")), validateDiskPartition(d.Partition, at)...)
}

func validateAWSElasticBlockStore(d *corev1.AWSElasticBlockStoreVolumeSource, at *field.Path) field.ErrorList {
	return append(validateRequired(d.VolumeID, at.Child("volumeID")), validateDiskPartition(d.Partition, at)...)
}

// validateDiskPartition accepts 0 as well, the disk without partitions, whatever the message says.
func validateDiskPartition(partition int32, at *field.Path) field.ErrorList {
	if partition < 0 || partition > 255 {
		return field.ErrorList{field.Invalid(at.Child("partition"), partition, validation.InclusiveRangeError(1, 255))}
	}
	return nil
}

func validateNFS(n *corev1.NFSVolumeSource, at *field.Path) field.ErrorList {
	errs := append(validateRequired(n.Server, at.Child("server")), validateRequired(n.Path, at.Child("path"))...)
	if !path.IsAbs(n.Path) {
		errs = append(errs, field.Invalid(at.Child("path"), n.Path, "must be an absolute path"))
	}
	return errs
}

func validateISCSI(i *corev1.ISCSIVolumeSource, at *field.Path) field.ErrorList {
	const form = "must be valid format starting with iqn, eui, or naa"
	errs := validateISCSITarget(i.TargetPortal, i.IQN, i.Lun, i.InitiatorName, form, at)
	if (i.DiscoveryCHAPAuth || i.SessionCHAPAuth) && i.SecretRef == nil {
		errs = append(errs, field.Required(at.Child("secretRef"), ""))
	}
	return errs
}

// validateISCSITarget is about what inline and persistent iSCSI disks have in common; form is the complaint about a
// name of no known kind.
func validateISCSITarget(portal, target string, lun int32, initiator *string, form string, at *field.Path) field.ErrorList {
	errs := validateRequired(portal, at.Child("targetPortal"))
	if target == "" {
		errs = append(errs, field.Required(at.Child("iqn"), ""))
	} else {
		errs = append(errs, validateISCSIName(target, form, at.Child("iqn"))...)
	}
	errs = append(errs, validateLun(lun, at.Child("lun"))...)
	if initiator != nil {
		errs = append(errs, validateISCSIName(*initiator, form, at.Child("initiatorname"))...)
	}
	return errs
}

// The three kinds of iSCSI names, by their prefix (RFC 3720, section 3.2.6.3).
var (
	iscsiQualifiedName = regexp.MustCompile(`iqn\.\d{4}-\d{2}\.([[:alnum:]-.]+)(:[^,;*&$|\s]+)$`)
	iscsiExtendedName  = regexp.MustCompile(`^eui.[[:alnum:]]{16}$`)
	iscsiNetworkName   = regexp.MustCompile(`^naa.[[:alnum:]]{32}$`)
)

func validateISCSIName(name, form string, at *field.Path) field.ErrorList {
	var valid *regexp.Regexp
	switch {
	case strings.HasPrefix(name, "iqn"):
		valid = iscsiQualifiedName
	case strings.HasPrefix(name, "eui"):
		valid = iscsiExtendedName
	case strings.HasPrefix(name, "naa"):
		valid = iscsiNetworkName
	default:
		return field.ErrorList{field.Invalid(at, name, form)}
	}
	if !valid.MatchString(name) {
		return field.ErrorList{field.Invalid(at, name, "must be valid format")}
	}
	return nil
}

// validateISCSIPortalLength bounds volume and portal together: with an initiator of their own they name the interface
// that the node makes for the disk. value is what the error quotes.
func validateISCSIPortalLength(initiator *string, volume, portal, value string, at *field.Path) field.ErrorList {
	if initiator == nil || len(volume)+len(":")+len(portal) <= 64 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, value,
		"Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.")}
}

func validateLun(lun int32, at *field.Path) field.ErrorList {
	if lun < 0 || lun > 255 {
		return field.ErrorList{field.Invalid(at, lun, validation.InclusiveRangeError(0, 255))}
	}
	return nil
}

func validateFC(f *corev1.FCVolumeSource, at *field.Path) field.ErrorList {
	named, identified := len(f.TargetWWNs) > 0, len(f.WWIDs) > 0
	var errs field.ErrorList
	switch {
	case !named && !identified:
		errs = append(errs, field.Required(at.Child("targetWWNs"), "must specify either targetWWNs or wwids, but not both"))
	case named && identified:
		errs = append(errs, field.Invalid(at.Child("targetWWNs"), f.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously"))
	}
	switch {
	case !named:
	case f.Lun == nil:
		errs = append(errs, field.Required(at.Child("lun"), "lun is required if targetWWNs is specified"))
	default:
		errs = append(errs, validateLun(*f.Lun, at.Child("lun"))...)
	}
	return errs
}

func validateGlusterfs(g *corev1.GlusterfsVolumeSource, at *field.Path) field.ErrorList {
	return append(validateRequired(g.EndpointsName, at.Child("endpoints")), validateRequired(g.Path, at.Child("path"))...)
}

func validateFlocker(f *corev1.FlockerVolumeSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case f.DatasetName == "" && f.DatasetUUID == "":
		errs = append(errs, field.Required(at, "one of datasetName and datasetUUID is required"))
	case f.DatasetName != "" && f.DatasetUUID != "":
		errs = append(errs, field.Invalid(at, "resource", "datasetName and datasetUUID can not be specified simultaneously"))
	}
	if strings.Contains(f.DatasetName, "/") {
		errs = append(errs, field.Invalid(at.Child("datasetName"), f.DatasetName, "must not contain '/'"))
	}
	return errs
}

func validateRBD(r *corev1.RBDVolumeSource, at *field.Path) field.ErrorList {
	return validateRBDImage(r.CephMonitors, r.RBDImage, at)
}

func validateRBDImage(monitors []string, image string, at *field.Path) field.ErrorList {
	return append(validateMonitors(monitors, at), validateRequired(image, at.Child("image"))...)
}

func validateCephFS(c *corev1.CephFSVolumeSource, at *field.Path) field.ErrorList {
	return validateMonitors(c.Monitors, at)
}

func validateMonitors(monitors []string, at *field.Path) field.ErrorList {
	if len(monitors) == 0 {
		return field.ErrorList{field.Required(at.Child("monitors"), "")}
	}
	return nil
}

func validateCinder(c *corev1.CinderVolumeSource, at *field.Path) field.ErrorList {
	return append(validateRequired(c.VolumeID, at.Child("volumeID")), validateSecretName(c.SecretRef, at.Child("secretRef"))...)
}

// validateSecretName wants a secret that is referred to at all to be referred to by name.
func validateSecretName(ref *corev1.LocalObjectReference, at *field.Path) field.ErrorList {
	if ref == nil {
		return nil
	}
	return validateRequired(ref.Name, at.Child("name"))
}

func validateQuobyte(q *corev1.QuobyteVolumeSource, at *field.Path) field.ErrorList {
	const pairs = "must be a host:port pair or multiple pairs separated by commas"
	var errs field.ErrorList
	switch {
	case q.Registry == "":
		errs = append(errs, field.Required(at.Child("registry"), pairs))
	case len(q.Tenant) > 64:
		errs = append(errs, field.Required(at.Child("tenant"), "must be a UUID and may not exceed a length of 64 characters"))
	default:
		for pair := range strings.SplitSeq(q.Registry, ",") {
			if _, _, err := net.SplitHostPort(pair); err != nil {
				errs = append(errs, field.Invalid(at.Child("registry"), q.Registry, pairs))
			}
		}
	}
	return append(errs, validateRequired(q.Volume, at.Child("volume"))...)
}

func validateFlexVolume(f *corev1.FlexVolumeSource, at *field.Path) field.ErrorList {
	return validateFlexDriver(f.Driver, f.Options, at)
}

// validateFlexDriver keeps the options from the namespaces in which the node itself passes options to a driver.
func validateFlexDriver(driver string, options map[string]string, at *field.Path) field.ErrorList {
	errs := validateRequired(driver, at.Child("driver"))
	for _, key := range sortedKeys(options) {
		namespace, _, _ := strings.Cut(key, "/")
		domain := "." + strings.ToLower(namespace)
		if strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io") {
			errs = append(errs, field.Invalid(at.Child("options").Key(key), key, "kubernetes.io and k8s.io namespaces are reserved"))
		}
	}
	return errs
}

func validateAzureFile(a *corev1.AzureFileVolumeSource, at *field.Path) field.ErrorList {
	return append(validateRequired(a.SecretName, at.Child("secretName")), validateRequired(a.ShareName, at.Child("shareName"))...)
}

func validateAzureDisk(a *corev1.AzureDiskVolumeSource, at *field.Path) field.ErrorList {
	errs := append(validateRequired(a.DiskName, at.Child("diskName")), validateRequired(a.DataDiskURI, at.Child("diskURI"))...)
	errs = append(errs, validateOptionalChoice(a.CachingMode, at.Child("cachingMode"),
		corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite)...)
	errs = append(errs, validateOptionalChoice(a.Kind, at.Child("kind"),
		corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk, corev1.AzureSharedBlobDisk)...)
	if a.Kind == nil {
		return errs
	}
	prefix, form := "https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
	if *a.Kind == corev1.AzureManagedDisk {
		prefix, form = "/subscriptions/", "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
	}
	if !strings.HasPrefix(a.DataDiskURI, prefix) {
		errs = append(errs, field.NotSupported(at.Child("diskURI"), a.DataDiskURI, []string{form}))
	}
	return errs
}

func validateVsphereVolume(v *corev1.VsphereVirtualDiskVolumeSource, at *field.Path) field.ErrorList {
	return validateRequired(v.VolumePath, at.Child("volumePath"))
}

func validatePhotonPersistentDisk(p *corev1.PhotonPersistentDiskVolumeSource, at *field.Path) field.ErrorList {
	return validateRequired(p.PdID, at.Child("pdID"))
}

func validatePortworxVolume(p *corev1.PortworxVolumeSource, at *field.Path) field.ErrorList {
	return validateRequired(p.VolumeID, at.Child("volumeID"))
}

func validateScaleIO(s *corev1.ScaleIOVolumeSource, at *field.Path) field.ErrorList {
	return validateScaleIOVolume(s.Gateway, s.System, s.VolumeName, at)
}

func validateScaleIOVolume(gateway, system, volume string, at *field.Path) field.ErrorList {
	errs := append(validateRequired(gateway, at.Child("gateway")), validateRequired(system, at.Child("system"))...)
	return append(errs, validateRequired(volume, at.Child("volumeName"))...)
}

func validateStorageOS(s *corev1.StorageOSVolumeSource, at *field.Path) field.ErrorList {
	return append(validateStorageOSVolume(s.VolumeName, s.VolumeNamespace, at), validateSecretName(s.SecretRef, at.Child("secretRef"))...)
}

func validateStorageOSVolume(name, namespace string, at *field.Path) field.ErrorList {
	errs := validateRequiredLabel(name, at.Child("volumeName"))
	if namespace != "" {
		errs = append(errs, validateDNSLabel(namespace, at.Child("volumeNamespace"))...)
	}
	return errs
}

func validateCSIVolume(c *corev1.CSIVolumeSource, at *field.Path) field.ErrorList {
	errs := validateCSIDriverName(c.Driver, at.Child("driver"))
	switch ref := c.NodePublishSecretRef; {
	case ref == nil:
	case ref.Name == "":
		errs = append(errs, field.Required(at.Child("nodePublishSecretRef", "name"), ""))
	default:
		errs = append(errs, validateDNSSubdomain(ref.Name, at.Child("name"))...)
	}
	return errs
}

// validateCSIDriverName is about the name of a driver wherever it stands; capitals are tolerated.
func validateCSIDriverName(name string, at *field.Path) field.ErrorList {
	const longest = 63
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	if len(name) > longest {
		errs = append(errs, field.TooLong(at, "", longest))
	}
	return append(errs, invalidValue(at, name, validation.IsDNS1123Subdomain(strings.ToLower(name)))...)
}
