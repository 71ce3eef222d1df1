package registry

import (
	"testing"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestDeviceRequestReferences(t *testing.T) {
	names := deviceRequestNames{"gpu": nil, "nic": {"fast", "slow"}}
	at := field.NewPath("r")
	for _, c := range []struct {
		rule, reference string
		errors          int
	}{
		{"a request", "gpu", 0},
		{"a request with alternatives, meaning any", "nic", 0},
		{"one of its alternatives", "nic/fast", 0},
		{"an alternative that is not there", "nic/none", 1},
		{"an alternative of a request without any", "gpu/fast", 1},
		{"too deep", "nic/fast/x", 1},
		{"no name at all: neither well formed nor known", "X", 2},
	} {
		if errs := names.validateReference(c.reference, at); len(errs) != c.errors {
			t.Errorf("%s: %v, want %d errors", c.rule, errs.ToAggregate(), c.errors)
		}
	}
}

func TestRequestRangesOfSharedDevices(t *testing.T) {
	q := func(s string) *resource.Quantity { v := resource.MustParse(s); return &v }
	at := field.NewPath("r")
	for _, c := range []struct {
		rule     string
		r        resourcev1.CapacityRequestPolicyRange
		standard string
		want     []string
	}{
		{"the default lies in the range, some steps from its beginning", resourcev1.CapacityRequestPolicyRange{Min: q("2"), Max: q("8"), Step: q("2")}, "4", nil},
		{"a range begins somewhere", resourcev1.CapacityRequestPolicyRange{Max: q("8")}, "4", []string{"r.min"}},
		{"and ends within the capacity", resourcev1.CapacityRequestPolicyRange{Min: q("2"), Max: q("20")}, "4", []string{"r.max"}},
		{"default below the range", resourcev1.CapacityRequestPolicyRange{Min: q("5")}, "4", []string{"r.min"}},
		{"default and end between two steps", resourcev1.CapacityRequestPolicyRange{Min: q("2"), Max: q("8"), Step: q("4")}, "4", []string{"r.step", "r.step"}},
		{"the first step leaves the capacity", resourcev1.CapacityRequestPolicyRange{Min: q("2"), Step: q("9")}, "2", []string{"r.step"}},
	} {
		wantFields(t, c.rule, validateRequestRange(&c.r, resource.MustParse(c.standard), resource.MustParse("10"), at), c.want...)
	}
}

func TestLongKeysAreShownShortened(t *testing.T) {
	if got := shortened("abcdefghijklmnopqrstuvwxyz", 16); got != "abcdefg...uvwxyz" {
		t.Error(got)
	}
}
