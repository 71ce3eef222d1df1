package nodeagent

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/ptr"
)

// file is a file of a volume that is made of objects.
type file struct {
	data  []byte
	mode  int32
	token *corev1.ServiceAccountTokenProjection // the file holds a token, which is asked for when the file is written
}

// content is what stands behind a volume: files, or a persistent volume; for all others neither.
type content struct {
	files  map[string]file
	volume *corev1.PersistentVolume
}

// claimError is that of a claim that cannot be used yet, and not that of a volume that cannot be set up.
type claimError struct{ error }

// volumeContent is what a volume is made of: pure.
func volumeContent(p *corev1.Pod, v *corev1.Volume, around *surroundings) (c content, err error) {
	switch {
	case v.ConfigMap != nil:
		c.files, err = configMapFiles(p, &corev1.ConfigMapProjection{LocalObjectReference: v.ConfigMap.LocalObjectReference, Items: v.ConfigMap.Items, Optional: v.ConfigMap.Optional},
			ptr.Deref(v.ConfigMap.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode), around.shelf)
	case v.Secret != nil:
		c.files, err = secretFiles(p, &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: v.Secret.SecretName}, Items: v.Secret.Items, Optional: v.Secret.Optional},
			ptr.Deref(v.Secret.DefaultMode, corev1.SecretVolumeSourceDefaultMode), around.shelf)
	case v.DownwardAPI != nil:
		c.files, err = downwardFiles(p, v.DownwardAPI.Items, ptr.Deref(v.DownwardAPI.DefaultMode, corev1.DownwardAPIVolumeSourceDefaultMode), around)
	case v.Projected != nil:
		c.files, err = projectedFiles(p, v.Projected, around)
	case claimOf(p, v) != "":
		if c.volume, err = claimedVolume(p, v, around.shelf); err != nil {
			err = claimError{err}
		}
	}
	return c, err
}

// configMapFiles are a ConfigMap's entries, or those of them that are asked for.
func configMapFiles(p *corev1.Pod, from *corev1.ConfigMapProjection, mode int32, s shelf) (map[string]file, error) {
	m, err := s.configMap(p.Namespace, from.Name)
	if err != nil {
		if err := unlessOptional(err, from.Optional); err != nil {
			return nil, err
		}
		m = &corev1.ConfigMap{}
	}
	data := maps.Clone(m.BinaryData)
	if data == nil {
		data = map[string][]byte{}
	}
	for k, v := range m.Data {
		data[k] = []byte(v)
	}
	return pick(data, from.Items, mode, ptr.Deref(from.Optional, false), "configmap references non-existent config key: %s")
}

func secretFiles(p *corev1.Pod, from *corev1.SecretProjection, mode int32, s shelf) (map[string]file, error) {
	m, err := s.secret(p.Namespace, from.Name)
	if err != nil {
		if err := unlessOptional(err, from.Optional); err != nil {
			return nil, err
		}
		m = &corev1.Secret{}
	}
	return pick(m.Data, from.Items, mode, ptr.Deref(from.Optional, false), "references non-existent secret key: %s")
}

// pick makes files of data: of all, or of the items.
func pick(data map[string][]byte, items []corev1.KeyToPath, mode int32, optional bool, missing string) (map[string]file, error) {
	files := map[string]file{}
	if len(items) == 0 {
		for k, v := range data {
			files[k] = file{data: v, mode: mode}
		}
		return files, nil
	}
	for _, item := range items {
		v, found := data[item.Key]
		switch {
		case found:
			files[item.Path] = file{data: v, mode: ptr.Deref(item.Mode, mode)}
		case !optional:
			return nil, fmt.Errorf(missing, item.Key)
		}
	}
	return files, nil
}

// downwardFiles tell of the pod itself.
func downwardFiles(p *corev1.Pod, items []corev1.DownwardAPIVolumeFile, mode int32, around *surroundings) (map[string]file, error) {
	files := map[string]file{}
	var errs []error
	for _, item := range items {
		var text string
		var err error
		switch {
		case item.FieldRef != nil:
			text, err = podField(p, item.FieldRef.FieldPath, around)
		case item.ResourceFieldRef != nil:
			text, err = resourceField(p, &corev1.Container{}, item.ResourceFieldRef, around.allocatable)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		files[path.Clean(item.Path)] = file{data: []byte(text), mode: ptr.Deref(item.Mode, mode)}
	}
	return files, utilerrors.NewAggregate(errs)
}

// projectedFiles are those of several sources; later ones win.
func projectedFiles(p *corev1.Pod, v *corev1.ProjectedVolumeSource, around *surroundings) (map[string]file, error) {
	files := map[string]file{}
	var errs []error
	mode := ptr.Deref(v.DefaultMode, corev1.ProjectedVolumeSourceDefaultMode)
	for _, s := range v.Sources {
		var some map[string]file
		var err error
		switch {
		case s.ConfigMap != nil:
			some, err = configMapFiles(p, s.ConfigMap, mode, around.shelf)
		case s.Secret != nil:
			some, err = secretFiles(p, s.Secret, mode, around.shelf)
		case s.DownwardAPI != nil:
			some, err = downwardFiles(p, s.DownwardAPI.Items, mode, around)
		case s.ServiceAccountToken != nil:
			some = map[string]file{s.ServiceAccountToken.Path: {mode: mode, token: s.ServiceAccountToken}}
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		maps.Copy(files, some)
	}
	return files, utilerrors.NewAggregate(errs)
}

// claimedVolume is the persistent volume behind a claim, once it may be used.
func claimedVolume(p *corev1.Pod, v *corev1.Volume, s shelf) (*corev1.PersistentVolume, error) {
	name := claimOf(p, v)
	fail := func(format string, args ...any) (*corev1.PersistentVolume, error) {
		return nil, fmt.Errorf("error processing PVC %s/%s: %w", p.Namespace, name, fmt.Errorf(format, args...))
	}
	claim, err := lookUp[corev1.PersistentVolumeClaim](s, reference{claimReference, p.Namespace, name})
	switch {
	case err != nil:
		return fail("failed to fetch PVC from API server: %w", err)
	case v.Ephemeral != nil && !metav1.IsControlledBy(claim, p):
		return nil, fmt.Errorf("PVC %s/%s was not created for pod %s/%s (pod is not owner)", claim.Namespace, claim.Name, p.Namespace, p.Name)
	case claim.DeletionTimestamp != nil && !slices.Contains(claim.Finalizers, "kubernetes.io/pvc-protection"):
		return fail("PVC is being deleted")
	case claim.Status.Phase != corev1.ClaimBound:
		return fail("PVC is not bound")
	case claim.Spec.VolumeName == "":
		return fail("PVC has empty pvc.Spec.VolumeName")
	}
	pv, err := lookUp[corev1.PersistentVolume](s, reference{volumeReference, "", claim.Spec.VolumeName})
	switch {
	case err != nil:
		return fail("failed to fetch PV %s from API server: %w", claim.Spec.VolumeName, err)
	case pv.Spec.ClaimRef == nil:
		return fail("found PV object %s but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim", pv.Name)
	case pv.Spec.ClaimRef.UID != claim.UID:
		return fail("found PV object %s but its pv.Spec.ClaimRef.UID %s does not point to claim.UID %s", pv.Name, pv.Spec.ClaimRef.UID, claim.UID)
	}
	mode := ptr.Deref(pv.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	for _, c := range containers(p) {
		if mode != corev1.PersistentVolumeFilesystem && slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == v.Name }) {
			return nil, fmt.Errorf("volume %s has volumeMode %s, but is specified in volumeMounts", v.Name, mode)
		}
		if mode != corev1.PersistentVolumeBlock && slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == v.Name }) {
			return nil, fmt.Errorf("volume %s has volumeMode %s, but is specified in volumeDevices", v.Name, mode)
		}
	}
	return pv, nil
}

// volumeError is what people are told of a volume that cannot be set up.
func volumeError(v *corev1.Volume, err error) string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", v.Name, err)
}

// mounts are a container's, in the runtime's words. Paths of the host begin at the pod's own directory.
func mounts(p *corev1.Pod, c *corev1.Container, vars map[string]string) (list []*cri.Mount, err error) {
	propagation := map[corev1.MountPropagationMode]cri.MountPropagation{corev1.MountPropagationNone: cri.MountPropagation_PROPAGATION_PRIVATE,
		corev1.MountPropagationHostToContainer: cri.MountPropagation_PROPAGATION_HOST_TO_CONTAINER, corev1.MountPropagationBidirectional: cri.MountPropagation_PROPAGATION_BIDIRECTIONAL}
	for _, m := range c.VolumeMounts {
		i := slices.IndexFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if i < 0 {
			return nil, fmt.Errorf("cannot find volume %q to mount into container %q", m.Name, c.Name)
		}
		sub := m.SubPath
		if m.SubPathExpr != "" {
			var missing []string
			sub = expand(m.SubPathExpr, func(name string) string {
				if vars[name] == "" {
					missing = append(missing, name)
				}
				return vars[name]
			})
			if len(missing) > 0 {
				return nil, fmt.Errorf("missing value for %s", strings.Join(slices.Compact(slices.Sorted(slices.Values(missing))), ", "))
			}
		}
		switch {
		case path.IsAbs(sub):
			return nil, fmt.Errorf("error SubPath `%s` must not be an absolute path", sub)
		case slices.Contains(strings.Split(sub, "/"), ".."):
			return nil, fmt.Errorf("unable to provision SubPath `%s`: must not contain '..'", sub)
		}
		from := objectVolumes
		if v := p.Spec.Volumes[i]; v.EmptyDir != nil || v.Ephemeral != nil {
			from = "volumes"
		}
		mount := &cri.Mount{ContainerPath: m.MountPath, HostPath: path.Join(from, m.Name, sub), Readonly: m.ReadOnly,
			Propagation: propagation[ptr.Deref(m.MountPropagation, corev1.MountPropagationNone)]}
		if host := p.Spec.Volumes[i].HostPath; host != nil {
			mount.HostPath = path.Join(host.Path, sub)
		}
		list = append(list, mount)
	}
	return list, nil
}
