package registry

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// priorityLevelConfiguration is a share of the server's capacity for the requests that flow schemas send there.
func priorityLevelConfiguration() *Resource {
	queuing := func(name string) string { return doc(flowcontrolv1.QueuingConfiguration{}, name) }
	return Kind[*flowcontrolv1.PriorityLevelConfiguration]{
		Resource: Resource{
			Group: flowcontrolv1.GroupName, Plural: "prioritylevelconfigurations", Singular: "prioritylevelconfiguration",
			Kind: "PriorityLevelConfiguration", Prefix: "prioritylevelconfigurations", Governs: true, Versions: []Version{{Name: "v1"}},
			Reset: []string{"status"}, ValidateName: apivalidation.NameIsDNSSubdomain, UpdateMeta: CreateRules,
			Written: followFlowControl,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("Type", doc(flowcontrolv1.PriorityLevelConfigurationSpec{}, "type")),
				textColumn("NominalConcurrencyShares", doc(flowcontrolv1.LimitedPriorityLevelConfiguration{}, "nominalConcurrencyShares")),
				textColumn("Queues", queuing("queues")),
				textColumn("HandSize", queuing("handSize")),
				textColumn("QueueLengthLimit", queuing("queueLengthLimit")),
				ageColumn(),
			},
		},
		Default: defaultPriorityLevel,
		Prepare: func(_ *Write, l, old *flowcontrolv1.PriorityLevelConfiguration) {
			if old == nil {
				l.Status, l.Generation = flowcontrolv1.PriorityLevelConfigurationStatus{}, 1
				return
			}
			l.Status = old.Status
			bumpGeneration(l, old, !equal(l.Spec, old.Spec))
		},
		Validate: validatePriorityLevel,
		Status: &Door[*flowcontrolv1.PriorityLevelConfiguration]{
			Reset: []string{"metadata", "spec"}, UpdateMeta: NoRules,
			Prepare: func(_ *Write, l, old *flowcontrolv1.PriorityLevelConfiguration) {
				l.ObjectMeta = keepMeta(l.ObjectMeta, old.ObjectMeta)
				l.Spec = old.Spec
			},
			Validate: validatePriorityLevelStatus,
		},
		Cells: priorityLevelCells,
	}.row()
}

func defaultPriorityLevel(l *flowcontrolv1.PriorityLevelConfiguration) {
	if limited := l.Spec.Limited; limited != nil {
		fillPointer(&limited.NominalConcurrencyShares, 30)
		fillPointer(&limited.LendablePercent, 0)
		if q := limited.LimitResponse.Queuing; q != nil {
			fill(&q.HandSize, 8)
			fill(&q.Queues, 64)
			fill(&q.QueueLengthLimit, 50)
		}
	}
	if exempt := l.Spec.Exempt; exempt != nil {
		fillPointer(&exempt.NominalConcurrencyShares, 0)
		fillPointer(&exempt.LendablePercent, 0)
	}
}

func priorityLevelCells(l *flowcontrolv1.PriorityLevelConfiguration) []any {
	shares, queues, hand, length := any("<none>"), any("<none>"), any("<none>"), any("<none>")
	if limited := l.Spec.Limited; limited != nil {
		if s := limited.NominalConcurrencyShares; s != nil {
			shares = int64(*s)
		}
		if q := limited.LimitResponse.Queuing; q != nil {
			queues, hand, length = int64(q.Queues), int64(q.HandSize), int64(q.QueueLengthLimit)
		}
	}
	return []any{l.Name, string(l.Spec.Type), shares, queues, hand, length, Age{At: l.CreationTimestamp}}
}
