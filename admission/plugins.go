package admission

import (
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/knarr-dev/knarr/registry"
)

// A row of the table of plugins.
type entry struct {
	name    string
	on      bool // by default
	plugin  func(Host) (Plugin, error)
	comment string // what it does, for people
}

// Host is the API server as its plugins see it.
type Host struct {
	Objects    Objects
	Authorizer registry.Authorizer
	Now        func() time.Time
}

// alone is a plugin that needs nothing but the write.
func alone(plugin func() Plugin) func(Host) (Plugin, error) {
	return func(Host) (Plugin, error) { return plugin(), nil }
}

// reading is a plugin that looks at other objects.
func reading(plugin func(Objects) Plugin) func(Host) (Plugin, error) {
	return func(h Host) (Plugin, error) { return plugin(h.Objects), nil }
}

// table is every plugin in execution order, which is upstream's. Quota comes last of all: what it counts must not be
// changed or refused afterwards.
func table() []entry {
	return []entry{
		{"NamespaceLifecycle", true, reading(namespaceLifecycle), "nothing is created in a namespace that does not exist or is going; system namespaces stay"},
		{"ServiceAccount", true, reading(serviceAccount), "a pod runs as a service account that exists, with its token mounted"},
		{"TaintNodesByCondition", true, alone(taintNodes), "a new node takes no pods until it is ready"},
		{"Priority", true, reading(priority), "a pod's priority is that of its class"},
		{"DefaultTolerationSeconds", true, alone(defaultTolerationSeconds), "a pod bears a node's silence for five minutes"},
		{"DefaultStorageClass", true, reading(defaultStorageClass), "a claim without a class gets the default one"},
		{"StorageObjectInUseProtection", true, alone(storageInUse), "volumes and claims stay while they are used"},
		{"PersistentVolumeClaimResize", true, reading(claimResize), "a claim grows only where its class can grow volumes"},
		{"RuntimeClass", true, reading(runtimeClass), "a pod gets the overhead and the nodes of its runtime class"},
		{"CertificateSubjectRestriction", true, alone(certificateSubject), "no certificate for system:masters is asked for"},
		{"DefaultIngressClass", true, reading(defaultIngressClass), "an ingress without a class gets the default one"},
		{"PodTopologyLabels", true, reading(podTopologyLabels), "a bound pod carries its node's zone and region"},
	}
}

// New returns the plugins that run by default, and those enabled, without those disabled, in execution order. An
// unknown name is an error that lists the known ones.
func New(host Host, enable, disable []string) (Chain, error) {
	rows := table()
	for _, name := range slices.Concat(enable, disable) {
		if !slices.ContainsFunc(rows, func(e entry) bool { return e.name == name }) && !slices.Contains(upstreamOnly(), name) {
			return nil, fmt.Errorf("admission plugin %q is unknown: use %s", name, strings.Join(names(rows), ", "))
		}
	}
	var chain Chain
	for _, row := range rows {
		if (row.on || slices.Contains(enable, row.name)) && !slices.Contains(disable, row.name) {
			p, err := row.plugin(host)
			if err != nil {
				return nil, fmt.Errorf("admission plugin %s: %w", row.name, err)
			}
			p.Name = row.name
			chain = append(chain, p)
		}
	}
	return chain, nil
}

func names(rows []entry) []string {
	var out []string
	for _, r := range rows {
		out = append(out, r.name)
	}
	return out
}

// upstreamOnly are plugins that kube-apiserver knows and that change nothing in a cluster whose authorization allows
// what its users do. Naming them is no error, so that flags can be carried over.
func upstreamOnly() []string {
	return []string{"AlwaysAdmit", "AlwaysDeny", "AlwaysPullImages", "CertificateApproval", "CertificateSigning", "ClusterTrustBundleAttest",
		"DenyServiceExternalIPs", "EventRateLimit", "ExtendedResourceToleration", "ImagePolicyWebhook", "LimitPodHardAntiAffinityTopology",
		"LimitRanger", "MutatingAdmissionPolicy", "MutatingAdmissionWebhook", "NamespaceAutoProvision", "NamespaceExists", "NodeDeclaredFeatureValidator",
		"NodeRestriction", "OwnerReferencesPermissionEnforcement", "PodNodeSelector", "PodResizeValidator", "PodSecurity", "PodTolerationRestriction",
		"ResourceQuota", "ValidatingAdmissionPolicy", "ValidatingAdmissionWebhook"}
}

// forbid refuses a write with a reason.
func (a *Attributes) forbid(format string, args ...any) error {
	return apierrors.NewForbidden(a.Resource.GroupResource(), a.objectName(), fmt.Errorf(format, args...))
}

// objectName is the name of the object, or the beginning of one that is yet to be generated.
func (a *Attributes) objectName() string {
	switch {
	case a.Name != "":
		return a.Name
	case a.Object == nil:
		return ""
	case a.Object.GetName() != "":
		return a.Object.GetName()
	}
	return a.Object.GetGenerateName()
}
