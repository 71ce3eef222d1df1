package controllers

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/rand"
)

// The pod templates that a StatefulSet or a DaemonSet has had are kept as ControllerRevisions: each a patch that puts the
// template back. Pods are labelled with the revision that they were made from. The names follow from the contents, so that
// no template is kept twice.

// revisionData is the patch that puts a template back.
func revisionData(template *corev1.PodTemplateSpec) ([]byte, error) {
	text, err := json.Marshal(template)
	if err != nil {
		return nil, err
	}
	var raw map[string]any
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, err
	}
	raw["$patch"] = "replace"
	return json.Marshal(map[string]any{"spec": map[string]any{"template": raw}})
}

// revisionTemplate is the template that a revision keeps.
func revisionTemplate(r *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	var kept struct {
		Spec struct{ Template corev1.PodTemplateSpec }
	}
	if err := json.Unmarshal(r.Data.Raw, &kept); err != nil {
		return nil, fmt.Errorf("revision %s: %w", r.Name, err)
	}
	return &kept.Spec.Template, nil
}

// keepsTemplate reports that a revision keeps a template, though it may have been written in another way.
func keepsTemplate(r *appsv1.ControllerRevision, data []byte) bool {
	if bytes.Equal(r.Data.Raw, data) {
		return true
	}
	template, err := revisionTemplate(r)
	if err != nil {
		return false
	}
	again, err := revisionData(template)
	return err == nil && bytes.Equal(again, data)
}

// revisionHash tells contents apart, and with collisions contents that happen to have the same one.
func revisionHash(data []byte, collisions int32) string {
	h := fnv.New32()
	h.Write(data)
	fmt.Fprint(h, collisions)
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}

const revisionHashLabel = "controller.kubernetes.io/hash"

// makeRevision is the revision of a template under a number.
func makeRevision(owner metav1.Object, reference metav1.OwnerReference, labels map[string]string, data []byte, number int64, collisions int32) *appsv1.ControllerRevision {
	hash := revisionHash(data, collisions)
	r := &appsv1.ControllerRevision{Data: runtime.RawExtension{Raw: data}, Revision: number,
		ObjectMeta: metav1.ObjectMeta{Namespace: owner.GetNamespace(), Name: revisionName(owner, hash), Labels: maps.Clone(labels),
			Annotations: maps.Clone(owner.GetAnnotations()), OwnerReferences: []metav1.OwnerReference{reference}}}
	setEntry(&r.Labels, revisionHashLabel, hash)
	return r
}

func revisionName(owner metav1.Object, hash string) string {
	name := owner.GetName()
	return name[:min(len(name), 223)] + "-" + hash
}

// sortRevisions puts the latest last.
func sortRevisions(all []*appsv1.ControllerRevision) {
	slices.SortStableFunc(all, func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
}

// createRevision creates a revision, under another name if its own is taken by other contents. It returns how many names
// were.
func createRevision(ctx context.Context, t *Turn, owner metav1.Object, r *appsv1.ControllerRevision, collisions int32) (*appsv1.ControllerRevision, int32, error) {
	client := t.Client.AppsV1().ControllerRevisions(t.Namespace)
	for {
		made, err := Create(ctx, t, client, r)
		if !apierrors.IsAlreadyExists(err) {
			return made, collisions, err
		}
		there, err := client.Get(ctx, r.Name, metav1.GetOptions{})
		if err != nil {
			return nil, collisions, err
		}
		if bytes.Equal(there.Data.Raw, r.Data.Raw) {
			return there, collisions, nil
		}
		collisions++
		r = r.DeepCopy()
		r.Name = revisionName(owner, revisionHash(r.Data.Raw, collisions))
	}
}

// outdated are the oldest of the revisions that nobody uses, as far as there are more than are to be kept. all is sorted.
func outdated(all []*appsv1.ControllerRevision, used map[string]bool, keep int32) []*appsv1.ControllerRevision {
	var idle []*appsv1.ControllerRevision
	for _, r := range all {
		if !used[r.Name] {
			idle = append(idle, r)
		}
	}
	if keep < 0 {
		return nil
	}
	return idle[:max(0, len(idle)-int(keep))]
}
