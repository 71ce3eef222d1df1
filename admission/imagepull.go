package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// alwaysPullImages has every container's image pulled anew, so that the node asks the registry whether the pod may have
// it: an image that another pod brought onto the node is no way around that. An update without a new image is left alone.
func alwaysPullImages() Plugin {
	ofPod := func(pull func(*Attributes, *corev1.PodSpec) error) func(context.Context, *Attributes) error {
		return func(_ context.Context, a *Attributes) error {
			pod, ok := a.pod()
			if !ok || a.Operation == Update && !hasNewImage(&pod.Spec, &a.Old.(*corev1.Pod).Spec) {
				return nil
			}
			return pull(a, &pod.Spec)
		}
	}
	return Plugin{Operations: []Operation{Create, Update}, Mutate: ofPod(pullAlways), Validate: ofPod(mustPullAlways)}
}

// hasNewImage tells whether a container runs what none did before.
func hasNewImage(spec, old *corev1.PodSpec) bool {
	had := sets.New[string]()
	for _, c := range containersAt(old) {
		had.Insert(c.Image)
	}
	for _, c := range containersAt(spec) {
		if !had.Has(c.Image) {
			return true
		}
	}
	return false
}

func pullAlways(_ *Attributes, spec *corev1.PodSpec) error {
	for _, c := range containersAt(spec) {
		c.ImagePullPolicy = corev1.PullAlways
	}
	for i := range spec.Volumes {
		if image := spec.Volumes[i].Image; image != nil {
			image.PullPolicy = corev1.PullAlways
		}
	}
	return nil
}

// mustPullAlways looks again at what came of the policies, which plugins behind this one can still change.
func mustPullAlways(a *Attributes, spec *corev1.PodSpec) error {
	var errs []error
	check := func(at *field.Path, policy corev1.PullPolicy) {
		if policy != corev1.PullAlways {
			errs = append(errs, a.forbid("%w", field.NotSupported(at, policy, []corev1.PullPolicy{corev1.PullAlways})))
		}
	}
	for at, c := range containersAt(spec) {
		check(at.Child("imagePullPolicy"), c.ImagePullPolicy)
	}
	for i := range spec.Volumes {
		if image := spec.Volumes[i].Image; image != nil {
			check(field.NewPath("spec", "volumes").Index(i).Child("image", "pullPolicy"), image.PullPolicy)
		}
	}
	return utilerrors.NewAggregate(errs)
}
