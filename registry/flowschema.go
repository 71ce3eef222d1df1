package registry

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// flowSchema says which requests go to which priority level.
func flowSchema() *Resource {
	return Kind[*flowcontrolv1.FlowSchema]{
		Resource: Resource{
			Group: flowcontrolv1.GroupName, Plural: "flowschemas", Singular: "flowschema", Kind: "FlowSchema",
			Prefix: "flowschemas", Governs: true, Versions: []Version{{Name: "v1"}}, Reset: []string{"status"},
			ValidateName: apivalidation.NameIsDNSSubdomain, UpdateMeta: CreateRules,
			Written: followFlowControl,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("PriorityLevel", doc(flowcontrolv1.PriorityLevelConfigurationReference{}, "name")),
				textColumn("MatchingPrecedence", doc(flowcontrolv1.FlowSchemaSpec{}, "matchingPrecedence")),
				textColumn("DistinguisherMethod", doc(flowcontrolv1.FlowSchemaSpec{}, "distinguisherMethod")),
				ageColumn(),
				textColumn("MissingPL", "references a broken or non-existent PriorityLevelConfiguration"),
			},
		},
		Default: func(s *flowcontrolv1.FlowSchema) { fill(&s.Spec.MatchingPrecedence, 1000) },
		Prepare: func(_ *Write, s, old *flowcontrolv1.FlowSchema) {
			if old == nil {
				s.Status, s.Generation = flowcontrolv1.FlowSchemaStatus{}, 1
				return
			}
			s.Status = old.Status
			bumpGeneration(s, old, !equal(s.Spec, old.Spec))
		},
		Validate: validateFlowSchema,
		Status: &Door[*flowcontrolv1.FlowSchema]{
			Reset: []string{"metadata", "spec"}, UpdateMeta: NoRules,
			Prepare: func(_ *Write, s, old *flowcontrolv1.FlowSchema) {
				s.ObjectMeta = keepMeta(s.ObjectMeta, old.ObjectMeta)
				s.Spec = old.Spec
			},
			Validate: validateFlowSchemaStatus,
		},
		Cells: flowSchemaCells,
	}.row()
}

// keepMeta is the old metadata with the new field managers, where a status door leaves all else alone.
func keepMeta(meta, old metav1.ObjectMeta) metav1.ObjectMeta {
	old.ManagedFields = meta.ManagedFields
	return old
}

func flowSchemaCells(s *flowcontrolv1.FlowSchema) []any {
	method, missing := "<none>", "?"
	if m := s.Spec.DistinguisherMethod; m != nil {
		method = string(m.Type)
	}
	for _, c := range s.Status.Conditions {
		if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
			missing = string(c.Status)
			break
		}
	}
	return []any{s.Name, s.Spec.PriorityLevelConfiguration.Name, int64(s.Spec.MatchingPrecedence), method,
		Age{At: s.CreationTimestamp}, missing}
}
