package controllers

import (
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corehelpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// The pods of a DaemonSet are bound by the scheduler like all others. But which nodes get one is decided here, by those of
// the scheduler's rules that do not depend on what else runs there: names, labels and taints.

// daemonFit says whether a node is to have a pod, and whether it may keep one that it has.
type daemonFit struct{ run, keep bool }

// daemonTolerations are what all pods of DaemonSets tolerate: they are to be there when a node has problems.
func daemonTolerations(hostNetwork bool) []corev1.Toleration {
	list := []corev1.Toleration{
		{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
		{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
		{Key: corev1.TaintNodeDiskPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
		{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
		{Key: corev1.TaintNodePIDPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
		{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	}
	if hostNetwork {
		list = append(list, corev1.Toleration{Key: corev1.TaintNodeNetworkUnavailable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
	}
	return list
}

// tolerateAll adds those tolerations, in the place of others that differ only in how long they hold.
func tolerateAll(own []corev1.Toleration, hostNetwork bool) []corev1.Toleration {
	out := slices.Clone(own)
	for _, t := range daemonTolerations(hostNetwork) {
		if i := slices.IndexFunc(out, func(o corev1.Toleration) bool { return o.MatchToleration(&t) }); i >= 0 {
			out[i] = t
		} else {
			out = append(out, t)
		}
	}
	return out
}

// fitOf judges a node. What a pod on it does not tolerate drives it away only if the taint says so.
func fitOf(ds *appsv1.DaemonSet, node *corev1.Node) daemonFit {
	spec := &ds.Spec.Template.Spec
	if spec.NodeName != "" && spec.NodeName != node.Name {
		return daemonFit{}
	}
	// Terms that cannot be understood select nothing.
	if fits, _ := nodeaffinity.GetRequiredNodeAffinity(&corev1.Pod{Spec: *spec}).Match(node); !fits {
		return daemonFit{}
	}
	tolerations := tolerateAll(spec.Tolerations, spec.HostNetwork)
	tainted := func(effects ...corev1.TaintEffect) bool {
		_, found := corehelpers.FindMatchingUntoleratedTaint(klog.Background(), node.Spec.Taints, tolerations, func(t *corev1.Taint) bool {
			return slices.Contains(effects, t.Effect)
		}, false)
		return found
	}
	return daemonFit{run: !tainted(corev1.TaintEffectNoExecute, corev1.TaintEffectNoSchedule), keep: !tainted(corev1.TaintEffectNoExecute)}
}

// targetOf is the node that a pod is on, or is made for; empty if that cannot be told.
func targetOf(p *corev1.Pod) string {
	if p.Spec.NodeName != "" {
		return p.Spec.NodeName
	}
	if a := p.Spec.Affinity; a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
			for _, field := range term.MatchFields {
				if field.Key == metav1.ObjectNameField && field.Operator == corev1.NodeSelectorOpIn && len(field.Values) == 1 {
					return field.Values[0]
				}
			}
		}
	}
	return ""
}

// aim leaves the scheduler one node to choose from.
func aim(p *corev1.Pod, node string) {
	if p.Spec.Affinity == nil {
		p.Spec.Affinity = &corev1.Affinity{}
	}
	if p.Spec.Affinity.NodeAffinity == nil {
		p.Spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{
		{MatchFields: []corev1.NodeSelectorRequirement{{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}}}
}

// newDaemon is the pod for a node, of the revision with a hash.
func newDaemon(ds *appsv1.DaemonSet, node, hash string) *corev1.Pod {
	p := podOf(&ds.Spec.Template, ds.Namespace, ds, daemonReference(ds))
	p.Spec.Tolerations = tolerateAll(p.Spec.Tolerations, p.Spec.HostNetwork)
	aim(p, node)
	if generation := templateGeneration(ds); generation != "" {
		setEntry(&p.Labels, templateGenerationLabel, generation)
	}
	setEntry(&p.Labels, appsv1.DefaultDaemonSetUniqueLabelKey, hash)
	return p
}

// templateGenerationLabel is by what pods were known to be up to date before there were revisions.
const templateGenerationLabel = "pod-template-generation"

func templateGeneration(ds *appsv1.DaemonSet) string {
	n, err := strconv.ParseInt(ds.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
	if err != nil {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func daemonReference(ds *appsv1.DaemonSet) metav1.OwnerReference {
	return ownedBy(ds, metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"})
}
