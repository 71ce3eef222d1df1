package registry

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The flow control objects of every cluster. The mandatory ones are as they are here; the suggested ones are a start,
// which an administrator may take over by changing the annotation flowcontrolv1.AutoUpdateAnnotationKey to "false".

// MandatoryFlowControl is what holds even where the objects are missing.
func MandatoryFlowControl() ([]*flowcontrolv1.PriorityLevelConfiguration, []*flowcontrolv1.FlowSchema) {
	return mandatoryPriorityLevels(), mandatoryFlowSchemas()
}

// mandatoryPriorityLevels are those of requests that wait for nobody, and of requests that no schema knows.
func mandatoryPriorityLevels() []*flowcontrolv1.PriorityLevelConfiguration {
	return []*flowcontrolv1.PriorityLevelConfiguration{
		newPriorityLevel(flowcontrolv1.PriorityLevelConfigurationNameExempt, flowcontrolv1.PriorityLevelConfigurationSpec{
			Type: flowcontrolv1.PriorityLevelEnablementExempt,
			Exempt: &flowcontrolv1.ExemptPriorityLevelConfiguration{
				NominalConcurrencyShares: new(int32(0)), LendablePercent: new(int32(0)),
			},
		}),
		newPriorityLevel(flowcontrolv1.PriorityLevelConfigurationNameCatchAll, flowcontrolv1.PriorityLevelConfigurationSpec{
			Type: flowcontrolv1.PriorityLevelEnablementLimited,
			Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
				NominalConcurrencyShares: new(int32(5)), LendablePercent: new(int32(0)),
				LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject},
			},
		}),
	}
}

// suggestedPriorityLevels share the rest: the cluster's own maintenance, node heartbeats, leader election, controllers
// whose failure stops the running pods from being cared for, other workloads, everybody else.
func suggestedPriorityLevels() []*flowcontrolv1.PriorityLevelConfiguration {
	var levels []*flowcontrolv1.PriorityLevelConfiguration
	for _, l := range []struct {
		name                           string
		shares, lendable, queues, hand int32
	}{
		{"system", 30, 33, 64, 6},
		{"node-high", 40, 25, 64, 6},
		{"leader-election", 10, 0, 16, 4},
		{"workload-high", 40, 50, 128, 6},
		{"workload-low", 100, 90, 128, 6},
		{"global-default", 20, 50, 128, 6},
	} {
		levels = append(levels, newPriorityLevel(l.name, flowcontrolv1.PriorityLevelConfigurationSpec{
			Type: flowcontrolv1.PriorityLevelEnablementLimited,
			Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
				NominalConcurrencyShares: new(l.shares), LendablePercent: new(l.lendable),
				LimitResponse: flowcontrolv1.LimitResponse{
					Type:    flowcontrolv1.LimitResponseTypeQueue,
					Queuing: &flowcontrolv1.QueuingConfiguration{Queues: l.queues, HandSize: l.hand, QueueLengthLimit: 50},
				},
			},
		}))
	}
	return levels
}

func newPriorityLevel(name string, spec flowcontrolv1.PriorityLevelConfigurationSpec) *flowcontrolv1.PriorityLevelConfiguration {
	return &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: autoUpdated(name), Spec: spec}
}

func autoUpdated(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Annotations: map[string]string{flowcontrolv1.AutoUpdateAnnotationKey: "true"}}
}

// mandatoryFlowSchemas lead to the mandatory levels: administrators first, whoever is left last.
func mandatoryFlowSchemas() []*flowcontrolv1.FlowSchema {
	return []*flowcontrolv1.FlowSchema{
		newFlowSchema(flowcontrolv1.FlowSchemaNameExempt, "exempt", 1, "", allRequests(groupSubjects("system:masters"))),
		newFlowSchema(flowcontrolv1.FlowSchemaNameCatchAll, "catch-all", 10000, flowcontrolv1.FlowDistinguisherMethodByUserType, allRequests(everybody())),
	}
}

// suggestedFlowSchemas lead to the suggested levels, in the order in which upstream makes them.
func suggestedFlowSchemas() []*flowcontrolv1.FlowSchema {
	const byUser, byNamespace = flowcontrolv1.FlowDistinguisherMethodByUserType, flowcontrolv1.FlowDistinguisherMethodByNamespaceType
	const controllers, scheduler = "system:kube-controller-manager", "system:kube-scheduler"
	nodes := groupSubjects("system:nodes")
	return []*flowcontrolv1.FlowSchema{
		newFlowSchema("system-nodes", "system", 500, byUser, allRequests(nodes)),
		newFlowSchema("system-node-high", "node-high", 400, byUser, flowcontrolv1.PolicyRulesWithSubjects{
			Subjects: nodes,
			ResourceRules: []flowcontrolv1.ResourcePolicyRule{
				flowResources([]string{"*"}, "", true, "nodes", "nodes/status"),
				flowResources([]string{"*"}, "coordination.k8s.io", false, "leases"),
			},
		}),
		newFlowSchema("probes", "exempt", 2, "", flowcontrolv1.PolicyRulesWithSubjects{
			Subjects: everybody(),
			NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{
				{Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz", "/readyz", "/livez"}},
			},
		}),
		newFlowSchema("system-leader-election", "leader-election", 100, byUser, flowcontrolv1.PolicyRulesWithSubjects{
			Subjects: append(userSubjects(controllers, scheduler), kubeSystemAccounts()),
			ResourceRules: []flowcontrolv1.ResourcePolicyRule{
				flowResources([]string{"get", "create", "update"}, "coordination.k8s.io", false, "leases"),
			},
		}),
		newFlowSchema("kube-controller-manager", "workload-high", 800, byNamespace, allRequests(userSubjects(controllers))),
		newFlowSchema("kube-scheduler", "workload-high", 800, byNamespace, allRequests(userSubjects(scheduler))),
		newFlowSchema("kube-system-service-accounts", "workload-high", 900, byNamespace, allRequests([]flowcontrolv1.Subject{kubeSystemAccounts()})),
		newFlowSchema("service-accounts", "workload-low", 9000, byUser, allRequests(groupSubjects("system:serviceaccounts"))),
		newFlowSchema("global-default", "global-default", 9900, byUser, allRequests(everybody())),
	}
}

func newFlowSchema(name, level string, precedence int32, by flowcontrolv1.FlowDistinguisherMethodType, rule flowcontrolv1.PolicyRulesWithSubjects) *flowcontrolv1.FlowSchema {
	s := &flowcontrolv1.FlowSchema{
		ObjectMeta: autoUpdated(name),
		Spec: flowcontrolv1.FlowSchemaSpec{
			PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: level},
			MatchingPrecedence:         precedence,
			Rules:                      []flowcontrolv1.PolicyRulesWithSubjects{rule},
		},
	}
	if by != "" {
		s.Spec.DistinguisherMethod = &flowcontrolv1.FlowDistinguisherMethod{Type: by}
	}
	return s
}

func allRequests(by []flowcontrolv1.Subject) flowcontrolv1.PolicyRulesWithSubjects {
	return flowcontrolv1.PolicyRulesWithSubjects{
		Subjects:         by,
		ResourceRules:    []flowcontrolv1.ResourcePolicyRule{flowResources([]string{"*"}, "*", true, "*")},
		NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}},
	}
}

// flowResources is a rule for resources in all namespaces, and for those outside of them if cluster is true.
func flowResources(verbs []string, group string, cluster bool, resources ...string) flowcontrolv1.ResourcePolicyRule {
	return flowcontrolv1.ResourcePolicyRule{
		Verbs: verbs, APIGroups: []string{group}, Resources: resources,
		Namespaces: []string{flowcontrolv1.NamespaceEvery}, ClusterScope: cluster,
	}
}

func everybody() []flowcontrolv1.Subject {
	return groupSubjects("system:unauthenticated", "system:authenticated")
}

func groupSubjects(names ...string) []flowcontrolv1.Subject {
	var subjects []flowcontrolv1.Subject
	for _, name := range names {
		subjects = append(subjects, flowcontrolv1.Subject{
			Kind: flowcontrolv1.SubjectKindGroup, Group: &flowcontrolv1.GroupSubject{Name: name}})
	}
	return subjects
}

func userSubjects(names ...string) []flowcontrolv1.Subject {
	var subjects []flowcontrolv1.Subject
	for _, name := range names {
		subjects = append(subjects, flowcontrolv1.Subject{
			Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: name}})
	}
	return subjects
}

func kubeSystemAccounts() flowcontrolv1.Subject {
	return flowcontrolv1.Subject{
		Kind:           flowcontrolv1.SubjectKindServiceAccount,
		ServiceAccount: &flowcontrolv1.ServiceAccountSubject{Name: flowcontrolv1.NameAll, Namespace: metav1.NamespaceSystem},
	}
}
