package registry

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
)

// podOptions is what an update may keep because the old object has it already, though no new object may: rules that
// were made stricter after such objects had been stored. The zero value is the rules for new objects.
type podOptions struct {
	// deletionCost: the pod-deletion-cost annotation is no number.
	deletionCost bool
	// selectorValues: a selector of a pod affinity term has a bad label value.
	selectorValues bool
	// nodeSelectorValues: a required node affinity has a bad label value.
	nodeSelectorValues bool
	// spreadSelectors: a topology spread constraint has a bad selector.
	spreadSelectors bool
	// spreadLabelKeys: the matchLabelKeys of a topology spread constraint do not suit its selector; they obey the older
	// rules in place of today's.
	spreadLabelKeys bool
	// indivisibleHugePages: an amount of huge pages is no multiple of their size.
	indivisibleHugePages bool
	// tokenPaths: a projected service account token lies outside of its volume.
	tokenPaths bool
	// hostSysctls: a pod in a namespace of the host sets a sysctl of that namespace.
	hostSysctls bool
	// mountOptionSELinux: a seLinuxChangePolicy other than Recursive may be chosen.
	mountOptionSELinux bool
	// restartingInitResize: an init container that is no sidecar restarts on resize.
	restartingInitResize bool
	// userNamespaceDevices: a pod in a user namespace has block devices.
	userNamespaceDevices bool
	// userNamespaceHostNetwork: a pod in a user namespace is on the host's network.
	userNamespaceHostNetwork bool
	// numericTolerations: tolerations compare by Lt and Gt.
	numericTolerations bool
}

// podOptionsFrom is what old allows the spec that replaces it; both old and oldMeta are nil when there is none.
func podOptionsFrom(old *corev1.PodSpec, oldMeta *metav1.ObjectMeta) podOptions {
	var opts podOptions
	if oldMeta != nil {
		opts.deletionCost = !isDeletionCost(oldMeta.Annotations)
	}
	if old == nil {
		return opts
	}
	opts.selectorValues = hasBadAffinitySelector(old)
	opts.nodeSelectorValues = hasBadNodeAffinityValue(old)
	for _, c := range old.TopologySpreadConstraints {
		opts.spreadSelectors = opts.spreadSelectors || hasBadSelector(c.LabelSelector)
		opts.spreadLabelKeys = opts.spreadLabelKeys || len(validateLabelKeys(c.MatchLabelKeys, nil, c.LabelSelector, nil)) > 0
	}
	opts.indivisibleHugePages = hasIndivisibleHugePages(old)
	opts.tokenPaths = hasTokenPathOutside(old)
	opts.mountOptionSELinux = old.SecurityContext != nil && old.SecurityContext.SELinuxChangePolicy != nil
	opts.restartingInitResize = slices.ContainsFunc(old.InitContainers, restartsInitOnResize)
	opts.numericTolerations = slices.ContainsFunc(old.Tolerations, isNumericToleration)
	if old.SecurityContext != nil {
		opts.hostSysctls = slices.ContainsFunc(old.SecurityContext.Sysctls, func(s corev1.Sysctl) bool {
			return hostSysctl(s.Name, old) != ""
		})
	}
	if !usesHostUsers(old) {
		opts.userNamespaceHostNetwork = old.HostNetwork
		for c := range eachContainer(old) {
			opts.userNamespaceDevices = opts.userNamespaceDevices || len(c.VolumeDevices) > 0
		}
	}
	return opts
}

// podTemplateOptions is podOptionsFrom for the template of a workload; old is nil when there is none.
func podTemplateOptions(old *corev1.PodTemplateSpec) podOptions {
	if old == nil {
		return podOptions{}
	}
	return podOptionsFrom(&old.Spec, &old.ObjectMeta)
}

func hasBadSelector(s *metav1.LabelSelector) bool {
	return len(metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, nil)) > 0
}

func hasBadAffinitySelector(spec *corev1.PodSpec) bool {
	bad := func(t corev1.PodAffinityTerm) bool {
		return hasBadSelector(t.LabelSelector) || hasBadSelector(t.NamespaceSelector)
	}
	badWeighted := func(t corev1.WeightedPodAffinityTerm) bool { return bad(t.PodAffinityTerm) }
	if spec.Affinity == nil {
		return false
	}
	if a := spec.Affinity.PodAffinity; a != nil &&
		(slices.ContainsFunc(a.RequiredDuringSchedulingIgnoredDuringExecution, bad) ||
			slices.ContainsFunc(a.PreferredDuringSchedulingIgnoredDuringExecution, badWeighted)) {
		return true
	}
	a := spec.Affinity.PodAntiAffinity
	return a != nil &&
		(slices.ContainsFunc(a.RequiredDuringSchedulingIgnoredDuringExecution, bad) ||
			slices.ContainsFunc(a.PreferredDuringSchedulingIgnoredDuringExecution, badWeighted))
}

func hasBadNodeAffinityValue(spec *corev1.PodSpec) bool {
	if spec.Affinity == nil || spec.Affinity.NodeAffinity == nil {
		return false
	}
	return hasBadNodeSelectorValue(spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
}

// hasBadNodeSelectorValue finds label values that no node can have. The selector may be nil.
func hasBadNodeSelectorValue(s *corev1.NodeSelector) bool {
	if s == nil {
		return false
	}
	for _, term := range s.NodeSelectorTerms {
		for _, e := range term.MatchExpressions {
			if slices.ContainsFunc(e.Values, func(v string) bool { return len(validation.IsValidLabelValue(v)) > 0 }) {
				return true
			}
		}
	}
	return false
}

func hasIndivisibleHugePages(spec *corev1.PodSpec) bool {
	indivisible := func(list corev1.ResourceList) bool {
		for name, q := range list {
			if isHugePageResource(name) && !isHugePageMultiple(name, q) {
				return true
			}
		}
		return false
	}
	for c := range eachContainer(spec) {
		if indivisible(c.Resources.Limits) || indivisible(c.Resources.Requests) {
			return true
		}
	}
	return indivisible(spec.Overhead)
}

func hasTokenPathOutside(spec *corev1.PodSpec) bool {
	for _, v := range spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil && len(validateLocalPath(s.ServiceAccountToken.Path, nil)) > 0 {
				return true
			}
		}
	}
	return false
}

func restartsInitOnResize(c corev1.Container) bool {
	return !isSidecar(&c) && slices.ContainsFunc(c.ResizePolicy, func(p corev1.ContainerResizePolicy) bool {
		return p.RestartPolicy == corev1.RestartContainer
	})
}

// isDeletionCost accepts an absent cost, and a 32 bit integer in its plain form: no plus sign, no leading zeros.
func isDeletionCost(annotations map[string]string) bool {
	cost, set := annotations[corev1.PodDeletionCost]
	if !set {
		return true
	}
	if strings.HasPrefix(cost, "+") || strings.HasPrefix(cost, "0") && cost != "0" {
		return false
	}
	_, err := strconv.ParseInt(cost, 10, 32)
	return err == nil
}
