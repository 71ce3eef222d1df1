package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/apps/poddisruptionbudget"

	"github.com/knarr-dev/knarr/registry/store"
)

// podEviction deletes a pod if its disruption budget allows.
func podEviction() Subresource {
	return Subresource{
		Name: "eviction", Verbs: []string{"create"}, Kind: policyv1.SchemeGroupVersion.WithKind("Eviction"),
		AlsoKinds: []schema.GroupVersionKind{policyv1beta1.SchemeGroupVersion.WithKind("Eviction")},
		New:       func() Object { return &policyv1.Eviction{} },
		Create: func(ctx context.Context, w *Write, name string, body Object) (runtime.Object, error) {
			e := eviction{w: w, key: store.Key{Namespace: w.Namespace, Name: name}}
			if older, ok := body.(*policyv1beta1.Eviction); ok {
				body = (*policyv1.Eviction)(older)
			}
			return nil, e.run(ctx, body.(*policyv1.Eviction))
		},
	}
}

// eviction is one request to evict a pod.
//
// A pod that disrupts nobody any more (it is finished, going, or has not begun) is deleted, whatever budgets say. For any
// other the one budget that selects it is asked: it counts the disruption first, in its status, and the pod is deleted
// then, so that two evictions can never share one allowed disruption. Where the budget lets a pod go because it is not
// ready, the delete is bound to the revision of the pod that was looked at.
type eviction struct {
	w   *Write
	key store.Key
}

// conflictTries is how often an eviction starts over when somebody else writes the pod; conflictPause is between them.
const (
	conflictTries = 20
	conflictPause = 500 * time.Millisecond
)

func (e eviction) run(ctx context.Context, body *policyv1.Eviction) error {
	options, err := e.options(body)
	if err != nil {
		return err
	}
	pod, deleted, err := e.deleteUnguarded(ctx, options)
	if err != nil || deleted {
		return err
	}
	budgets, err := e.budgets(ctx, pod)
	if err != nil {
		return err
	}
	switch len(budgets) {
	case 0:
		return e.delete(ctx, options)
	case 1:
		return e.deleteGuarded(ctx, pod, budgets[0], options)
	}
	return errors.New("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.")
}

// options are the delete's. Both the request and the body may ask for a dry run.
func (e eviction) options(body *policyv1.Eviction) (*metav1.DeleteOptions, error) {
	if e.key.Name != body.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	options := body.DeleteOptions
	if options == nil {
		options = &metav1.DeleteOptions{}
	}
	if ignore := options.IgnoreStoreReadErrorWithClusterBreakingPotential; ignore != nil && *ignore {
		return nil, apierrors.NewInvalid(policyv1.SchemeGroupVersion.WithKind("Eviction").GroupKind(), e.key.Name, field.ErrorList{
			field.Invalid(field.NewPath("deleteOptions", "ignoreStoreReadErrorWithClusterBreakingPotential"), true,
				"can not be set for pod eviction, try after removing the option"),
		})
	}
	all := []string{metav1.DryRunAll}
	if e.w.DryRun && len(options.DryRun) > 0 && !slices.Equal(options.DryRun, all) {
		return nil, fmt.Errorf("Non-matching dry-run options in request and content: %v and %v", all, options.DryRun)
	}
	if e.w.DryRun {
		options.DryRun = all
	}
	return options, nil
}

// deleteUnguarded deletes the pod if no budget needs to be asked, and returns it otherwise. A pod that has not begun may
// become ready meanwhile: its delete is bound to its revision, and starts over.
func (e eviction) deleteUnguarded(ctx context.Context, options *metav1.DeleteOptions) (pod *corev1.Pod, deleted bool, err error) {
	for try := 1; ; try++ {
		if pod, err = e.pod(ctx); err != nil {
			return nil, false, err
		}
		going := isPodFinished(pod) || pod.DeletionTimestamp != nil
		if !going && pod.Status.Phase != corev1.PodPending {
			return pod, false, nil
		}
		bound := options
		if !going && !namesRevision(options) {
			bound = atRevision(options, pod.ResourceVersion)
		}
		err = e.delete(ctx, bound)
		if err == nil || !apierrors.IsConflict(err) || namesRevision(options) || try == conflictTries {
			return pod, err == nil, err
		}
		if err := pause(ctx, conflictPause); err != nil {
			return nil, false, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e eviction) pod(ctx context.Context) (*corev1.Pod, error) {
	entry, err := e.w.Registry.Store("", "pods").Get(ctx, e.key, "")
	if err != nil {
		return nil, err
	}
	obj, err := entry.Object()
	if err != nil {
		return nil, err
	}
	return obj.(*corev1.Pod), nil
}

// deleteGuarded deletes a pod that a budget guards, if the budget allows.
func (e eviction) deleteGuarded(ctx context.Context, pod *corev1.Pod, budget *policyv1.PodDisruptionBudget, options *metav1.DeleteOptions) error {
	if isPodReady(pod) || !allowsUnready(budget) {
		if err := e.count(ctx, budget, len(options.DryRun) > 0); err != nil {
			return err
		}
		return e.delete(ctx, options)
	}
	err := e.delete(ctx, atRevision(options, pod.ResourceVersion))
	if apierrors.IsConflict(err) && !namesRevision(options) {
		return tooManyEvictions(budget.Name) // it may be ready now: ask again
	}
	return err
}

// allowsUnready reports that pods that are not ready may go without being counted: they keep nothing running.
func allowsUnready(b *policyv1.PodDisruptionBudget) bool {
	if p := b.Spec.UnhealthyPodEvictionPolicy; p != nil && *p == policyv1.AlwaysAllow {
		return true
	}
	return b.Status.CurrentHealthy >= b.Status.DesiredHealthy && b.Status.DesiredHealthy > 0
}

// budgets are those that select the pod. A budget with a selector that cannot be read selects nothing.
func (e eviction) budgets(ctx context.Context, pod *corev1.Pod) ([]*policyv1.PodDisruptionBudget, error) {
	list, err := e.w.Registry.Store("policy", "poddisruptionbudgets").List(ctx, store.ListOptions{Selection: store.Selection{Namespace: e.key.Namespace}})
	if err != nil {
		return nil, err
	}
	var budgets []*policyv1.PodDisruptionBudget
	for _, block := range list.Blocks {
		for _, entry := range block.Entries {
			obj, err := entry.Object()
			if err != nil {
				return nil, err
			}
			b := obj.(*policyv1.PodDisruptionBudget)
			if selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil && selector.Matches(labels.Set(pod.Labels)) {
				budgets = append(budgets, b)
			}
		}
	}
	return budgets, nil
}

// count takes one from the disruptions that the budget allows.
func (e eviction) count(ctx context.Context, budget *policyv1.PodDisruptionBudget, dryRun bool) error {
	if dryRun {
		return refuseDisruption(budget)
	}
	row := e.w.Registry.Resource("policy", "poddisruptionbudgets")
	key := store.Key{Namespace: budget.Namespace, Name: budget.Name}
	_, err := e.w.Registry.Update(ctx, row, "status", key, func(obj Object) error {
		b := obj.(*policyv1.PodDisruptionBudget)
		if err := refuseDisruption(b); err != nil {
			return err
		}
		b.Status.DisruptionsAllowed--
		if b.Status.DisruptionsAllowed == 0 {
			poddisruptionbudget.UpdateDisruptionAllowedCondition(b)
		}
		// The controller counts the pod as gone until it sees that it is, or too much time has passed.
		if b.Status.DisruptedPods == nil {
			b.Status.DisruptedPods = map[string]metav1.Time{}
		}
		b.Status.DisruptedPods[e.key.Name] = second(e.w.Now)
		return nil
	})
	return err
}

// maxDisruptedPods is how many evictions may wait for the controller to see them.
const maxDisruptedPods = 2000

// refuseDisruption says why a budget allows no disruption now; nil if it does.
func refuseDisruption(b *policyv1.PodDisruptionBudget) error {
	resource := schema.GroupResource{Group: policyv1.GroupName, Resource: "poddisruptionbudget"}
	switch {
	case b.Status.ObservedGeneration < b.Generation:
		return tooManyEvictions(b.Name)
	case b.Status.DisruptionsAllowed < 0:
		return apierrors.NewForbidden(resource, b.Name, fmt.Errorf("pdb disruptions allowed is negative"))
	case len(b.Status.DisruptedPods) > maxDisruptedPods:
		return apierrors.NewForbidden(resource, b.Name, fmt.Errorf("DisruptedPods map too big - too many evictions not confirmed by PDB controller"))
	case b.Status.DisruptionsAllowed == 0:
		return evictionRefused(0, exhausted(b))
	}
	return nil
}

// exhausted says why no disruptions are allowed. The numbers mean nothing when the controller could not compute them.
func exhausted(b *policyv1.PodDisruptionBudget) string {
	c := meta.FindStatusCondition(b.Status.Conditions, policyv1.DisruptionAllowedCondition)
	refused := c != nil && c.Status == metav1.ConditionFalse && c.Message != ""
	switch {
	case refused && c.Reason == policyv1.SyncFailedReason:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently because it failed sync: %s", b.Name, c.Message)
	case b.Status.CurrentHealthy <= b.Status.DesiredHealthy:
		return fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, b.Status.DesiredHealthy, b.Status.CurrentHealthy)
	case refused:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently (%s): %s", b.Name, c.Reason, c.Message)
	}
	return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", b.Name)
}

// tooManyEvictions: the budget's numbers are not those of now.
func tooManyEvictions(budget string) error {
	return evictionRefused(10, fmt.Sprintf("The disruption budget %s is still being processed by the server.", budget))
}

func evictionRefused(retryAfterSeconds int, cause string) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", retryAfterSeconds)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: cause})
	return err
}

// delete notes in the pod's status what happens to it, and deletes it.
func (e eviction) delete(ctx context.Context, options *metav1.DeleteOptions) error {
	if len(options.DryRun) == 0 {
		revision, err := e.note(ctx, options.Preconditions)
		if err != nil {
			return err
		}
		if namesRevision(options) {
			options = atRevision(options, revision)
		}
	}
	return e.w.Delete(ctx, e.w.Registry.Resource("", "pods"), e.key, options)
}

// note sets the condition that tells an evicted pod from one that failed, and returns the pod's new revision.
func (e eviction) note(ctx context.Context, pre *metav1.Preconditions) (string, error) {
	entry, err := e.w.Registry.Store("", "pods").Update(ctx, e.key, func(current *store.Entry) (store.Outcome, error) {
		if current == nil {
			return store.Outcome{}, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, e.key.Name)
		}
		obj, err := current.Object()
		if err != nil {
			return store.Outcome{}, err
		}
		if err := checkEvictionPreconditions(pre, obj); err != nil {
			return store.Outcome{}, err
		}
		pod := obj.(*corev1.Pod).DeepCopy()
		setPodCondition(&pod.Status, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
		}, second(e.w.Now))
		if equal(pod, obj) {
			return store.Outcome{}, nil
		}
		return store.Outcome{Put: pod}, nil
	})
	if err != nil {
		return "", err
	}
	return entry.Revision.String(), nil
}

func checkEvictionPreconditions(pre *metav1.Preconditions, p Object) error {
	resource := schema.GroupResource{Resource: "Pod"}
	switch {
	case pre == nil:
	case pre.UID != nil && *pre.UID != "" && *pre.UID != p.GetUID():
		return apierrors.NewConflict(resource, p.GetName(), fmt.Errorf(
			"the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", *pre.UID, p.GetUID()))
	case pre.ResourceVersion != nil && *pre.ResourceVersion != "" && *pre.ResourceVersion != p.GetResourceVersion():
		return apierrors.NewConflict(resource, p.GetName(), fmt.Errorf(
			"the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", *pre.ResourceVersion, p.GetResourceVersion()))
	}
	return nil
}

// namesRevision reports that a delete is bound to a revision of the pod.
func namesRevision(o *metav1.DeleteOptions) bool {
	return o.Preconditions != nil && o.Preconditions.ResourceVersion != nil
}

// atRevision is the options bound to a revision of the pod.
func atRevision(o *metav1.DeleteOptions, revision string) *metav1.DeleteOptions {
	o = o.DeepCopy()
	if o.Preconditions == nil {
		o.Preconditions = &metav1.Preconditions{}
	}
	o.Preconditions.ResourceVersion = &revision
	return o
}
