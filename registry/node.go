package registry

import (
	"cmp"
	"maps"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// node is a machine that runs pods. Its agent creates it, status and all.
func node() *Resource {
	return Kind[*corev1.Node]{
		Resource: Resource{
			Plural: "nodes", Singular: "node", Kind: "Node", ShortNames: []string{"no"},
			Prefix: "minions", Versions: []Version{{Name: "v1"}},
			ValidateName: apivalidation.NameIsDNSSubdomain,
			Reset:        []string{"status"},
			UpdateMeta:   UpdateAndCreateRules,
			Columns:      nodeColumns(),
			Subresources: []Subresource{nodeProxy()},
		},
		Default:   defaultNode,
		Normalize: normalizeNode,
		Prepare:   prepareNode,
		// Storage does not keep empty maps: an empty allocatable comes back absent, and is defaulted.
		Canonicalize: func(n *corev1.Node) {
			if len(n.Status.Allocatable) == 0 {
				n.Status.Allocatable = nil
			}
			if len(n.Status.Capacity) > 0 {
				defaultNode(n)
			}
		},
		Validate: validateNode,
		Warn:     nodeWarnings,
		Cells:    nodeCells,
		Fields: []Field[*corev1.Node]{
			{Path: "spec.unschedulable", Value: func(n *corev1.Node) string { return strconv.FormatBool(n.Spec.Unschedulable) }},
		},
		Status: &Door[*corev1.Node]{
			Reset: []string{"spec"},
			Prepare: func(_ *Write, n, old *corev1.Node) {
				n.Spec = old.Spec
				if old.Status.Config == nil {
					n.Status.Config = nil
				}
			},
			Validate: func(_ *Write, n, old *corev1.Node) field.ErrorList { return validateNodeChange(n, old) },
		},
	}.row()
}

func defaultNode(n *corev1.Node) {
	if n.Status.Allocatable == nil && n.Status.Capacity != nil {
		n.Status.Allocatable = maps.Clone(n.Status.Capacity)
	}
	defaultResourceList(n.Status.Capacity)
	defaultResourceList(n.Status.Allocatable)
}

// normalizeNode keeps podCIDR the first of podCIDRs. Where they differ the singular wins: clients of before dual stack
// know only that.
func normalizeNode(n *corev1.Node) {
	if one := n.Spec.PodCIDR; one != "" && (len(n.Spec.PodCIDRs) == 0 || n.Spec.PodCIDRs[0] != one) {
		n.Spec.PodCIDRs = []string{one}
	}
	if len(n.Spec.PodCIDRs) > 0 {
		n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
	}
}

// prepareNode drops the configuration source, a feature that is gone; nodes that still have one keep it.
func prepareNode(_ *Write, n, old *corev1.Node) {
	if old == nil {
		n.Spec.ConfigSource, n.Status.Config = nil, nil
		return
	}
	n.Status = old.Status
	if old.Spec.ConfigSource == nil {
		n.Spec.ConfigSource = nil
	}
}

func nodeWarnings(_ *Write, n, _ *corev1.Node) []string {
	var warnings []string
	if n.Spec.ConfigSource != nil {
		warnings = append(warnings, "spec.configSource: the feature is removed")
	}
	if n.Spec.DoNotUseExternalID != "" {
		warnings = append(warnings, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
	}
	for i, cidr := range n.Spec.PodCIDRs {
		warnings = append(warnings, validation.GetWarningsForCIDR(field.NewPath("spec", "podCIDRs").Index(i), cidr)...)
	}
	return warnings
}

func nodeColumns() []metav1.TableColumnDefinition {
	info, addresses := corev1.NodeSystemInfo{}, doc(corev1.NodeStatus{}, "addresses")
	return []metav1.TableColumnDefinition{
		nameColumn(),
		{Name: "Status", Type: "string", Description: "The status of the node"},
		{Name: "Roles", Type: "string", Description: "The roles of the node"},
		ageColumn(),
		{Name: "Version", Type: "string", Description: doc(info, "kubeletVersion")},
		wideColumn("Internal-IP", addresses),
		wideColumn("External-IP", addresses),
		wideColumn("OS-Image", doc(info, "osImage")),
		wideColumn("Kernel-Version", doc(info, "kernelVersion")),
		wideColumn("Container-Runtime", doc(info, "containerRuntimeVersion")),
	}
}

func nodeCells(n *corev1.Node) []any {
	const unknown, none = "<unknown>", "<none>"
	info := n.Status.NodeInfo
	kernel := cmp.Or(info.KernelVersion, unknown)
	if info.Architecture != "" {
		kernel += " (" + info.Architecture + ")"
	}
	return []any{n.Name, nodeStatusCell(n), cmp.Or(nodeRoles(n), none), Age{At: n.CreationTimestamp}, info.KubeletVersion,
		cmp.Or(nodeAddress(n, corev1.NodeInternalIP), none), cmp.Or(nodeAddress(n, corev1.NodeExternalIP), none),
		cmp.Or(info.OSImage, unknown), kernel, cmp.Or(info.ContainerRuntimeVersion, unknown)}
}

func nodeStatusCell(n *corev1.Node) string {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			status = "Ready"
			if c.Status != corev1.ConditionTrue {
				status = "NotReady"
			}
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

func nodeRoles(n *corev1.Node) string {
	var roles []string
	for label, value := range n.Labels {
		if role, ok := strings.CutPrefix(label, "node-role.kubernetes.io/"); ok {
			roles = append(roles, role)
		} else if label == "kubernetes.io/role" {
			roles = append(roles, value)
		}
	}
	return joinedSet(roles)
}

// nodeAddress is the node's first address of a type; empty if there is none.
func nodeAddress(n *corev1.Node, t corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == t {
			return a.Address
		}
	}
	return ""
}
