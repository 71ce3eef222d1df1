package registry

import (
	"context"
	"slices"
	"testing"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/knarr-dev/knarr/registry/store"
)

func TestFlowControlObjectsAreCompleteAndValid(t *testing.T) {
	for _, l := range slices.Concat(mandatoryPriorityLevels(), suggestedPriorityLevels()) {
		complete := l.DeepCopy()
		defaultPriorityLevel(complete)
		if !equal(l, complete) {
			t.Errorf("priority level %s lacks defaults", l.Name)
		}
		expectFields(t, validatePriorityLevel(&Write{}, l, nil))
	}
	for _, s := range slices.Concat(mandatoryFlowSchemas(), suggestedFlowSchemas()) {
		expectFields(t, validateFlowSchema(&Write{}, s, nil))
	}
}

func TestMandatoryFlowControlObjectsAreFixed(t *testing.T) {
	level := mandatoryPriorityLevels()[0]
	level.Spec.Exempt.LendablePercent = new(int32(50))
	expectFields(t, validatePriorityLevel(&Write{}, level, nil)) // an administrator may lend what is not used
	level = mandatoryPriorityLevels()[1]
	level.Spec.Limited.NominalConcurrencyShares = new(int32(6))
	expectFields(t, validatePriorityLevel(&Write{}, level, nil), "spec")
	schema := mandatoryFlowSchemas()[1]
	schema.Spec.MatchingPrecedence = 9999
	expectFields(t, validateFlowSchema(&Write{}, schema, nil), "spec")
}

// flowControlCluster is a registry whose flow control objects exist. Its Apply knows the one configuration that is
// applied.
func flowControlCluster(t *testing.T) *Registry {
	t.Helper()
	r := startCluster(t, "10.0.0.0/24")
	r.Apply = func(_ *Write, live Object, config map[string]any, _ string) (Object, error) {
		var applied flowcontrolv1.FlowSchema
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(config, &applied); err != nil {
			return nil, err
		}
		live.(*flowcontrolv1.FlowSchema).Status = applied.Status
		return live, nil
	}
	if err := r.PrepareFlowControl(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *Registry) flowObject(t *testing.T, plural, name string) Object {
	t.Helper()
	entry, err := r.Store(flowcontrolv1.GroupName, plural).Get(context.Background(), store.Key{Name: name}, "")
	if err != nil {
		t.Fatal(err)
	}
	obj, err := entry.Object()
	if err != nil {
		t.Fatal(err)
	}
	return obj
}

func TestSuggestedFlowSchemasCanBeTakenOver(t *testing.T) {
	r := flowControlCluster(t)
	row := r.Resource(flowcontrolv1.GroupName, "flowschemas")
	change := func(name string, change func(*flowcontrolv1.FlowSchema)) {
		t.Helper()
		_, err := r.Update(t.Context(), row, "", store.Key{Name: name}, func(o Object) error {
			change(o.(*flowcontrolv1.FlowSchema))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	change("service-accounts", func(s *flowcontrolv1.FlowSchema) { s.Spec.MatchingPrecedence = 8999 })
	change("kube-scheduler", func(s *flowcontrolv1.FlowSchema) {
		s.Spec.MatchingPrecedence = 799
		s.Annotations[flowcontrolv1.AutoUpdateAnnotationKey] = "false"
	})
	change("system-nodes", func(s *flowcontrolv1.FlowSchema) {
		s.Spec.MatchingPrecedence = 499
		delete(s.Annotations, flowcontrolv1.AutoUpdateAnnotationKey)
	})
	former := newFlowSchema("former", "system", 600, "", allRequests(everybody()))
	if _, err := r.Create(t.Context(), row, former); err != nil {
		t.Fatal(err)
	}
	if err := r.PrepareFlowControl(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		rule, name string
		precedence int32
		annotation string
	}{
		{"what the server keeps is put back", "service-accounts", 9000, "true"},
		{"what an administrator keeps is left", "kube-scheduler", 799, "false"},
		{"what was changed without a word is left, and marked", "system-nodes", 499, "false"},
	} {
		s := r.flowObject(t, "flowschemas", want.name).(*flowcontrolv1.FlowSchema)
		if s.Spec.MatchingPrecedence != want.precedence || s.Annotations[flowcontrolv1.AutoUpdateAnnotationKey] != want.annotation {
			t.Errorf("%s: %s has precedence %d and %v", want.rule, want.name, s.Spec.MatchingPrecedence, s.Annotations)
		}
	}
	if _, err := r.Store(row.Group, row.Plural).Get(t.Context(), store.Key{Name: "former"}, ""); err == nil {
		t.Error("an object of a former release is still there")
	}
}

func TestFlowSchemasSayWhetherTheirLevelExists(t *testing.T) {
	r := flowControlCluster(t)
	dangling := func() flowcontrolv1.FlowSchemaCondition {
		return r.flowObject(t, "flowschemas", "service-accounts").(*flowcontrolv1.FlowSchema).Status.Conditions[0]
	}
	first := dangling()
	if first.Status != flowcontrolv1.ConditionFalse || first.Reason != "Found" {
		t.Errorf("with its level the condition is %+v", first)
	}
	key := store.Key{Name: "workload-low"}
	if err := r.Delete(t.Context(), r.Resource(flowcontrolv1.GroupName, "prioritylevelconfigurations"), key, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.ensureDangling(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := dangling(); c.Status != flowcontrolv1.ConditionTrue || c.Reason != "NotFound" {
		t.Errorf("without its level the condition is %+v", c)
	}
}

func TestSystemPriorityClassesAreValid(t *testing.T) {
	for _, c := range systemPriorityClasses() {
		expectFields(t, validatePriorityClass(&Write{}, c, nil))
		c.Value++
		expectFields(t, validatePriorityClass(&Write{}, c, nil), "metadata.name")
	}
	c := systemPriorityClasses()[0]
	c.ObjectMeta = metav1.ObjectMeta{Name: "system-other"}
	expectFields(t, validatePriorityClass(&Write{}, c, nil), "metadata.name")
}
