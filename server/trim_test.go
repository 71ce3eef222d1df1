package server

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAReferenceToAnotherObjectIsAValueLikeOthers(t *testing.T) {
	event := func(revision string, of corev1.ObjectReference) reflect.Value {
		e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e", UID: "u", ResourceVersion: revision}, InvolvedObject: of}
		return reflect.ValueOf(e).Elem()
	}
	for name, c := range map[string]struct {
		was, is corev1.ObjectReference
		same    bool
	}{
		"the same":            {corev1.ObjectReference{UID: "1", ResourceVersion: "1"}, corev1.ObjectReference{UID: "1", ResourceVersion: "1"}, true},
		"another object":      {corev1.ObjectReference{UID: "1"}, corev1.ObjectReference{UID: "2"}, false},
		"at another revision": {corev1.ObjectReference{ResourceVersion: "1"}, corev1.ObjectReference{ResourceVersion: "2"}, false},
	} {
		var x trimmer
		if same := x.trim(event("1", c.was), event("2", c.is)); same != c.same {
			t.Errorf("%s: same %t, want %t", name, same, c.same)
		}
	}
}
