package registry

import (
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// networkPolicy says which traffic pods accept and send.
func networkPolicy() *Resource {
	return Kind[*networkingv1.NetworkPolicy]{
		Resource: Resource{
			Group: networkingv1.GroupName, Plural: "networkpolicies", Singular: "networkpolicy", Kind: "NetworkPolicy",
			ShortNames: []string{"netpol"}, Namespaced: true, Prefix: "networkpolicies", Versions: []Version{{Name: "v1"}},
			ValidateName: apivalidation.NameIsDNSSubdomain,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				{Name: "Pod-Selector", Type: "string", Description: doc(networkingv1.NetworkPolicySpec{}, "podSelector")},
				ageColumn(),
			},
		},
		Default: defaultNetworkPolicy,
		Prepare: func(_ *Write, p, old *networkingv1.NetworkPolicy) {
			bumpGeneration(p, old, old != nil && !reflect.DeepEqual(p.Spec, old.Spec)) // an empty list is not an absent one
		},
		Validate: validateNetworkPolicy,
		Warn:     networkPolicyWarnings,
		Cells: func(p *networkingv1.NetworkPolicy) []any {
			return []any{p.Name, metav1.FormatLabelSelector(&p.Spec.PodSelector), Age{At: p.CreationTimestamp}}
		},
	}.row()
}

func defaultNetworkPolicy(p *networkingv1.NetworkPolicy) {
	if len(p.Spec.PolicyTypes) == 0 {
		p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(p.Spec.Egress) > 0 {
			p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
	for _, rule := range networkPolicyRules(&p.Spec) {
		for i := range rule.ports {
			if rule.ports[i].Protocol == nil {
				tcp := corev1.ProtocolTCP
				rule.ports[i].Protocol = &tcp
			}
		}
	}
}

// networkPolicyRule is a rule of either direction, and where it stands.
type networkPolicyRule struct {
	at        *field.Path
	peersName string // "from" or "to"
	ports     []networkingv1.NetworkPolicyPort
	peers     []networkingv1.NetworkPolicyPeer
}

func networkPolicyRules(spec *networkingv1.NetworkPolicySpec) []networkPolicyRule {
	var rules []networkPolicyRule
	for i, r := range spec.Ingress {
		rules = append(rules, networkPolicyRule{field.NewPath("spec", "ingress").Index(i), "from", r.Ports, r.From})
	}
	for i, r := range spec.Egress {
		rules = append(rules, networkPolicyRule{field.NewPath("spec", "egress").Index(i), "to", r.Ports, r.To})
	}
	return rules
}

// networkPolicyTolerance is what an update may keep because the stored object has it.
type networkPolicyTolerance struct {
	labels metavalidation.LabelSelectorValidationOptions
	cidrs  []string // written before today's rules
}

func networkPolicyTolerated(old *networkingv1.NetworkPolicy) networkPolicyTolerance {
	var allow networkPolicyTolerance
	allow.labels.AllowInvalidLabelValueInSelector =
		len(metavalidation.ValidateLabelSelector(&old.Spec.PodSelector, allow.labels, nil)) > 0
	for _, rule := range networkPolicyRules(&old.Spec) {
		for _, peer := range rule.peers {
			if peer.IPBlock != nil {
				allow.cidrs = append(append(allow.cidrs, peer.IPBlock.CIDR), peer.IPBlock.Except...)
			}
		}
	}
	return allow
}

func validateNetworkPolicy(_ *Write, p, old *networkingv1.NetworkPolicy) field.ErrorList {
	var errs field.ErrorList
	var allow networkPolicyTolerance
	if old != nil {
		allow = networkPolicyTolerated(old)
	}
	errs = append(errs, metavalidation.ValidateLabelSelector(&p.Spec.PodSelector, allow.labels, field.NewPath("spec", "podSelector"))...)
	for _, rule := range networkPolicyRules(&p.Spec) {
		for i := range rule.ports {
			errs = append(errs, validateNetworkPolicyPort(&rule.ports[i], rule.at.Child("ports").Index(i))...)
		}
		for i := range rule.peers {
			errs = append(errs, validateNetworkPolicyPeer(&rule.peers[i], rule.at.Child(rule.peersName).Index(i), allow)...)
		}
	}
	return append(errs, validateNetworkPolicyTypes(p.Spec.PolicyTypes, field.NewPath("spec", "policyTypes"))...)
}

func validateNetworkPolicyTypes(types []networkingv1.PolicyType, at *field.Path) field.ErrorList {
	known := []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	if len(types) > len(known) {
		return field.ErrorList{field.Invalid(at, &types, "may not specify more than two policyTypes")}
	}
	var errs field.ErrorList
	for i, t := range types {
		if !slices.Contains(known, t) {
			errs = append(errs, field.NotSupported(at.Index(i), t, known))
		}
	}
	return errs
}

func validateNetworkPolicyPort(p *networkingv1.NetworkPolicyPort, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p.Protocol != nil && !slices.Contains(portProtocols(), *p.Protocol) {
		errs = append(errs, field.NotSupported(at.Child("protocol"), *p.Protocol,
			[]corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}))
	}
	end := at.Child("endPort")
	switch {
	case p.Port == nil:
		if p.EndPort != nil {
			errs = append(errs, field.Invalid(end, *p.EndPort, "may not be specified when `port` is not specified"))
		}
	case p.Port.Type == intstr.Int:
		errs = append(errs, invalidValue(at.Child("port"), p.Port.IntVal, validation.IsValidPortNum(int(p.Port.IntVal)))...)
		if p.EndPort != nil && *p.EndPort < p.Port.IntVal {
			errs = append(errs, field.Invalid(end, p.Port.IntVal, "must be greater than or equal to `port`"))
		}
		if p.EndPort != nil {
			errs = append(errs, invalidValue(end, *p.EndPort, validation.IsValidPortNum(int(*p.EndPort)))...)
		}
	default:
		if p.EndPort != nil {
			errs = append(errs, field.Invalid(end, *p.EndPort, "may not be specified when `port` is non-numeric"))
		}
		errs = append(errs, invalidValue(at.Child("port"), p.Port.StrVal, validation.IsValidPortName(p.Port.StrVal))...)
	}
	return errs
}

func validateNetworkPolicyPeer(p *networkingv1.NetworkPolicyPeer, at *field.Path, allow networkPolicyTolerance) field.ErrorList {
	var errs field.ErrorList
	if p.PodSelector != nil {
		errs = append(errs, metavalidation.ValidateLabelSelector(p.PodSelector, allow.labels, at.Child("podSelector"))...)
	}
	if p.NamespaceSelector != nil {
		errs = append(errs, metavalidation.ValidateLabelSelector(p.NamespaceSelector, allow.labels, at.Child("namespaceSelector"))...)
	}
	if p.IPBlock != nil {
		errs = append(errs, validateIPBlock(p.IPBlock, at.Child("ipBlock"), allow.cidrs)...)
	}
	switch selects := p.PodSelector != nil || p.NamespaceSelector != nil; {
	case !selects && p.IPBlock == nil:
		errs = append(errs, field.Required(at, "must specify a peer"))
	case selects && p.IPBlock != nil:
		errs = append(errs, field.Forbidden(at, "may not specify both ipBlock and another peer"))
	}
	return errs
}

// validateIPBlock wants CIDRs, and exceptions that lie inside; known are not judged again.
func validateIPBlock(b *networkingv1.IPBlock, at *field.Path, known []string) field.ErrorList {
	if b.CIDR == "" {
		return field.ErrorList{field.Required(at.Child("cidr"), "")}
	}
	errs := validation.IsValidCIDRForLegacyField(at.Child("cidr"), b.CIDR, true, known)
	_, block, err := netutils.ParseCIDRSloppy(b.CIDR)
	if err != nil {
		return errs
	}
	for i, text := range b.Except {
		except := at.Child("except").Index(i)
		errs = append(errs, validation.IsValidCIDRForLegacyField(except, text, true, known)...)
		_, hole, err := netutils.ParseCIDRSloppy(text)
		if err != nil {
			continue
		}
		outer, _ := block.Mask.Size()
		inner, _ := hole.Mask.Size()
		if !block.Contains(hole.IP) || outer >= inner {
			errs = append(errs, field.Invalid(except, text, "must be a strict subset of `cidr`"))
		}
	}
	return errs
}

func networkPolicyWarnings(_ *Write, p, _ *networkingv1.NetworkPolicy) []string {
	var warnings []string
	for _, rule := range networkPolicyRules(&p.Spec) {
		for i, peer := range rule.peers {
			if peer.IPBlock == nil {
				continue
			}
			at := rule.at.Child(rule.peersName).Index(i).Child("ipBlock")
			warnings = append(warnings, validation.GetWarningsForCIDR(at.Child("cidr"), peer.IPBlock.CIDR)...)
			for j, except := range peer.IPBlock.Except {
				warnings = append(warnings, validation.GetWarningsForCIDR(at.Child("except").Index(j), except)...)
			}
		}
	}
	return warnings
}
