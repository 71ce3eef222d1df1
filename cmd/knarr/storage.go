package main

import (
	"cmp"
	"context"
	"log/slog"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/controllers"
	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/server"
)

// localVolumes is the folder in which volumes of the class local-path lie: the given one, or the data directory's.
func localVolumes(given, dataDir string) string {
	folder := cmp.Or(given, filepath.Join(dataDir, "volumes"))
	if whole, err := filepath.Abs(folder); err == nil {
		return whole
	}
	return folder
}

// localPathClass is the class of claims that name none: volumes are folders on the node of their first pod.
func localPathClass() *storagev1.StorageClass {
	return &storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: "local-path", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner: controllers.LocalPathProvisioner, ReclaimPolicy: ptr.To(corev1.PersistentVolumeReclaimDelete),
		VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer),
	}
}

// offerStorage makes the class, unless there is one by that name: what an administrator has made of it stays.
func offerStorage(ctx context.Context, s *server.Server, log *slog.Logger) {
	client := kubernetes.NewForConfigOrDie(inside{s, registry.User{Name: "system:apiserver", Groups: []string{"system:masters"}}}.own())
	failed := false
	_ = wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) { // it ends with the cluster, or when the class is there
		_, err := client.StorageV1().StorageClasses().Create(ctx, localPathClass(), metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) && ctx.Err() == nil && !failed {
			log.Warn("make the storage class local-path", "err", err)
			failed = true
		}
		return err == nil || apierrors.IsAlreadyExists(err), nil
	})
}
