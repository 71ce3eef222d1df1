package admission

import (
	"context"
	"errors"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"github.com/knarr-dev/knarr/registry"
)

// admitToken gives a node tokens for the pods that run on it, bound to them, and for audiences that they, or the
// drivers of their volumes, ask for. Others have to be allowed to it.
func (r restriction) admitToken(ctx context.Context, node string, a *Attributes) error {
	if a.Operation != Create || a.Subresource != "token" {
		return nil
	}
	request, ok := a.Object.(*authenticationv1.TokenRequest)
	if !ok {
		return a.forbid("unexpected type %T", a.Object)
	}
	ref := request.Spec.BoundObjectRef
	if ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "" {
		return a.forbid("node requested token not bound to a pod")
	}
	if ref.UID == "" {
		return a.forbid("node requested token with a pod binding without a uid")
	}
	pod, err := find[*corev1.Pod](ctx, r.objects, "", "pods", a.Namespace, ref.Name)
	switch {
	case apierrors.IsNotFound(err):
		return err
	case err != nil:
		return a.forbid("%w", err)
	case ref.UID != pod.UID:
		return a.forbid("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID)
	case pod.Spec.NodeName != node:
		return a.forbid("node requested token bound to a pod scheduled on a different node")
	}
	if err := r.admitAudience(ctx, a, pod, request.Spec.Audiences); err != nil {
		return a.forbid("%w", err)
	}
	return nil
}

func (r restriction) admitAudience(ctx context.Context, a *Attributes, pod *corev1.Pod, audiences []string) error {
	audience := ""
	switch len(audiences) {
	case 0:
	case 1:
		audience = audiences[0]
	default:
		return errors.New("node may only request 0 or 1 audiences")
	}
	wanted, err := r.podWants(ctx, pod, audience)
	if err != nil {
		return fmt.Errorf("error validating audience %q: %w", audience, err)
	}
	if wanted {
		return nil
	}
	decision, _, err := r.authorizer.Authorize(ctx, &registry.Attributes{User: a.User, Verb: "request-serviceaccounts-token-audience",
		ResourceRequest: true, Namespace: a.Namespace, Version: "v1", Resource: audience, Name: a.Name})
	switch {
	case decision == registry.Allow:
		return nil
	case err != nil:
		return fmt.Errorf("audience %q not found in pod spec volume, error authorizing %s to request tokens for this audience: %w", audience, a.User.Name, err)
	}
	return fmt.Errorf("audience %q not found in pod spec volume, %s is not authorized to request tokens for this audience", audience, a.User.Name)
}

// podWants reports whether a projected token, or the driver of a volume, is for the audience. What cannot be found out
// counts only if nothing else is.
func (r restriction) podWants(ctx context.Context, pod *corev1.Pod, audience string) (bool, error) {
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				if s.ServiceAccountToken != nil && s.ServiceAccountToken.Audience == audience {
					return true, nil
				}
			}
		}
		wants, err := r.volumeWants(ctx, pod, v, audience)
		switch {
		case err != nil:
			errs = append(errs, err)
		case wants:
			return true, nil
		}
	}
	if len(errs) == 0 {
		return false, nil
	}
	return false, utilerrors.NewAggregate(errs)
}

func (r restriction) volumeWants(ctx context.Context, pod *corev1.Pod, v *corev1.Volume, audience string) (bool, error) {
	name, err := r.driverOf(ctx, pod, v)
	if name == "" || err != nil {
		return false, err
	}
	driver, err := find[*storagev1.CSIDriver](ctx, r.objects, storagev1.GroupName, "csidrivers", "", name)
	if err != nil {
		return false, err
	}
	for _, t := range driver.Spec.TokenRequests {
		if t.Audience == audience {
			return true, nil
		}
	}
	return false, nil
}

// driverOf is the CSI driver that serves a pod's volume, also for the volume types that have been handed over to
// drivers; empty if none does.
func (r restriction) driverOf(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (string, error) {
	switch {
	case v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil:
		return r.driverOfClaim(ctx, pod.Namespace, pod.Name+"-"+v.Name)
	case v.PersistentVolumeClaim != nil:
		return r.driverOfClaim(ctx, pod.Namespace, v.PersistentVolumeClaim.ClaimName)
	case v.CSI != nil:
		return v.CSI.Driver, nil
	}
	return migratedDriver(v.GCEPersistentDisk != nil, v.AWSElasticBlockStore != nil, v.Cinder != nil, v.AzureDisk != nil,
		v.AzureFile != nil, v.VsphereVolume != nil, v.PortworxVolume != nil), nil
}

func (r restriction) driverOfClaim(ctx context.Context, namespace, name string) (string, error) {
	claim, err := find[*corev1.PersistentVolumeClaim](ctx, r.objects, "", "persistentvolumeclaims", namespace, name)
	if err != nil {
		return "", err
	}
	volume, err := find[*corev1.PersistentVolume](ctx, r.objects, "", "persistentvolumes", "", claim.Spec.VolumeName)
	if err != nil {
		return "", err
	}
	v := &volume.Spec.PersistentVolumeSource
	if v.CSI != nil {
		return v.CSI.Driver, nil
	}
	return migratedDriver(v.GCEPersistentDisk != nil, v.AWSElasticBlockStore != nil, v.Cinder != nil, v.AzureDisk != nil,
		v.AzureFile != nil, v.VsphereVolume != nil, v.PortworxVolume != nil), nil
}

// migratedDriver is the driver that took over the volume type that is there.
func migratedDriver(gce, aws, cinder, azureDisk, azureFile, vsphere, portworx bool) string {
	switch {
	case gce:
		return "pd.csi.storage.gke.io"
	case aws:
		return "ebs.csi.aws.com"
	case cinder:
		return "cinder.csi.openstack.org"
	case azureDisk:
		return "disk.csi.azure.com"
	case azureFile:
		return "file.csi.azure.com"
	case vsphere:
		return "csi.vsphere.vmware.com"
	case portworx:
		return "pxd.portworx.com"
	}
	return ""
}
