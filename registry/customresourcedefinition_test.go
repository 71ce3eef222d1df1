package registry

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// testdata/customresourcedefinition.json is what kube-apiserver 1.36.3 has in etcd for a definition with two versions.
func TestDefinitionIsStoredAsKubeAPIServerStoresIt(t *testing.T) {
	stored, err := os.ReadFile("testdata/customresourcedefinition.json")
	if err != nil {
		t.Fatal(err)
	}
	obj, err := readDefinition(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1beta1", Kind: "CustomResourceDefinition"}, stored)
	if err != nil {
		t.Fatal(err)
	}
	if v := obj.(*apiextensionsv1.CustomResourceDefinition).Spec.Versions; len(v) != 2 || v[0].AdditionalPrinterColumns[0].JSONPath != ".spec.sails" {
		t.Errorf("read as v1: %+v", v)
	}
	customResourceDefinition().Complete(obj)
	out := storedDefinition(obj)
	out.GetObjectKind().SetGroupVersionKind(customResourceDefinition().StoredKind())
	var again bytes.Buffer
	if err := json.NewEncoder(&again).Encode(out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(stored), again.String()); diff != "" {
		t.Error(diff)
	}
}

func TestDefinitionRemembersEveryStorageVersion(t *testing.T) {
	version := func(name string, storage bool) apiextensionsv1.CustomResourceDefinitionVersion {
		return apiextensionsv1.CustomResourceDefinitionVersion{Name: name, Storage: storage}
	}
	old := &apiextensionsv1.CustomResourceDefinition{}
	old.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{version("v1", true), version("v2", false)}
	prepareDefinition(nil, old, nil)
	next := old.DeepCopy()
	next.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{version("v1", false), version("v2", true)}
	next.Status = apiextensionsv1.CustomResourceDefinitionStatus{} // a client may not write it
	prepareDefinition(nil, next, old)
	if diff := cmp.Diff([]string{"v1", "v2"}, next.Status.StoredVersions); diff != "" {
		t.Error(diff)
	}
	if next.Generation != 2 {
		t.Errorf("generation %d, want 2", next.Generation)
	}
}

func TestDefinitionThatIsDeletedWaitsForItsObjectsAlone(t *testing.T) {
	c := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Finalizers: []string{"example.com/mine", metav1.FinalizerDeleteDependents}}}
	markDefinitionDeleting(c)
	markDefinitionDeleting(c)
	if diff := cmp.Diff([]string{"example.com/mine", apiextensionsv1.CustomResourceCleanupFinalizer}, c.Finalizers); diff != "" {
		t.Error(diff)
	}
	if len(c.Status.Conditions) != 1 || c.Status.Conditions[0].Reason != "InstanceDeletionPending" {
		t.Errorf("conditions %+v", c.Status.Conditions)
	}
}
