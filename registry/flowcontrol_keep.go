package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/registry/store"
)

// Flow control's own objects are put back when somebody deletes or spoils them, and every flow schema says whether
// the priority level exists that it leads to.

// Those who write the objects, and those who write the conditions, are seen in managedFields.
const (
	flowControlProducer = "api-priority-and-fairness-config-producer-v1"
	flowControlConsumer = "api-priority-and-fairness-config-consumer-v1"
)

// PrepareFlowControl makes flow control's objects. Run it before the first request is served.
func (r *Registry) PrepareFlowControl(ctx context.Context) error {
	err := r.ensureFlowControl(ctx)
	// A schema whose condition cannot be written is no reason not to serve: KeepFlowControl tries again, and says so.
	_ = r.ensureDangling(ctx)
	return err
}

// KeepFlowControl looks after flow control's objects until ctx ends.
func (r *Registry) KeepFlowControl(ctx context.Context) {
	changed := make(chan struct{}, 1)
	var watches sync.WaitGroup
	for _, plural := range []string{"flowschemas", "prioritylevelconfigurations"} {
		watches.Go(func() { r.notifyChanges(ctx, flowcontrolv1.GroupName, plural, changed) })
	}
	defer watches.Wait()
	whole := time.NewTicker(time.Minute)
	defer whole.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-whole.C:
			err = errors.Join(r.ensureFlowControl(ctx), r.ensureDangling(ctx))
		case <-changed:
			err = r.ensureDangling(ctx)
		}
		if err != nil && ctx.Err() == nil {
			slog.Error("keep the objects of flow control", "err", err)
		}
	}
}

// followFlowControl brings the conditions up to date with a request's write, so that the next request sees them. What goes
// wrong here is tried again, and reported, by KeepFlowControl.
func followFlowControl(ctx context.Context, w *Write) { _ = w.Registry.ensureDangling(ctx) }

// notifyChanges tells of every change of a resource's objects until ctx ends. Changes that nobody has heard of yet are
// one; a watch that fails starts anew and is a change.
func (r *Registry) notifyChanges(ctx context.Context, group, plural string, changed chan<- struct{}) {
	for ctx.Err() == nil {
		w, err := r.Store(group, plural).Watch(ctx, store.WatchOptions{})
		for err == nil {
			select {
			case changed <- struct{}{}:
			default:
			}
			_, err = w.Next(ctx, nil)
		}
		if w != nil {
			w.Close()
		}
		_ = pause(ctx, time.Second)
	}
}

// ensureFlowControl creates what is missing, renews what an administrator has not taken over, and removes what former
// releases had.
func (r *Registry) ensureFlowControl(ctx context.Context) error {
	levels, schemas := r.Resource(flowcontrolv1.GroupName, "prioritylevelconfigurations"), r.Resource(flowcontrolv1.GroupName, "flowschemas")
	for _, part := range []struct {
		levels    []*flowcontrolv1.PriorityLevelConfiguration
		schemas   []*flowcontrolv1.FlowSchema
		mandatory bool
	}{
		{suggestedPriorityLevels(), suggestedFlowSchemas(), false},
		{mandatoryPriorityLevels(), mandatoryFlowSchemas(), true},
	} {
		for _, l := range part.levels {
			if err := r.ensureFlowControlObject(ctx, levels, l, part.mandatory, renewPriorityLevel); err != nil {
				return err
			}
		}
		for _, s := range part.schemas {
			if err := r.ensureFlowControlObject(ctx, schemas, s, part.mandatory, renewFlowSchema); err != nil {
				return err
			}
		}
	}
	wanted := map[*Resource][]string{}
	for _, s := range slices.Concat(mandatoryFlowSchemas(), suggestedFlowSchemas()) {
		wanted[schemas] = append(wanted[schemas], s.Name)
	}
	for _, l := range slices.Concat(mandatoryPriorityLevels(), suggestedPriorityLevels()) {
		wanted[levels] = append(wanted[levels], l.Name)
	}
	for _, row := range []*Resource{schemas, levels} {
		if err := r.removeFormerFlowControl(ctx, row, wanted[row]); err != nil {
			return err
		}
	}
	return nil
}

// ensureFlowControlObject creates or renews one object; renew brings the spec of an object to the wanted one.
func (r *Registry) ensureFlowControlObject(ctx context.Context, row *Resource, wanted Object, mandatory bool, renew func(obj, wanted Object)) error {
	key := objectKey(wanted)
	_, err := r.updateAs(ctx, flowControlProducer, row, "", key, func(obj Object) error {
		auto := mandatory || isAutoUpdated(obj)
		if auto {
			renew(obj, wanted)
		}
		setAutoUpdated(obj, auto)
		return nil
	})
	if apierrors.IsNotFound(err) {
		_, err = r.createAs(ctx, flowControlProducer, row, wanted)
	}
	if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("keep %s %s: %w", row.Singular, key.Name, err)
	}
	return nil
}

func renewFlowSchema(obj, wanted Object) {
	obj.(*flowcontrolv1.FlowSchema).Spec = wanted.(*flowcontrolv1.FlowSchema).Spec
}

// renewPriorityLevel leaves the exempt level's share as an administrator has set it.
func renewPriorityLevel(obj, wanted Object) {
	l, spec := obj.(*flowcontrolv1.PriorityLevelConfiguration), wanted.(*flowcontrolv1.PriorityLevelConfiguration).Spec
	if l.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt && l.Spec.Exempt != nil {
		spec.Exempt = l.Spec.Exempt
	}
	l.Spec = spec
}

// isAutoUpdated says whether the server may renew a suggested object: as its annotation says or, where that says
// nothing, if the spec is the first that the object had.
func isAutoUpdated(obj Object) bool {
	if auto, err := strconv.ParseBool(obj.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey]); err == nil {
		return auto
	}
	return obj.GetGeneration() == 1
}

// setAutoUpdated writes the annotation, unless it says so in other words.
func setAutoUpdated(obj Object, auto bool) {
	annotations := obj.GetAnnotations()
	if said, err := strconv.ParseBool(annotations[flowcontrolv1.AutoUpdateAnnotationKey]); err == nil && said == auto {
		return
	}
	annotations = maps.Clone(annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[flowcontrolv1.AutoUpdateAnnotationKey] = strconv.FormatBool(auto)
	obj.SetAnnotations(annotations)
}

// removeFormerFlowControl removes objects that were kept by the server and are not wanted any more.
func (r *Registry) removeFormerFlowControl(ctx context.Context, row *Resource, wanted []string) error {
	var former []store.Key
	err := r.each(ctx, row.Group, row.Plural, "", func(obj Object) {
		auto, err := strconv.ParseBool(obj.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey])
		if err == nil && auto && !slices.Contains(wanted, obj.GetName()) {
			former = append(former, objectKey(obj))
		}
	})
	for _, key := range former {
		if err == nil {
			err = r.Delete(ctx, row, key, nil)
		}
		if apierrors.IsNotFound(err) {
			err = nil
		}
	}
	return err
}

// ensureDangling writes each flow schema's condition where it is not what it should be.
func (r *Registry) ensureDangling(ctx context.Context) error {
	levels := map[string]bool{}
	if err := r.each(ctx, flowcontrolv1.GroupName, "prioritylevelconfigurations", "", func(obj Object) { levels[obj.GetName()] = true }); err != nil {
		return err
	}
	now := metav1.Now()
	stale := map[string]flowcontrolv1.FlowSchemaCondition{}
	err := r.each(ctx, flowcontrolv1.GroupName, "flowschemas", "", func(obj Object) {
		s := obj.(*flowcontrolv1.FlowSchema)
		wanted := danglingCondition(s, levels[s.Spec.PriorityLevelConfiguration.Name], now)
		if !hasFlowCondition(s, wanted) {
			stale[s.Name] = wanted
		}
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range sortedKeys(stale) {
		if err := r.applyFlowCondition(ctx, name, stale[name]); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("set the condition of flow schema %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// applyFlowCondition writes a condition, unless another has been faster.
func (r *Registry) applyFlowCondition(ctx context.Context, name string, c flowcontrolv1.FlowSchemaCondition) error {
	row, key := r.Resource(flowcontrolv1.GroupName, "flowschemas"), store.Key{Name: name}
	_, err := r.replace(ctx, row, "status", key, func(w *Write, old Object) (Object, error) {
		if hasFlowCondition(old.(*flowcontrolv1.FlowSchema), c) {
			return nil, nil
		}
		return r.Apply(w, old.DeepCopyObject().(Object), flowConditionConfig(name, c), flowControlConsumer)
	})
	return err
}

// danglingCondition says whether a schema leads to a level that exists.
func danglingCondition(s *flowcontrolv1.FlowSchema, exists bool, now metav1.Time) flowcontrolv1.FlowSchemaCondition {
	c := flowcontrolv1.FlowSchemaCondition{Type: flowcontrolv1.FlowSchemaConditionDangling, LastTransitionTime: now,
		Status: flowcontrolv1.ConditionFalse, Reason: "Found"}
	fact := "and it exists"
	if !exists {
		c.Status, c.Reason, fact = flowcontrolv1.ConditionTrue, "NotFound", "but there is no such object"
	}
	c.Message = fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q %s",
		s.Spec.PriorityLevelConfiguration.Name, fact)
	return c
}

func hasFlowCondition(s *flowcontrolv1.FlowSchema, wanted flowcontrolv1.FlowSchemaCondition) bool {
	return slices.ContainsFunc(s.Status.Conditions, func(c flowcontrolv1.FlowSchemaCondition) bool {
		return c.Type == wanted.Type && c.Status == wanted.Status && c.Reason == wanted.Reason && c.Message == wanted.Message
	})
}

// flowConditionConfig is the configuration that is applied: the condition and nothing else.
func flowConditionConfig(name string, c flowcontrolv1.FlowSchemaCondition) map[string]any {
	return map[string]any{
		"apiVersion": flowcontrolv1.SchemeGroupVersion.String(), "kind": "FlowSchema",
		"metadata": map[string]any{"name": name},
		"status": map[string]any{"conditions": []any{map[string]any{
			"type": string(c.Type), "status": string(c.Status), "reason": c.Reason, "message": c.Message,
			"lastTransitionTime": c.LastTransitionTime.UTC().Format(time.RFC3339),
		}}},
	}
}
