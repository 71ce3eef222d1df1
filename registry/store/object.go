package store

import (
	"strconv"
	"strings"

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

// path is the key below the resource's prefix in etcd.
func (k Key) path() string {
	if k.Namespace == "" {
		return k.Name
	}
	return k.Namespace + "/" + k.Name
}

// parseKey is the inverse of path.
func parseKey(path string) Key {
	if namespace, name, ok := strings.Cut(path, "/"); ok {
		return Key{namespace, name}
	}
	return Key{Name: path}
}

// compare orders keys as etcd orders their paths, byte by byte: "a-b/x" comes before "a/x", since '-' is less than '/'.
func (k Key) compare(other Key) int {
	if k.Namespace == other.Namespace {
		return strings.Compare(k.Name, other.Name)
	}
	a, b := k.Namespace, other.Namespace
	n := min(len(a), len(b))
	if c := strings.Compare(a[:n], b[:n]); c != 0 || a == "" || b == "" {
		return c
	}
	// One namespace is a prefix of the other; the shorter goes on with the slash.
	if len(a) < len(b) {
		return int('/') - int(b[n])
	}
	return int(a[n]) - int('/')
}

// Revision is etcd's modification revision; as text it is the object's resourceVersion.
type Revision int64

// String is the resourceVersion that clients see.
func (r Revision) String() string { return strconv.FormatInt(int64(r), 10) }
