package controllers

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestWhoHoldsAClaim(t *testing.T) {
	pod := func(node string, change ...func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "p-uid"}, Spec: corev1.PodSpec{NodeName: node}}
		for _, c := range change {
			c(p)
		}
		return p
	}
	uses := func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "p-v"}}}}
	}
	owns := func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{}}}}}
	}
	ended := func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }
	going := func(grace int64) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: noon()}, ptr.To(grace)
		}
	}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p-v"}}
	owned := ephemeralClaim(pod("n", owns), &pod("n", owns).Spec.Volumes[0])
	for rule, c := range map[string]struct {
		pod   *corev1.Pod
		claim *corev1.PersistentVolumeClaim
		holds bool
	}{
		"a pod on a node":                            {pod("n", uses), claim, true},
		"a pod without a node":                       {pod("", uses), claim, false},
		"a pod that has ended":                       {pod("n", uses, ended), claim, true},
		"a pod that is going":                        {pod("n", uses, going(0)), claim, true},
		"a pod with other volumes":                   {pod("n"), claim, false},
		"the claim of a pod's own volume":            {pod("n", owns), owned, true},
		"a claim that only has that name":            {pod("n", owns), claim, false},
		"a pod that its node may be stopping":        {pod("n", owns, going(30)), owned, true},
		"a pod with which its node is done":          {pod("n", owns, going(0)), owned, false},
		"a pod without a node has a volume, as well": {pod("", owns), owned, false},
	} {
		t.Run(rule, func(t *testing.T) {
			if holdsClaim(c.pod, c.claim) != c.holds {
				t.Errorf("holds: %v", !c.holds)
			}
		})
	}
}

func TestRangesThatServicesNeed(t *testing.T) {
	prefixes := func(texts ...string) (all []netip.Prefix) {
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	for rule, c := range map[string]struct {
		going, others []netip.Prefix
		address       string
		needed        bool
	}{
		"an address that lies in no other":          {prefixes("10.0.0.0/24"), prefixes("10.0.1.0/24"), "10.0.0.7", true},
		"no address":                                {prefixes("10.0.0.0/24"), nil, "10.0.1.7", false},
		"another holds the address":                 {prefixes("10.0.0.0/24"), prefixes("10.0.0.0/28"), "10.0.0.7", false},
		"another that does not give out that one":   {prefixes("10.0.0.0/24"), prefixes("10.0.0.0/29"), "10.0.0.7", true},
		"one that begins with it does not, either":  {prefixes("10.0.0.0/24"), prefixes("10.0.0.8/29"), "10.0.0.8", true},
		"a wider one holds all":                     {prefixes("10.0.0.0/24"), prefixes("10.0.0.0/16"), "10.0.0.0", false},
		"the last of IPv6 is given out":             {prefixes("fd00::/120"), nil, "fd00::ff", true},
		"two ranges, of which one is held":          {prefixes("10.0.0.0/24", "fd00::/120"), prefixes("10.0.0.0/16"), "fd00::7", true},
		"two ranges, and the address is in the one": {prefixes("10.0.0.0/24", "fd00::/120"), prefixes("10.0.0.0/16"), "10.0.0.7", false},
	} {
		t.Run(rule, func(t *testing.T) {
			if orphans(c.going, c.others, []netip.Addr{netip.MustParseAddr(c.address)}) != c.needed {
				t.Errorf("needed: %v", !c.needed)
			}
		})
	}
}
