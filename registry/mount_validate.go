package registry

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateVolumeMounts is about the volumes in a container's file system. Some errors are reported at the list rather
// than at the mount: clients know them there.
func (p *podSpecCheck) validateVolumeMounts(c *corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	taken := sets.New[string]()
	for i := range c.VolumeMounts {
		m, at := &c.VolumeMounts[i], path.Index(i)
		errs = append(errs, validateRequired(m.Name, at.Child("name"))...)
		if _, ok := p.volumes[m.Name]; !ok {
			errs = append(errs, field.NotFound(at.Child("name"), m.Name))
		}
		errs = append(errs, validateRequired(m.MountPath, at.Child("mountPath"))...)
		if taken.Has(m.MountPath) {
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must be unique"))
		}
		taken.Insert(m.MountPath)
		errs = append(errs, validateNotDevice(m, c.VolumeDevices, at)...)
		errs = append(errs, validateSubPath(m, at, path)...)
		errs = append(errs, validateMountPropagation(m, c, path.Child("mountPropagation"))...)
		errs = append(errs, validateRecursiveReadOnly(m, path.Child("recursiveReadOnly"))...)
	}
	return errs
}

// validateNotDevice keeps a volume from being mounted and a device at once. Of devices that share a name only the last
// one's path counts.
func validateNotDevice(m *corev1.VolumeMount, devices []corev1.VolumeDevice, path *field.Path) field.ErrorList {
	if len(devices) == 0 {
		return nil
	}
	paths := make(map[string]string, len(devices))
	for _, d := range devices {
		paths[d.Name] = d.DevicePath
	}
	var errs field.ErrorList
	if _, ok := paths[m.Name]; ok {
		errs = append(errs, field.Invalid(path.Child("name"), m.Name, "must not already exist in volumeDevices"))
	}
	if hasValue(paths, m.MountPath) {
		errs = append(errs, field.Invalid(path.Child("mountPath"), m.MountPath, "must not already exist as a path in volumeDevices"))
	}
	return errs
}

func hasValue(m map[string]string, value string) bool {
	for _, v := range m {
		if v == value {
			return true
		}
	}
	return false
}

func validateSubPath(m *corev1.VolumeMount, at, list *field.Path) field.ErrorList {
	var errs field.ErrorList
	if m.SubPath != "" {
		errs = append(errs, validateDescendingPath(m.SubPath, list.Child("subPath"))...)
	}
	if m.SubPathExpr != "" {
		if m.SubPath != "" {
			errs = append(errs, field.Invalid(at.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
		}
		errs = append(errs, validateDescendingPath(m.SubPathExpr, list.Child("subPathExpr"))...)
	}
	return errs
}

// validateMountPropagation lets only privileged containers send mounts to the node.
func validateMountPropagation(m *corev1.VolumeMount, c *corev1.Container, path *field.Path) field.ErrorList {
	errs := validateOptionalChoice(m.MountPropagation, path,
		corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)
	if m.MountPropagation != nil && *m.MountPropagation == corev1.MountPropagationBidirectional && !isPrivileged(c) {
		errs = append(errs, field.Forbidden(path, "Bidirectional mount propagation is available only to privileged containers"))
	}
	return errs
}

func isPrivileged(c *corev1.Container) bool {
	return c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged
}

func validateRecursiveReadOnly(m *corev1.VolumeMount, path *field.Path) field.ErrorList {
	if m.RecursiveReadOnly == nil || *m.RecursiveReadOnly == corev1.RecursiveReadOnlyDisabled {
		return nil
	}
	errs := validateChoice(*m.RecursiveReadOnly, path,
		corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible)
	if len(errs) > 0 {
		return errs
	}
	if !m.ReadOnly {
		errs = append(errs, field.Forbidden(path, "may only be specified when readOnly is true"))
	}
	if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
		errs = append(errs, field.Forbidden(path, "may only be specified when mountPropagation is None or not specified"))
	}
	return errs
}

// validateVolumeDevices is about claims that a container gets as block devices.
func (p *podSpecCheck) validateVolumeDevices(c *corev1.Container, path *field.Path) field.ErrorList {
	mounts := make(map[string]string, len(c.VolumeMounts))
	for _, m := range c.VolumeMounts {
		mounts[m.Name] = m.MountPath
	}
	var errs field.ErrorList
	names, paths := sets.New[string](), sets.New[string]()
	for i, d := range c.VolumeDevices {
		name, at := path.Index(i).Child("name"), path.Index(i).Child("devicePath")
		errs = append(errs, validateRequired(d.Name, name)...)
		if names.Has(d.Name) && d.Name != "" {
			errs = append(errs, field.Invalid(name, d.Name, "must be unique"))
		}
		names.Insert(d.Name)
		if source, ok := p.volumes[d.Name]; !ok {
			errs = append(errs, field.NotFound(name, d.Name))
		} else if source.PersistentVolumeClaim == nil && source.Ephemeral == nil {
			errs = append(errs, field.Invalid(name, d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"))
		}
		errs = append(errs, validateRequired(d.DevicePath, at)...)
		if paths.Has(d.DevicePath) {
			errs = append(errs, field.Invalid(at, d.DevicePath, "must be unique"))
		}
		if len(validateNoBacksteps(d.DevicePath, at)) > 0 {
			errs = append(errs, field.Invalid(at, d.DevicePath, "can not contain backsteps ('..')"))
		} else {
			paths.Insert(d.DevicePath)
		}
		if _, ok := mounts[d.Name]; ok {
			errs = append(errs, field.Invalid(name, d.Name, "must not already exist in volumeMounts"))
		}
		if hasValue(mounts, d.DevicePath) {
			errs = append(errs, field.Invalid(at, d.DevicePath, "must not already exist as a path in volumeMounts"))
		}
	}
	return errs
}
