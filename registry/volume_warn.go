package registry

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// volumeWarnings are about kinds of volumes that have been taken out, and about claims inside of volumes.
func volumeWarnings(path *field.Path, volumes []corev1.Volume) []string {
	var warnings []string
	for i := range volumes {
		v := &volumes[i]
		for _, former := range [...]struct {
			used          bool
			field, advice string
		}{
			{v.PhotonPersistentDisk != nil, "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"},
			{v.GitRepo != nil, "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"},
			{v.ScaleIO != nil, "scaleIO", "deprecated in v1.16, non-functional in v1.22+"},
			{v.Flocker != nil, "flocker", "deprecated in v1.22, non-functional in v1.25+"},
			{v.StorageOS != nil, "storageOS", "deprecated in v1.22, non-functional in v1.25+"},
			{v.Quobyte != nil, "quobyte", "deprecated in v1.22, non-functional in v1.25+"},
			{v.Glusterfs != nil, "glusterfs", "deprecated in v1.25, non-functional in v1.26+"},
			{v.CephFS != nil, "cephfs", "deprecated in v1.28, non-functional in v1.31+"},
			{v.RBD != nil, "rbd", "deprecated in v1.28, non-functional in v1.31+"},
		} {
			if former.used {
				warnings = append(warnings, fmt.Sprintf("%s: %s", path.Index(i).Child(former.field), former.advice))
			}
		}
		if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
			at := path.Index(i).Child("ephemeral", "volumeClaimTemplate", "spec")
			warnings = append(warnings, claimSpecWarnings(at, &v.Ephemeral.VolumeClaimTemplate.Spec)...)
		}
	}
	return warnings
}

// overlappingPathWarnings are about files of one volume that overwrite each other, or stand where another needs a
// directory. They cannot be errors: which of them wins has always been left open.
func overlappingPathWarnings(volumes []corev1.Volume) []string {
	var warnings []string
	for i := range volumes {
		v := &volumes[i]
		tell := func(from string, files []virtualFile) {
			for _, overlap := range overlaps(files) {
				warnings = append(warnings, fmt.Sprintf("volume %q (%s): overlapping paths: %s", v.Name, from, overlap))
			}
		}
		if s := v.ConfigMap; s != nil {
			tell(fmt.Sprintf("ConfigMap %q", s.Name), keyFiles(s.Items, ""))
		}
		if s := v.Secret; s != nil {
			tell(fmt.Sprintf("Secret %q", s.SecretName), keyFiles(s.Items, ""))
		}
		if s := v.DownwardAPI; s != nil {
			tell("DownwardAPI", downwardFiles(s.Items, ""))
		}
		if s := v.Projected; s != nil {
			var files []virtualFile
			for j := range s.Sources {
				files = append(files, projectionFiles(&s.Sources[j])...)
			}
			tell("Projected", files)
			if slices.Contains(s.Sources, corev1.VolumeProjection{}) {
				warnings = append(warnings, fmt.Sprintf("volume %q (Projected) has no sources provided", v.Name))
			}
		}
	}
	return warnings
}

// virtualFile is a file that a volume makes, and out of what.
type virtualFile struct{ path, source string }

func (f virtualFile) String() string {
	if f.source == "" {
		return fmt.Sprintf("%q", f.path)
	}
	return fmt.Sprintf("%q (%s)", f.path, f.source)
}

// meets reports that two files are the same, or one would have to be a directory for the other.
func (f virtualFile) meets(other virtualFile) bool {
	if f.path == "" || other.path == "" {
		return false
	}
	a, b := f.path+"/", other.path+"/"
	return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
}

// overlaps describes each pair of files that meet.
func overlaps(files []virtualFile) []string {
	var pairs []string
	for i := range files {
		files[i].path = strings.TrimRight(files[i].path, "/")
		for _, earlier := range files[:i] {
			if files[i].meets(earlier) {
				pairs = append(pairs, fmt.Sprintf("%s with %s", files[i], earlier))
			}
		}
	}
	return pairs
}

func keyFiles(items []corev1.KeyToPath, source string) []virtualFile {
	var files []virtualFile
	for _, item := range items {
		files = append(files, virtualFile{item.Path, source})
	}
	return files
}

func downwardFiles(items []corev1.DownwardAPIVolumeFile, source string) []virtualFile {
	var files []virtualFile
	for _, item := range items {
		files = append(files, virtualFile{item.Path, source})
	}
	return files
}

// projectionFiles are the files of one source of a projected volume.
func projectionFiles(p *corev1.VolumeProjection) []virtualFile {
	switch {
	case p.ConfigMap != nil && p.ConfigMap.Items != nil:
		return keyFiles(p.ConfigMap.Items, fmt.Sprintf("ConfigMap %q", p.ConfigMap.Name))
	case p.Secret != nil && p.Secret.Items != nil:
		return keyFiles(p.Secret.Items, fmt.Sprintf("Secret %q", p.Secret.Name))
	case p.DownwardAPI != nil && p.DownwardAPI.Items != nil:
		return downwardFiles(p.DownwardAPI.Items, "DownwardAPI")
	case p.ServiceAccountToken != nil:
		return []virtualFile{{p.ServiceAccountToken.Path, "ServiceAccountToken"}}
	case p.ClusterTrustBundle != nil:
		return []virtualFile{{p.ClusterTrustBundle.Path, fmt.Sprintf("ClusterTrustBundle %q", bundleName(p.ClusterTrustBundle))}}
	case p.PodCertificate != nil:
		return certificateFiles(p.PodCertificate)
	}
	return nil
}

// bundleName is what a trust bundle is called by: its name, or the signer whose bundles are meant.
func bundleName(b *corev1.ClusterTrustBundleProjection) string {
	if b.Name != nil {
		return *b.Name
	}
	if b.SignerName != nil {
		return *b.SignerName
	}
	return ""
}

func certificateFiles(c *corev1.PodCertificateProjection) []virtualFile {
	var files []virtualFile
	for _, f := range [...]virtualFile{
		{c.CertificateChainPath, "PodCertificate chain"},
		{c.KeyPath, "PodCertificate key"},
		{c.CredentialBundlePath, "PodCertificate credential bundle"},
	} {
		if f.path != "" {
			files = append(files, f)
		}
	}
	return files
}
