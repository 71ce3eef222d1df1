package registry

import corev1 "k8s.io/api/core/v1"

// fill gives an unset field its default.
func fill[T comparable](field *T, value T) {
	var unset T
	if *field == unset {
		*field = value
	}
}

// fillPointer gives an absent optional field its default.
func fillPointer[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

// defaultResourceList rounds quantities up to thousandths, the finest that the API keeps. A list that is so already is not
// written to: what a patch does not touch belongs to the stored object, which others read meanwhile.
func defaultResourceList(list corev1.ResourceList) {
	for name, quantity := range list {
		if exact := quantity.RoundUp(-3); !exact {
			list[name] = quantity
		}
	}
}
