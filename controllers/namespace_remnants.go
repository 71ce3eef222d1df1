package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// finalizersTake is what finalizers are expected to take. The objects that they hold are looked for again after half of it.
const finalizersTake = 15 * time.Second

// remnants are what is left in a namespace after everything has been deleted, and what has gone wrong.
type remnants struct {
	namespace  string
	objects    map[schema.GroupVersionResource]int
	finalizers map[string]int // on how many objects
	wait       time.Duration  // until it is worth another look; zero if nothing is waited for

	discovery, parsing error
	deletions          []error
	problems           []error // all of these
}

func newRemnants(namespace string) *remnants {
	return &remnants{namespace: namespace, objects: map[schema.GroupVersionResource]int{}, finalizers: map[string]int{}}
}

// discover finds the resources that can be in a namespace. What can be found is worked on even if some cannot.
func (l *remnants) discover(client discovery.DiscoveryInterface) []namespaced {
	lists, err := client.ServerPreferredResources()
	if err != nil {
		l.discovery = err
		l.problems = append(l.problems, err)
	}
	lists = discovery.FilteredBy(discovery.ResourcePredicateFunc(func(_ string, r *metav1.APIResource) bool { return r.Namespaced }), lists)
	resources, err := namespacedResources(lists)
	if err != nil {
		l.parsing = err
		l.problems = append(l.problems, err)
	}
	return resources
}

// delete deletes all objects of a resource and notes what is left of them. What goes only after its grace is no
// problem, and neither is what finalizers hold.
func (l *remnants) delete(ctx context.Context, t *Turn, r namespaced, grace time.Duration) {
	items, err := l.deleteObjects(ctx, t, r)
	if err == nil && len(items) > 0 {
		err = l.note(r.GroupVersionResource, items, grace)
	}
	if err == nil {
		return
	}
	l.deletions = append(l.deletions, err)
	if r.GroupVersionResource == podResource() {
		err = fmt.Errorf("failed to delete pods for namespace: %s, err: %w", l.namespace, err)
	}
	l.problems = append(l.problems, err)
}

// deleteObjects returns what is there still.
func (l *remnants) deleteObjects(ctx context.Context, t *Turn, r namespaced) ([]metav1.PartialObjectMetadata, error) {
	if !r.lists && !r.deletesAll {
		return nil, nil
	}
	client := t.Metadata.Resource(r.GroupVersionResource).Namespace(l.namespace)
	list := func() ([]metav1.PartialObjectMetadata, error) {
		found, err := client.List(ctx, metav1.ListOptions{})
		if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) || err != nil && !r.lists {
			return nil, nil // not served any more, or never
		}
		if err != nil {
			return nil, err
		}
		return found.Items, nil
	}
	there, err := list()
	if err != nil || len(there) == 0 && r.lists {
		return nil, err
	}
	// Owners and what they own go alike: the collector of garbage has nothing to do here.
	background := metav1.DeletePropagationBackground
	options := metav1.DeleteOptions{PropagationPolicy: &background}
	if r.deletesAll {
		err = client.DeleteCollection(ctx, options, metav1.ListOptions{})
	}
	if !r.deletesAll || apierrors.IsMethodNotSupported(err) || apierrors.IsNotFound(err) {
		err = nil
		for i := range there {
			if gone := client.Delete(ctx, there[i].Name, options); gone != nil && !apierrors.IsNotFound(gone) && !apierrors.IsMethodNotSupported(gone) {
				return nil, gone
			}
		}
	}
	if err != nil {
		return nil, err
	}
	return list()
}

// note counts what is left.
func (l *remnants) note(r schema.GroupVersionResource, items []metav1.PartialObjectMetadata, grace time.Duration) error {
	l.objects[r] = len(items)
	held := false
	for i := range items {
		for _, f := range items[i].Finalizers {
			l.finalizers[f]++
			held = true
		}
	}
	switch {
	case grace > 0:
		l.wait = max(l.wait, grace/2+time.Second)
	case held:
		l.wait = max(l.wait, finalizersTake/2+time.Second)
	default:
		return fmt.Errorf("unexpected items still remain in namespace: %s for gvr: %v", l.namespace, r)
	}
	return nil
}

// namespaceVerdict is what a condition says when there is nothing to complain about, and otherwise.
type namespaceVerdict struct {
	of                    corev1.NamespaceConditionType
	fineReason, fine      string
	badReason, complaints string // empty for none
}

func (l *remnants) verdicts() []namespaceVerdict {
	return []namespaceVerdict{
		{corev1.NamespaceDeletionDiscoveryFailure, "ResourcesDiscovered", "All resources successfully discovered",
			"DiscoveryFailed", discoveryComplaint(l.discovery)},
		{corev1.NamespaceDeletionGVParsingFailure, "ParsedGroupVersions", "All legacy kube types successfully parsed",
			"GroupVersionParsingFailed", complaint(l.parsing)},
		{corev1.NamespaceDeletionContentFailure, "ContentDeleted", "All content successfully deleted, may be waiting on finalization",
			"ContentDeletionFailed", deletionComplaint(l.deletions)},
		{corev1.NamespaceContentRemaining, "ContentRemoved", "All content successfully removed",
			"SomeResourcesRemain", prefixed("Some resources are remaining: ", l.objectTexts())},
		{corev1.NamespaceFinalizersRemaining, "ContentHasNoFinalizers", "All content-preserving finalizers finished",
			"SomeFinalizersRemain", prefixed("Some content in the namespace has finalizers remaining: ", l.finalizerTexts())},
	}
}

func complaint(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func discoveryComplaint(err error) string {
	var groups *discovery.ErrGroupDiscoveryFailed
	if errors.As(err, &groups) {
		return fmt.Sprintf("Discovery failed for some groups, %d failing: %v", len(groups.Groups), err)
	}
	return complaint(err)
}

func deletionComplaint(failed []error) string {
	if len(failed) == 0 {
		return ""
	}
	var texts []string
	for _, err := range failed {
		texts = append(texts, err.Error())
	}
	slices.Sort(texts)
	return fmt.Sprintf("Failed to delete all resource types, %d remaining: %v", len(texts), strings.Join(texts, ", "))
}

func prefixed(prefix string, texts []string) string {
	if len(texts) == 0 {
		return ""
	}
	slices.Sort(texts)
	return prefix + strings.Join(texts, ", ")
}

func (l *remnants) objectTexts() (texts []string) {
	for r, n := range l.objects {
		texts = append(texts, fmt.Sprintf("%s.%s has %d resource instances", r.Resource, r.Group, n))
	}
	return texts
}

func (l *remnants) finalizerTexts() (texts []string) {
	for f, n := range maps.All(l.finalizers) {
		texts = append(texts, fmt.Sprintf("%s in %d resource instances", f, n))
	}
	return texts
}

// conditions tells in a namespace's status what is left, and whether that is news.
func (l *remnants) conditions(s *corev1.NamespaceStatus, now time.Time) (changed bool) {
	for _, v := range l.verdicts() {
		c := corev1.NamespaceCondition{Type: v.of, Status: corev1.ConditionFalse, LastTransitionTime: metav1.Time{Time: now}, Reason: v.fineReason, Message: v.fine}
		if v.complaints != "" {
			c.Status, c.Reason, c.Message = corev1.ConditionTrue, v.badReason, v.complaints
		}
		i := slices.IndexFunc(s.Conditions, func(o corev1.NamespaceCondition) bool { return o.Type == v.of })
		if i < 0 {
			s.Conditions = append(s.Conditions, c)
			changed = true
			continue
		}
		before := &s.Conditions[i]
		if before.Status == c.Status {
			c.LastTransitionTime = before.LastTransitionTime
		}
		if cmp.Or(cmp.Compare(before.Status, c.Status), cmp.Compare(before.Reason, c.Reason), cmp.Compare(before.Message, c.Message)) != 0 {
			*before, changed = c, true
		}
	}
	return changed
}
