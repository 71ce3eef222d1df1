package controllers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

func statefulSetOf(size int32, change ...func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "db", UID: "set"}}
	set.Spec.Replicas, set.Spec.Selector = &size, &metav1.LabelSelector{}
	set.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType,
		RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](0)}}
	for _, c := range change {
		c(set)
	}
	return set
}

// memberPods reads pods from words: an ordinal, and for what they are like r (ready), o (of the old revision), g (going) or
// f (failed); those that are none of it are pending and of the new revision.
func memberPods(words string) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, word := range strings.Fields(words) {
		ordinal := strings.TrimRight(word, "rogf")
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "db-" + ordinal, UID: types.UID(word)}, Status: corev1.PodStatus{Phase: corev1.PodPending}}
		setEntry(&p.Labels, appsv1.StatefulSetRevisionLabel, "new")
		for _, c := range word[len(ordinal):] {
			switch c {
			case 'r':
				p.Status.Phase = corev1.PodRunning
				p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Time{Time: jobNoon().Add(-time.Minute)}}}
			case 'o':
				p.Labels[appsv1.StatefulSetRevisionLabel] = "old"
			case 'g':
				p.DeletionTimestamp = &metav1.Time{Time: jobNoon()}
			case 'f':
				p.Status.Phase = corev1.PodFailed
			}
		}
		pods = append(pods, p)
	}
	return pods
}

func TestStatefulSetPlan(t *testing.T) {
	parallel := func(s *appsv1.StatefulSet) { s.Spec.PodManagementPolicy = appsv1.ParallelPodManagement }
	onDelete := func(s *appsv1.StatefulSet) {
		s.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
	}
	partition := func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.RollingUpdate.Partition = ptr.To[int32](1) }
	fromTwo := func(s *appsv1.StatefulSet) { s.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 2} }
	slow := func(s *appsv1.StatefulSet) { s.Spec.MinReadySeconds = 61 }
	for rule, test := range map[string]struct {
		set        *appsv1.StatefulSet
		pods, want string
	}{
		"one after the other":                    {statefulSetOf(3), "", "create 0 new"},
		"when the one before is ready":           {statefulSetOf(3), "0r", "create 1 new"},
		"and not before":                         {statefulSetOf(3), "0", ""},
		"nor when it is not ready for long":      {statefulSetOf(3, slow), "0r", ""},
		"nor when it is going":                   {statefulSetOf(3), "0rg", ""},
		"all at once in parallel":                {statefulSetOf(3, parallel), "1", "create 0 new, create 2 new"},
		"what has ended is made anew":            {statefulSetOf(3), "0f 1r", "delete 0"},
		"ordinals may begin later":               {statefulSetOf(2, fromTwo), "0r 2r 3r", "delete 0"},
		"from above when too many":               {statefulSetOf(1), "0r 1r 2r", "delete 2"},
		"one at a time":                          {statefulSetOf(1), "0r 1r 2rg", ""},
		"not while another is unavailable":       {statefulSetOf(1), "0r 1 2", ""},
		"but the one that is unavailable itself": {statefulSetOf(1), "0r 1r 2", "delete 2"},
		"in parallel all that are too many":      {statefulSetOf(1, parallel), "0r 1 2r", "delete 2, delete 1"},
		"an update goes from above":              {statefulSetOf(3), "0ro 1ro 2ro", "delete 2"},
		"and waits for what it made":             {statefulSetOf(3, parallel), "0ro 1ro 2", ""},
		"and goes on":                            {statefulSetOf(3), "0ro 1ro 2r", "delete 1"},
		"down to the partition":                  {statefulSetOf(3, partition), "0ro 1r 2r", ""},
		"below which pods stay what they were":   {statefulSetOf(3, partition), "1r 2r", "create 0 old"},
		"or waits for pods to be deleted":        {statefulSetOf(2, onDelete), "0ro 1ro", ""},
	} {
		t.Run(rule, func(t *testing.T) {
			revision := func(name string) *appsv1.ControllerRevision {
				return &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: name}}
			}
			v := viewSet(test.set, revision("old"), revision("new"), &corev1.PodTemplateSpec{}, memberPods(test.pods), jobNoon())
			var got []string
			for _, steps := range v.plan() {
				for _, s := range steps {
					switch s.do {
					case setCreates:
						got = append(got, fmt.Sprint("create ", ordinalOf(s.pod), " ", s.pod.Labels[appsv1.StatefulSetRevisionLabel]))
					case setDeletes:
						got = append(got, fmt.Sprint("delete ", ordinalOf(s.pod)))
					}
				}
			}
			if got := strings.Join(got, ", "); got != test.want {
				t.Errorf("%q, not %q", got, test.want)
			}
		})
	}
}

func TestClaimsAreOwnedByWhatTheyGoWith(t *testing.T) {
	keep, drop := appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	reference := func(kind, name, uid string, controls bool) metav1.OwnerReference {
		version := map[string]string{"Pod": "v1", "StatefulSet": "apps/v1"}[kind]
		return metav1.OwnerReference{APIVersion: version, Kind: kind, Name: name, UID: types.UID(uid), Controller: &controls}
	}
	for rule, test := range map[string]struct {
		deleted, scaled appsv1.PersistentVolumeClaimRetentionPolicyType
		pod             string
		has             []metav1.OwnerReference
		want            string
	}{
		"nobody's when retained":                 {keep, keep, "0r", []metav1.OwnerReference{reference("StatefulSet", "db", "set", true)}, ""},
		"the set's when deleted with it":         {drop, keep, "0r", nil, "StatefulSet"},
		"and of a pod that is scaled away":       {drop, keep, "5r", nil, "StatefulSet"},
		"the pod's when scaled away":             {drop, drop, "5r", []metav1.OwnerReference{reference("StatefulSet", "db", "set", true)}, "Pod"},
		"not before":                             {keep, drop, "0r", []metav1.OwnerReference{reference("Pod", "db-0", "0r", true)}, ""},
		"left alone when of a pod that is gone":  {keep, drop, "5r", []metav1.OwnerReference{reference("Pod", "db-5", "former", true)}, "Pod"},
		"another controller's":                   {drop, keep, "0r", []metav1.OwnerReference{reference("X", "x", "x", true), reference("StatefulSet", "db", "set", true)}, "X"},
		"other owners stay beside":               {drop, keep, "0r", []metav1.OwnerReference{reference("X", "x", "x", false)}, "X StatefulSet"},
		"another controller's may be deleted by": {keep, keep, "0r", []metav1.OwnerReference{reference("X", "x", "x", true)}, "X"},
	} {
		t.Run(rule, func(t *testing.T) {
			set := statefulSetOf(1)
			set.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: test.deleted, WhenScaled: test.scaled}
			owners, _ := claimOwners(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{OwnerReferences: test.has}}, set, memberPods(test.pod)[0])
			var kinds []string
			for _, o := range owners {
				kinds = append(kinds, o.Kind)
			}
			if got := strings.Join(kinds, " "); got != test.want {
				t.Errorf("%q, not %q", got, test.want)
			}
		})
	}
}

func TestRevisionKeepsTheTemplate(t *testing.T) {
	template := &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
	data, err := revisionData(template)
	if err != nil {
		t.Fatal(err)
	}
	r := makeRevision(statefulSetOf(1), metav1.OwnerReference{}, nil, data, 1, 0)
	back, err := revisionTemplate(r)
	if err != nil || back.Labels["a"] != "b" || back.Spec.Containers[0].Name != "c" {
		t.Error(back, err)
	}
	if !strings.HasPrefix(r.Name, "db-") || r.Name == makeRevision(statefulSetOf(1), metav1.OwnerReference{}, nil, data, 1, 1).Name {
		t.Error("a collision is to lead to another name than", r.Name)
	}
	r.Data.Raw = []byte(strings.Replace(string(data), `"metadata":{`, `"metadata":{"creationTimestamp":null,`, 1))
	if !keepsTemplate(r, data) {
		t.Error("what is written otherwise is the same template")
	}
}
