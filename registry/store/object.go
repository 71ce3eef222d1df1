package store

import (
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Object is an API object: a Go type of k8s.io/api, or an unstructured custom resource.
type Object interface {
	runtime.Object
	metav1.Object
}

// Key names an object within its resource. Namespace is empty for cluster-scoped resources.
type Key struct{ Namespace, Name string }

// Revision is etcd's modification revision; as text it is the object's resourceVersion.
type Revision int64

// String is the resourceVersion that clients see.
func (r Revision) String() string { return strconv.FormatInt(int64(r), 10) }
