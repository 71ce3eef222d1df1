package admission

import (
	"context"
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
	Rows       func() []*registry.Resource // what is served now
	Now        func() time.Time
	// Config is the configuration of all plugins; configure reads that of one.
	Config Config
	config *PluginConfig // of the plugin that is being made; nil if there is none
	// ChangeQuota writes down what is used.
	ChangeQuota QuotaWriter
	// CreateNamespace makes a namespace on the server's own behalf; AlreadyExists if there is one.
	CreateNamespace func(ctx context.Context, name string) error
	// How long a pod that says nothing else stays on a node that is not ready or cannot be reached.
	NotReadySeconds, UnreachableSeconds int64
}

// alone is a plugin that needs nothing but the write.
func alone(plugin func() Plugin) func(Host) (Plugin, error) {
	return func(Host) (Plugin, error) { return plugin(), nil }
}

// reading is a plugin that looks at other objects.
func reading(plugin func(Objects) Plugin) func(Host) (Plugin, error) {
	return func(h Host) (Plugin, error) { return plugin(h.Objects), nil }
}

// table is every plugin that kube-apiserver knows, in execution order, which is upstream's. Quota comes last of all: what
// it counts must not be changed or refused afterwards. A row without a plugin keeps a name known and its place; it
// decides nothing.
func table() []entry {
	return []entry{
		{"AlwaysAdmit", false, alone(alwaysAdmit), "nothing is refused; configurations of old name it"},
		{"NamespaceAutoProvision", false, namespaceProvision, "a namespace is made when something is created in it"},
		{"NamespaceLifecycle", true, reading(namespaceLifecycle), "nothing is created in a namespace that does not exist or is going; system namespaces stay"},
		{"NamespaceExists", false, reading(namespaceExists), "nothing is done in a namespace that does not exist"},
		{"LimitPodHardAntiAffinityTopology", false, alone(limitAntiAffinity), "a pod's required anti-affinity speaks of hosts alone"},
		{"LimitRanger", true, reading(limitRanger), "pods and claims get the defaults and keep to the limits of their namespace"},
		{"ServiceAccount", true, reading(serviceAccount), "a pod runs as a service account that exists, with its token mounted"},
		{"NodeRestriction", false, nodeRestriction, "a node writes only what is its own"},
		{"TaintNodesByCondition", true, alone(taintNodes), "a new node takes no pods until it is ready"},
		{"AlwaysPullImages", false, alone(alwaysPullImages), "images are pulled for each pod anew, so that a pod needs the right to them"},
		{"ImagePolicyWebhook", false, imagePolicy, "images are what a webhook allows"},
		{"PodSecurity", true, podSecurity, "pods keep to the security standard of their namespace"},
		{"PodNodeSelector", false, podNodeSelector, "pods run on the nodes of their namespace"},
		{"Priority", true, reading(priority), "a pod's priority is that of its class"},
		{"DefaultTolerationSeconds", true, defaultTolerationSeconds, "a pod bears a node's silence for five minutes"},
		{"PodTolerationRestriction", false, podToleration, "pods tolerate what their namespace lets them"},
		{"EventRateLimit", false, eventRateLimit, "events come no faster than is allowed"},
		{"ExtendedResourceToleration", false, alone(tolerateExtendedResources), "a pod that asks for a device tolerates the taint of the device's nodes"},
		{"DefaultStorageClass", true, reading(defaultStorageClass), "a claim without a class gets the default one"},
		{"StorageObjectInUseProtection", true, alone(storageInUse), "volumes and claims stay while they are used"},
		{"PodGroupProtection", true, nil, "of a feature that is off in 1.36"},
		{"OwnerReferencesPermissionEnforcement", false, ownerReferences, "who sets an owner may delete the object; who blocks an owner's deletion may change the owner"},
		{"PersistentVolumeClaimResize", true, reading(claimResize), "a claim grows only where its class can grow volumes"},
		{"RuntimeClass", true, reading(runtimeClass), "a pod gets the overhead and the nodes of its runtime class"},
		{"CertificateApproval", true, certificateApproval, "certificates are approved by those who may approve for the signer"},
		{"CertificateSigning", true, certificateSigning, "certificates are issued by those who may sign for the signer"},
		{"ClusterTrustBundleAttest", true, nil, "of a feature that is off in 1.36"},
		{"CertificateSubjectRestriction", true, alone(certificateSubject), "no certificate for system:masters is asked for"},
		{"DefaultIngressClass", true, reading(defaultIngressClass), "an ingress without a class gets the default one"},
		{"DenyServiceExternalIPs", false, alone(denyExternalIPs), "a Service gets no new external addresses"},
		{"PodTopologyLabels", true, reading(podTopologyLabels), "a bound pod carries its node's zone and region"},
		{"PodGroupWorkloadExists", true, nil, "of a feature that is off in 1.36"},
		{"NodeDeclaredFeatureValidator", true, reading(nodeFeatures), "a bound pod's change needs no feature that its node lacks"},
		{"JobValidation", true, nil, "of a feature that is off in 1.36"},
		{"PodResizeValidator", true, reading(podResize), "a running pod becomes no bigger than its node"},
		{"MutatingAdmissionPolicy", true, nil, "CEL policies change objects"},
		{"MutatingAdmissionWebhook", true, nil, "webhooks change objects"},
		{"ValidatingAdmissionPolicy", true, nil, "CEL policies refuse objects"},
		{"ValidatingAdmissionWebhook", true, nil, "webhooks refuse objects"},
		{"ResourceQuota", true, resourceQuota, "a namespace holds no more than its quota"},
		{"AlwaysDeny", false, alone(alwaysDeny), "everything is refused"},
	}
}

// CheckNames refuses names of plugins that are unknown, with a list of those that are known, or on both lists.
func CheckNames(enable, disable []string) error {
	rows := table()
	for _, name := range slices.Concat(enable, disable) {
		if !slices.ContainsFunc(rows, func(e entry) bool { return e.name == name }) {
			return fmt.Errorf("admission plugin %q is unknown: use %s", name, strings.Join(names(rows), ", "))
		}
	}
	for _, name := range enable {
		if slices.Contains(disable, name) {
			return fmt.Errorf("admission plugin %q is both enabled and disabled: name it once", name)
		}
	}
	return nil
}

// New returns the plugins that run by default, and those enabled, without those disabled, in execution order.
func New(host Host, enable, disable []string) (Chain, error) {
	if err := CheckNames(enable, disable); err != nil {
		return nil, err
	}
	var chain Chain
	for _, row := range table() {
		if row.plugin != nil && (row.on || slices.Contains(enable, row.name)) && !slices.Contains(disable, row.name) {
			host.config = host.Config[row.name]
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

// forbid refuses a write with a reason.
func (a *Attributes) forbid(format string, args ...any) error {
	return apierrors.NewForbidden(a.Resource.GroupResource(), a.objectName(), fmt.Errorf(format, args...))
}

// refuse refuses a write because of an error that came up; one that forbids already says enough.
func (a *Attributes) refuse(err error) error {
	if apierrors.IsForbidden(err) {
		return err
	}
	return a.forbid("%w", err)
}

// objectName is the name of the object, or the beginning of one that is yet to be generated.
func (a *Attributes) objectName() string {
	switch {
	case a.Name != "":
		return a.Name
	case a.Object != nil && a.Object.GetName() != "":
		return a.Object.GetName()
	case a.Object != nil && a.Object.GetGenerateName() != "":
		return a.Object.GetGenerateName()
	}
	return "Unknown"
}
