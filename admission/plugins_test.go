package admission

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// kubeAPIServerOrder is what `kube-apiserver --help` of 1.36 lists, in the order in which it runs them; a plus marks those
// that run by default.
const kubeAPIServerOrder = `AlwaysAdmit NamespaceAutoProvision +NamespaceLifecycle NamespaceExists LimitPodHardAntiAffinityTopology
+LimitRanger +ServiceAccount NodeRestriction +TaintNodesByCondition AlwaysPullImages ImagePolicyWebhook +PodSecurity
PodNodeSelector +Priority +DefaultTolerationSeconds PodTolerationRestriction EventRateLimit ExtendedResourceToleration
+DefaultStorageClass +StorageObjectInUseProtection +PodGroupProtection OwnerReferencesPermissionEnforcement
+PersistentVolumeClaimResize +RuntimeClass +CertificateApproval +CertificateSigning +ClusterTrustBundleAttest
+CertificateSubjectRestriction +DefaultIngressClass DenyServiceExternalIPs +PodTopologyLabels +PodGroupWorkloadExists
+NodeDeclaredFeatureValidator +JobValidation +PodResizeValidator +MutatingAdmissionPolicy +MutatingAdmissionWebhook
+ValidatingAdmissionPolicy +ValidatingAdmissionWebhook +ResourceQuota AlwaysDeny`

func TestTableIsUpstreamsListInUpstreamsOrder(t *testing.T) {
	var have []string
	for _, row := range table() {
		name := row.name
		if row.on {
			name = "+" + name
		}
		have = append(have, name)
	}
	if diff := cmp.Diff(strings.Fields(kubeAPIServerOrder), have); diff != "" {
		t.Errorf("(-kube-apiserver +table)\n%s", diff)
	}
}

func TestEveryRowIsDocumentedAndStarts(t *testing.T) {
	for _, row := range table() {
		if row.comment == "" {
			t.Errorf("%s has no comment", row.name)
		}
		if row.plugin == nil {
			continue
		}
		p, err := row.plugin(Host{config: configOfTest(row.name)})
		switch {
		case err != nil:
			t.Errorf("%s: %v", row.name, err)
		case len(p.Operations) == 0:
			t.Errorf("%s handles no operation", row.name)
		case p.Mutate == nil && p.Validate == nil && row.name != "AlwaysAdmit":
			t.Errorf("%s does nothing", row.name)
		}
	}
}

func TestNewTakesNamesAsKubeAPIServerDoes(t *testing.T) {
	chain := func(enable, disable string) string {
		c, err := New(Host{}, strings.Fields(enable), strings.Fields(disable))
		if err != nil {
			return err.Error()
		}
		var names []string
		for _, p := range c {
			names = append(names, p.Name)
		}
		return strings.Join(names, " ")
	}
	if got := chain("AlwaysDeny AlwaysAdmit", ""); !strings.HasPrefix(got, "AlwaysAdmit NamespaceLifecycle ") || !strings.HasSuffix(got, " AlwaysDeny") {
		t.Errorf("enabled plugins take their places in the order: got %s", got)
	}
	if got := chain("", "NamespaceLifecycle"); strings.Contains(got, "NamespaceLifecycle") {
		t.Errorf("a disabled plugin runs: %s", got)
	}
	if got := chain("MutatingAdmissionPolicy", "JobValidation"); strings.HasPrefix(got, "admission plugin") {
		t.Errorf("a name that kube-apiserver knows: %s", got)
	}
	if got := chain("Nosuch", ""); !strings.HasPrefix(got, `admission plugin "Nosuch" is unknown: use AlwaysAdmit, NamespaceAutoProvision, `) {
		t.Errorf("an unknown name: %s", got)
	}
	if got := chain("Priority", "Priority"); got != `admission plugin "Priority" is both enabled and disabled: name it once` {
		t.Errorf("a name on both lists: %s", got)
	}
}

func TestAlwaysDenyRefusesEveryOperation(t *testing.T) {
	c, err := New(Host{}, []string{"AlwaysDeny"}, strings.Fields("NamespaceLifecycle"))
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range []Operation{Create, Update, Delete, Connect} {
		a := &Attributes{Operation: op, Subresource: "exec", Name: "p"}
		a.Resource.Resource = "pods"
		err := c.Mutate(context.Background(), a)
		if err == nil || err.Error() != `pods "p" is forbidden: admission control is denying all modifications` {
			t.Errorf("%s: %v", op, err)
		}
	}
}
