package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	resourcehelper "k8s.io/component-helpers/resource"
)

// limitAnnotation tells which of a pod's requests and limits are a LimitRange's.
const limitAnnotation = "kubernetes.io/limit-ranger"

// limitRanger fills in the requests and limits that a namespace's LimitRanges name, and keeps containers, pods and
// claims within their bounds. A pod's resources change through its resize sub-resource alone, so other updates are
// let be.
func limitRanger(objects Objects) Plugin {
	each := func(ctx context.Context, a *Attributes, limit func(*corev1.LimitRange) error) error {
		if !isLimited(a) || a.Old != nil && a.Old.GetDeletionTimestamp() != nil {
			return nil
		}
		ranges, err := objects.List(ctx, "", "limitranges", a.Namespace)
		if err != nil {
			return err
		}
		for _, found := range ranges {
			if err := limit(found.(*corev1.LimitRange)); err != nil {
				return a.forbid("%w", err)
			}
		}
		return nil
	}
	return Plugin{
		Operations: []Operation{Create, Update},
		Mutate: func(ctx context.Context, a *Attributes) error {
			return each(ctx, a, func(r *corev1.LimitRange) error {
				if pod, ok := a.Object.(*corev1.Pod); ok {
					fillResources(pod, r)
				}
				return nil
			})
		},
		Validate: func(ctx context.Context, a *Attributes) error {
			return each(ctx, a, func(r *corev1.LimitRange) error {
				switch o := a.Object.(type) {
				case *corev1.Pod:
					return podWithin(o, r)
				case *corev1.PersistentVolumeClaim:
					return claimWithin(o, r)
				}
				return nil
			})
		},
	}
}

// isLimited is about the writes that LimitRanges have a say in.
func isLimited(a *Attributes) bool {
	switch {
	case a.Resource.Group != "":
		return false
	case a.Resource.Resource == "pods":
		return a.Operation == Create && a.Subresource == "" || a.Operation == Update && a.Subresource == "resize"
	}
	return a.Is("", "persistentvolumeclaims")
}

// fillResources gives every container what it does not say itself, and notes in an annotation what that was.
func fillResources(pod *corev1.Pod, r *corev1.LimitRange) {
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	for _, item := range r.Spec.Limits {
		if item.Type == corev1.LimitTypeContainer {
			maps.Copy(requests, item.DefaultRequest)
			maps.Copy(limits, item.Default)
		}
	}
	var notes []string
	fill := func(what string, containers []corev1.Container) {
		for i := range containers {
			c := &containers[i]
			if names := fillList(&c.Resources.Requests, requests); names != "" {
				notes = append(notes, fmt.Sprintf("%s request for %s %s", names, what, c.Name))
			}
			if names := fillList(&c.Resources.Limits, limits); names != "" {
				notes = append(notes, fmt.Sprintf("%s limit for %s %s", names, what, c.Name))
			}
		}
	}
	fill("container", pod.Spec.Containers)
	fill("init container", pod.Spec.InitContainers)
	if len(notes) == 0 {
		return
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[limitAnnotation] = "LimitRanger plugin set: " + strings.Join(notes, "; ")
}

// fillList adds what list lacks of defaults, and returns the names of it.
func fillList(list *corev1.ResourceList, defaults corev1.ResourceList) string {
	var names []string
	for _, name := range sortedNames(defaults) {
		if _, said := (*list)[name]; said {
			continue
		}
		if *list == nil {
			*list = corev1.ResourceList{}
		}
		(*list)[name] = defaults[name].DeepCopy()
		names = append(names, string(name))
	}
	return strings.Join(names, ", ")
}

func sortedNames(list corev1.ResourceList) []corev1.ResourceName {
	return slices.Sorted(maps.Keys(list))
}

// podWithin checks each container, and the pod as a whole.
func podWithin(pod *corev1.Pod, r *corev1.LimitRange) error {
	var errs []error
	for _, item := range r.Spec.Limits {
		switch item.Type {
		case corev1.LimitTypeContainer:
			for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
				for _, c := range containers {
					errs = append(errs, within(item, c.Resources.Requests, c.Resources.Limits)...)
				}
			}
		case corev1.LimitTypePod:
			requests, limits := podTotals(pod)
			errs = append(errs, within(item, requests, limits)...)
		}
	}
	return utilerrors.NewAggregate(errs)
}

// podTotals are what a pod's specification asks for in sum, without overhead. CPU and memory that the pod names itself
// count in place of its containers'.
func podTotals(pod *corev1.Pod) (requests, limits corev1.ResourceList) {
	o := resourcehelper.PodResourcesOptions{ExcludeOverhead: true, SkipPodLevelResources: true}
	requests, limits = resourcehelper.PodRequests(pod, o), resourcehelper.PodLimits(pod, o)
	if own := pod.Spec.Resources; own != nil {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			if q, said := own.Requests[name]; said {
				requests[name] = q
			}
			if q, said := own.Limits[name]; said {
				limits[name] = q
			}
		}
	}
	return requests, limits
}

// within checks requests and limits against one item of a LimitRange.
func within(item corev1.LimitRangeItem, requests, limits corev1.ResourceList) (errs []error) {
	for _, name := range sortedNames(item.Min) {
		errs = append(errs, atLeast(bound{item.Type, name, item.Min[name]}, requests, limits))
	}
	for _, name := range sortedNames(item.Max) {
		errs = append(errs, atMost(bound{item.Type, name, item.Max[name]}, requests, limits))
	}
	for _, name := range sortedNames(item.MaxLimitRequestRatio) {
		errs = append(errs, atMostTimes(bound{item.Type, name, item.MaxLimitRequestRatio[name]}, requests, limits))
	}
	return errs
}

// claimWithin checks what a claim requests; its limits have no meaning.
func claimWithin(claim *corev1.PersistentVolumeClaim, r *corev1.LimitRange) error {
	var errs []error
	for _, item := range r.Spec.Limits {
		if item.Type != corev1.LimitTypePersistentVolumeClaim {
			continue
		}
		for _, name := range sortedNames(item.Min) {
			errs = append(errs, atLeast(bound{item.Type, name, item.Min[name]}, claim.Spec.Resources.Requests, nil))
		}
		for _, name := range sortedNames(item.Max) {
			errs = append(errs, requestAtMost(bound{item.Type, name, item.Max[name]}, claim.Spec.Resources.Requests))
		}
	}
	return utilerrors.NewAggregate(errs)
}

// bound is one number of a LimitRange.
type bound struct {
	of    corev1.LimitType
	name  corev1.ResourceName
	value resource.Quantity
}

func (b bound) atLeastText() string {
	return fmt.Sprintf("minimum %s usage per %s is %s", b.name, b.of, b.value.String())
}

func (b bound) atMostText() string {
	return fmt.Sprintf("maximum %s usage per %s is %s", b.name, b.of, b.value.String())
}

func (b bound) ratioText() string {
	return fmt.Sprintf("%s max limit to request ratio per %s is %s", b.name, b.of, b.value.String())
}

func atLeast(b bound, requests, limits corev1.ResourceList) error {
	request, requested := requests[b.name]
	limit, limited := limits[b.name]
	ask, most, least := inOneUnit(request, limit, b.value)
	switch {
	case !requested:
		return fmt.Errorf("%s.  No request is specified", b.atLeastText())
	case ask < least:
		return fmt.Errorf("%s, but request is %s", b.atLeastText(), request.String())
	case limited && most < least:
		return fmt.Errorf("%s, but limit is %s", b.atLeastText(), limit.String())
	}
	return nil
}

func atMost(b bound, requests, limits corev1.ResourceList) error {
	request, requested := requests[b.name]
	limit, limited := limits[b.name]
	ask, most, highest := inOneUnit(request, limit, b.value)
	switch {
	case !limited:
		return fmt.Errorf("%s.  No limit is specified", b.atMostText())
	case most > highest:
		return fmt.Errorf("%s, but limit is %s", b.atMostText(), limit.String())
	case requested && ask > highest:
		return fmt.Errorf("%s, but request is %s", b.atMostText(), request.String())
	}
	return nil
}

// requestAtMost is atMost where limits have no meaning.
func requestAtMost(b bound, requests corev1.ResourceList) error {
	request, requested := requests[b.name]
	ask, _, highest := inOneUnit(request, resource.Quantity{}, b.value)
	switch {
	case !requested:
		return fmt.Errorf("%s.  No request is specified", b.atMostText())
	case ask > highest:
		return fmt.Errorf("%s, but request is %s", b.atMostText(), request.String())
	}
	return nil
}

func atMostTimes(b bound, requests, limits corev1.ResourceList) error {
	request, requested := requests[b.name]
	limit, limited := limits[b.name]
	ask, most, _ := inOneUnit(request, limit, b.value)
	switch {
	case !requested || ask == 0:
		return fmt.Errorf("%s, but no request is specified or request is 0", b.ratioText())
	case !limited || most == 0:
		return fmt.Errorf("%s, but no limit is specified or limit is 0", b.ratioText())
	}
	ratio := float64(most) / float64(ask)
	observed, highest := ratio, float64(b.value.Value())
	if b.value.Value() <= resource.MaxMilliValue {
		observed, highest = ratio*1000, float64(b.value.MilliValue())
	}
	if observed > highest {
		return fmt.Errorf("%s, but provided ratio is %f", b.ratioText(), ratio)
	}
	return nil
}

// inOneUnit makes quantities comparable: in thousandths, or in whole numbers if one is too large for that.
func inOneUnit(request, limit, bound resource.Quantity) (int64, int64, int64) {
	r, l, b := request.Value(), limit.Value(), bound.Value()
	if r <= resource.MaxMilliValue && l <= resource.MaxMilliValue && b <= resource.MaxMilliValue {
		return request.MilliValue(), limit.MilliValue(), bound.MilliValue()
	}
	return r, l, b
}
