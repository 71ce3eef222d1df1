package registry

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestFamilies(t *testing.T) {
	const four, six = corev1.IPv4Protocol, corev1.IPv6Protocol
	single, prefer, require := corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack
	dual, lone := []string{"10.0.0.0/16", "fd00::/112"}, []string{"10.0.0.0/16"}
	spec := func(policy *corev1.IPFamilyPolicy, families []corev1.IPFamily, ips ...string) corev1.ServiceSpec {
		s := corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Selector: map[string]string{"a": "b"}, IPFamilyPolicy: policy, IPFamilies: families, ClusterIPs: ips}
		if len(ips) > 0 {
			s.ClusterIP = ips[0]
		}
		return s
	}
	bare := spec(nil, nil, corev1.ClusterIPNone)
	bare.Selector = nil
	both := []corev1.IPFamily{four, six}
	for _, c := range []struct {
		rule     string
		cluster  []string
		old      *corev1.ServiceSpec
		spec     corev1.ServiceSpec
		policy   corev1.IPFamilyPolicy
		families []corev1.IPFamily
		err      string
	}{
		{rule: "nothing said: the cluster's first family", cluster: dual, spec: spec(nil, nil), policy: single, families: []corev1.IPFamily{four}},
		{rule: "the first range decides", cluster: []string{"fd00::/112", "10.0.0.0/16"}, spec: spec(nil, nil), policy: single, families: []corev1.IPFamily{six}},
		{rule: "families follow from addresses", cluster: dual, spec: spec(nil, nil, "fd00::9"), policy: single, families: []corev1.IPFamily{six}},
		{rule: "preferring both gets both", cluster: dual, spec: spec(&prefer, []corev1.IPFamily{six}), policy: prefer, families: []corev1.IPFamily{six, four}},
		{rule: "preferring both is content with one", cluster: lone, spec: spec(&prefer, nil), policy: prefer, families: []corev1.IPFamily{four}},
		{rule: "requiring both fails with one", cluster: lone, spec: spec(&require, nil), err: "this cluster is not configured for dual-stack services"},
		{rule: "a family that the cluster has not", cluster: lone, spec: spec(nil, []corev1.IPFamily{six}), err: "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"},
		{rule: "an address of such a family", cluster: lone, spec: spec(nil, nil, "fd00::9"), err: "IPv6 is not configured on this cluster"},
		{rule: "two addresses need a policy", cluster: dual, spec: spec(nil, nil, "10.0.0.9", "fd00::9"), err: "when multiple cluster IPs are specified"},
		{rule: "a bare headless Service has both, whatever the cluster's", cluster: lone, spec: bare, policy: require, families: both},
		{rule: "an update keeps the policy", cluster: dual, old: new(spec(&prefer, both, "10.0.0.9", "fd00::9")),
			spec: spec(nil, both, "10.0.0.9", "fd00::9"), policy: prefer, families: both},
		{rule: "who prefers both is left alone when the cluster gains a family", cluster: dual, old: new(spec(&prefer, []corev1.IPFamily{four}, "10.0.0.9")),
			spec: spec(&prefer, []corev1.IPFamily{four}, "10.0.0.9"), policy: prefer, families: []corev1.IPFamily{four}},
		{rule: "one stack gives up the second family", cluster: dual, old: new(spec(&prefer, both, "10.0.0.9", "fd00::9")),
			spec: spec(&single, both, "10.0.0.9", "fd00::9"), policy: single, families: []corev1.IPFamily{four}},
		{rule: "and nothing else does", cluster: dual, old: new(spec(&prefer, both, "10.0.0.9", "fd00::9")),
			spec: spec(&prefer, both, "10.0.0.9"), err: "must be 'SingleStack' to release the secondary cluster IP"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			var n Network
			for _, text := range c.cluster {
				n.ServiceRanges = append(n.ServiceRanges, netip.MustParsePrefix(text))
			}
			var old *corev1.Service
			if c.old != nil {
				old = &corev1.Service{Spec: *c.old}
			}
			s := &corev1.Service{Spec: c.spec}
			err := n.settleFamilies(s, old)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.families, s.Spec.IPFamilies); d != "" || *s.Spec.IPFamilyPolicy != c.policy {
				t.Errorf("policy %s, families %v; want %s, %v", *s.Spec.IPFamilyPolicy, s.Spec.IPFamilies, c.policy, c.families)
			}
		})
	}
}
