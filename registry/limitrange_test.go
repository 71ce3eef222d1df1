package registry

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func memory(amount string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(amount)}
}

func TestContainersInheritLimits(t *testing.T) {
	tests := []struct {
		rule           string
		item           corev1.LimitRangeItem
		limit, request corev1.ResourceList
	}{
		{"the limit is the maximum, the request the limit", corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Max: memory("4Gi"), Min: memory("1Gi")}, memory("4Gi"), memory("4Gi")},
		{"the request is the minimum where there is no limit", corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Min: memory("1Gi")}, corev1.ResourceList{}, memory("1Gi")},
		{"what is said counts", corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Max: memory("4Gi"), Default: memory("2Gi"), DefaultRequest: memory("1Gi")}, memory("2Gi"), memory("1Gi")},
		{"pods inherit nothing", corev1.LimitRangeItem{Type: corev1.LimitTypePod, Max: memory("4Gi")}, nil, nil},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			item := test.item
			defaultLimits(&item)
			if !equal(item.Default, test.limit) || !equal(item.DefaultRequest, test.request) {
				t.Errorf("limit %v, request %v; want %v, %v", item.Default, item.DefaultRequest, test.limit, test.request)
			}
		})
	}
}

func TestLimitsHoldAgainstEachOther(t *testing.T) {
	container := func(change func(*corev1.LimitRangeItem)) corev1.LimitRangeItem {
		l := corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Min: memory("1Gi"), Max: memory("4Gi")}
		change(&l)
		return l
	}
	tests := []struct {
		rule   string
		item   corev1.LimitRangeItem
		detail []string
	}{
		{"the minimum is below the maximum", container(func(l *corev1.LimitRangeItem) { l.Min = memory("5Gi") }), []string{"min value 5Gi is greater than max value 4Gi"}},
		{"a default lies between them", container(func(l *corev1.LimitRangeItem) { l.Default = memory("512Mi") }), []string{"min value 1Gi is greater than default value 512Mi"}},
		{"a request is not above its limit", container(func(l *corev1.LimitRangeItem) { l.Default, l.DefaultRequest = memory("2Gi"), memory("3Gi") }),
			[]string{"default request value 3Gi is greater than default limit value 2Gi"}},
		{"a ratio is at least one", container(func(l *corev1.LimitRangeItem) { l.MaxLimitRequestRatio = memory("500m") }), []string{"ratio 500m is less than 1"}},
		{"a ratio can be reached", container(func(l *corev1.LimitRangeItem) { l.MaxLimitRequestRatio = memory("5") }), []string{"ratio 5 is greater than max/min = 4.000000"}},
		{"huge pages are not overcommitted", corev1.LimitRangeItem{Type: corev1.LimitTypeContainer,
			Default:        corev1.ResourceList{"hugepages-2Mi": resource.MustParse("4Mi")},
			DefaultRequest: corev1.ResourceList{"hugepages-2Mi": resource.MustParse("2Mi")}},
			[]string{"default value 4Mi must equal to defaultRequest value 2Mi in hugepages-2Mi"}},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			var got []string
			for _, err := range validateLimits(&test.item, nil) {
				got = append(got, err.Detail)
			}
			if d := cmp.Diff(test.detail, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}
