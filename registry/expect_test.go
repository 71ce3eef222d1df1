package registry

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// expectFields wants errors about these fields, in any order, and no others.
func expectFields(t *testing.T, errs field.ErrorList, fields ...string) {
	t.Helper()
	var got []string
	for _, err := range errs {
		got = append(got, err.Field)
	}
	slices.Sort(got)
	slices.Sort(fields)
	if d := cmp.Diff(fields, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("fields with errors (-want +got):\n%s%v", d, errs.ToAggregate())
	}
}
