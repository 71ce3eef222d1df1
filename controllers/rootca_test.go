package controllers

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRootCAMapIsPutRight(t *testing.T) {
	as := func(description string, data map[string]string) *corev1.ConfigMap {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: rootCAName}, Data: data}
		if description != "" {
			m.Annotations = map[string]string{descriptionAnnotation: description}
		}
		return m
	}
	right := map[string]string{"ca.crt": "pem"}
	for name, c := range map[string]struct{ there, want *corev1.ConfigMap }{
		"one that is missing is made":         {nil, as(rootCADescription, right)},
		"a right one is left alone":           {as(rootCADescription, right), nil},
		"somebody's own description is kept":  {as("mine", right), nil},
		"a missing description is added":      {as("", right), as(rootCADescription, right)},
		"other data goes":                     {as("mine", map[string]string{"ca.crt": "pem", "x": "y"}), as(rootCADescription, right)},
		"a forged bundle is replaced at once": {as(rootCADescription, map[string]string{"ca.crt": "forged"}), as(rootCADescription, right)},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, rootCAMap("a", c.there, []byte("pem"))); diff != "" {
				t.Error(diff)
			}
		})
	}
}
