package controllers

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// noon is when the plans of the tests are made.
func noon() time.Time { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) }

// deploymentWith is a deployment of a size with the template "current".
func deploymentWith(size int32, surge, unavailable string) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	up, down := intstr.Parse(surge), intstr.Parse(unavailable)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "n", UID: "d", Generation: 1},
		Spec: appsv1.DeploymentSpec{Replicas: &size, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: templateNamed("current"),
			RevisionHistoryLimit: ptr.To[int32](1), ProgressDeadlineSeconds: ptr.To[int32](600),
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &up, MaxUnavailable: &down}}},
	}
}

func templateNamed(image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}}}
}

// setWith is a ReplicaSet of the deployment, older the lower its revision, that was sized last when the deployment had
// desired pods and no surge.
func setWith(image string, revision, size, available, desired int32) *appsv1.ReplicaSet {
	template := templateNamed(image)
	template.Labels["pod-template-hash"] = image
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: image, UID: types.UID(image), CreationTimestamp: metav1.Time{Time: noon().Add(time.Duration(revision-100) * time.Minute)},
			Annotations: map[string]string{revisionAnnotation: fmt.Sprint(revision), desiredAnnotation: fmt.Sprint(desired), maximumAnnotation: fmt.Sprint(desired)}},
		Spec: appsv1.ReplicaSetSpec{Replicas: &size, Template: template},
		Status: appsv1.ReplicaSetStatus{Replicas: size, ReadyReplicas: available, AvailableReplicas: available,
			TerminatingReplicas: ptr.To[int32](0), ObservedGeneration: 1},
	}
}

// told is a plan as text.
func (o *rollout) told() []string {
	var lines []string
	for _, s := range o.steps {
		name, _, _ := strings.Cut(s.set.Name, "-")
		switch {
		case s.do == setDelete:
			lines = append(lines, "delete "+name)
		case s.do == setUpdate && s.from == sizeOf(s.set):
			lines = append(lines, "annotate "+name)
		default:
			lines = append(lines, fmt.Sprintf("%s %s %d to %d", s.do, name, s.from, sizeOf(s.set)))
		}
	}
	return lines
}

func TestDeploymentSteps(t *testing.T) {
	paused := func(d *appsv1.Deployment) *appsv1.Deployment { d.Spec.Paused = true; return d }
	complete := func(d *appsv1.Deployment) *appsv1.Deployment {
		n := *d.Spec.Replicas
		d.Status = appsv1.DeploymentStatus{Replicas: n, UpdatedReplicas: n, AvailableReplicas: n, ObservedGeneration: 1}
		return d
	}
	recreate := func(d *appsv1.Deployment) *appsv1.Deployment {
		d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
		return d
	}
	shrinking := func(rs *appsv1.ReplicaSet, has int32) *appsv1.ReplicaSet { rs.Status.Replicas = has; return rs }
	for name, c := range map[string]struct {
		d       *appsv1.Deployment
		sets    []*appsv1.ReplicaSet
		running map[types.UID]int
		want    []string
	}{
		"the first one gets all pods at once": {
			d: deploymentWith(4, "25%", "25%"), want: []string{"create web 0 to 4"}},
		"a new template begins with the surge, and old pods that may be missed go at once": {
			d: deploymentWith(4, "25%", "25%"), sets: []*appsv1.ReplicaSet{setWith("old", 1, 4, 4, 4)}, want: []string{"create web 0 to 1", "update old 4 to 3"}},
		"without a surge old ones go first": {
			d: deploymentWith(4, "0", "1"), sets: []*appsv1.ReplicaSet{setWith("old", 1, 4, 4, 4)}, want: []string{"create web 0 to 0", "update old 4 to 3"}},
		"percentages that both come to nothing let one pod be missed": {
			d: deploymentWith(2, "0%", "1%"), sets: []*appsv1.ReplicaSet{setWith("old", 1, 2, 2, 2), setWith("current", 2, 0, 0, 2)}, want: []string{"update old 2 to 1"}},
		"the current one grows before old ones shrink": {
			d: deploymentWith(10, "3", "2"), sets: []*appsv1.ReplicaSet{setWith("old", 1, 8, 8, 10), setWith("current", 2, 3, 3, 10)}, want: []string{"update current 3 to 5"}},
		"pods of the current one that are not available hold up the old ones": {
			d: deploymentWith(10, "3", "2"), sets: []*appsv1.ReplicaSet{setWith("old", 1, 8, 7, 10), setWith("current", 2, 5, 0, 10)}, want: nil},
		"old pods that help nobody go first, whatever their revision": {
			d:    deploymentWith(10, "3", "2"),
			sets: []*appsv1.ReplicaSet{setWith("old", 1, 4, 4, 10), setWith("sick", 2, 4, 0, 10), setWith("current", 3, 5, 5, 10)},
			want: []string{"update sick 4 to 0", "update old 4 to 3"}},
		"what a ReplicaSet is about to lose is not counted on": {
			d: deploymentWith(6, "2", "1"), sets: []*appsv1.ReplicaSet{setWith("old", 1, 5, 6, 6), setWith("current", 2, 2, 2, 6)}, want: []string{"update current 2 to 3"}},
		"what a ReplicaSet has not lost yet leaves no room": {
			d: deploymentWith(6, "2", "1"), sets: []*appsv1.ReplicaSet{shrinking(setWith("old", 1, 5, 6, 6), 6), setWith("current", 2, 2, 2, 6)}, want: []string{"update old 5 to 3"}},
		"nor when nothing can grow": {
			d: deploymentWith(6, "2", "1"), sets: []*appsv1.ReplicaSet{setWith("old", 1, 3, 5, 6), setWith("current", 2, 5, 3, 6)}, want: []string{"update old 3 to 2"}},
		"one that is too large shrinks": {
			d: deploymentWith(3, "1", "1"), sets: []*appsv1.ReplicaSet{setWith("current", 1, 5, 5, 3)}, want: []string{"update current 5 to 3"}},
		"a size that was changed is given to the only one": {
			d: deploymentWith(7, "1", "1"), sets: []*appsv1.ReplicaSet{setWith("current", 1, 5, 5, 5)}, want: []string{"update current 5 to 7"}},
		"in the middle of a rollout all grow in proportion": {
			d: deploymentWith(20, "0", "1"), sets: []*appsv1.ReplicaSet{setWith("old", 1, 8, 8, 10), setWith("current", 2, 2, 2, 10)},
			want: []string{"update old 8 to 16", "update current 2 to 4"}},
		"to none all shrink": {
			d: deploymentWith(0, "1", "1"), sets: []*appsv1.ReplicaSet{setWith("old", 1, 8, 8, 10), setWith("current", 2, 2, 2, 10)},
			want: []string{"update old 8 to 0", "update current 2 to 0"}},
		"one whose share is as it was learns the new size": {
			d: deploymentWith(10, "1", "1"), sets: []*appsv1.ReplicaSet{setWith("old", 1, 10, 10, 11), setWith("current", 2, 1, 1, 11)},
			want: []string{"annotate old", "annotate current"}},
		"a saturated one leaves nothing to the others": {
			d: deploymentWith(5, "1", "1"), sets: []*appsv1.ReplicaSet{setWith("old", 1, 3, 3, 4), setWith("current", 2, 5, 5, 5)}, want: []string{"update old 3 to 0"}},
		"paused: a new template waits": {
			d: paused(deploymentWith(4, "1", "1")), sets: []*appsv1.ReplicaSet{setWith("old", 1, 4, 4, 4)}, want: nil},
		"paused: a size does not": {
			d: paused(deploymentWith(6, "1", "1")), sets: []*appsv1.ReplicaSet{setWith("old", 1, 4, 4, 4)}, want: []string{"update old 4 to 6"}},
		"recreate: old ones go first": {
			d: recreate(deploymentWith(3, "0", "0")), sets: []*appsv1.ReplicaSet{setWith("old", 1, 3, 3, 3)}, want: []string{"update old 3 to 0"}},
		"recreate: pods that still end are waited for": {
			d: recreate(deploymentWith(3, "0", "0")), sets: []*appsv1.ReplicaSet{setWith("old", 1, 0, 0, 3)}, running: map[types.UID]int{"old": 1}, want: nil},
		"recreate: then all at once": {
			d: recreate(deploymentWith(3, "0", "0")), sets: []*appsv1.ReplicaSet{setWith("old", 1, 0, 0, 3)}, want: []string{"create web 0 to 3"}},
		"history goes when the rollout is complete, and pods are never in it": {
			d:    complete(deploymentWith(3, "1", "1")),
			sets: []*appsv1.ReplicaSet{setWith("a", 1, 0, 0, 3), setWith("b", 2, 0, 0, 3), setWith("c", 3, 0, 0, 3), setWith("current", 4, 3, 3, 3)},
			want: []string{"delete a", "delete b"}},
		"going back makes an old one the current one, with a new revision": {
			d: deploymentWith(3, "1", "0"), sets: []*appsv1.ReplicaSet{setWith("current", 1, 0, 0, 3), setWith("later", 2, 3, 3, 3)}, want: []string{"update current 0 to 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			plan := planDeployment(c.d, c.sets, c.running, noon())
			if diff := cmp.Diff(c.want, plan.told()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestProportions scales rollouts of any shape: none has less than nothing, and all have what is allowed together, save where
// rounding up many small ones is more than the largest can give.
func TestProportions(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		d := deploymentWith(random.Int32N(50), fmt.Sprint(random.Int32N(5)), "1")
		var sets []*appsv1.ReplicaSet
		for i := range 2 + random.Int32N(4) {
			sets = append(sets, setWith(fmt.Sprint("s", i), i, 1+random.Int32N(50), 0, 0))
		}
		for _, rs := range sets {
			rs.Annotations[maximumAnnotation] = fmt.Sprint(sum(sets, sizeOf))
		}
		surge, _ := deploymentLimits(d)
		allowed := *d.Spec.Replicas + surge
		if *d.Spec.Replicas == 0 {
			allowed = 0
		}
		sorted, sizes := proportions(d, sets)
		total := int32(0)
		for i, size := range sizes {
			total += size
			if size < 0 || i > 0 && sizeOf(sorted[i-1]) < sizeOf(sorted[i]) {
				t.Fatalf("sizes %v", sizes)
			}
		}
		if total != allowed && sizes[0] > 0 {
			t.Fatalf("sizes %v are %d together, allowed are %d", sizes, total, allowed)
		}
	}
}

func TestDeploymentRevisions(t *testing.T) {
	d := deploymentWith(3, "1", "0")
	d.Annotations = map[string]string{"kubernetes.io/change-cause": "back", corev1.LastAppliedConfigAnnotation: "{}"}
	plan := planDeployment(d, []*appsv1.ReplicaSet{setWith("current", 1, 3, 3, 3), setWith("later", 2, 0, 0, 3)}, nil, noon())
	want := map[string]string{revisionAnnotation: "3", historyAnnotation: "1", "kubernetes.io/change-cause": "back", desiredAnnotation: "3", maximumAnnotation: "3"}
	if diff := cmp.Diff(want, plan.current.Annotations); diff != "" {
		t.Error(diff)
	}
	if plan.d.Annotations[revisionAnnotation] != "3" {
		t.Error("the deployment does not show its revision")
	}
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{historyAnnotation: strings.Repeat("7777,", 399) + "7777"}}}
	rememberRevision(rs, "8888")
	if got := rs.Annotations[historyAnnotation]; len(got) > longestHistory || !strings.HasSuffix(got, ",7777,8888") {
		t.Errorf("a long history of %d characters ends in %q", len(got), got[len(got)-12:])
	}
}

func TestTemplateHash(t *testing.T) {
	template := templateNamed("x")
	plain, salted := templateHash(&template, nil), templateHash(&template, ptr.To[int32](1))
	if plain == salted {
		t.Error("a collision does not change the hash")
	}
	if again := templateNamed("x"); templateHash(&again, nil) != plain {
		t.Error("the hash depends on more than the template")
	}
}

func TestDeploymentRollback(t *testing.T) {
	for name, c := range map[string]struct {
		to    string
		image string
		event string
	}{
		"to a revision":           {"1", "first", `Rolled back deployment "web" to revision 1`},
		"to the one before":       {"0", "second", `Rolled back deployment "web" to revision 2`},
		"to what it is already":   {"3", "current", `The rollback revision contains the same template as current deployment "web"`},
		"to what there never was": {"9", "current", "Unable to find the revision to rollback to."},
	} {
		t.Run(name, func(t *testing.T) {
			d := deploymentWith(3, "1", "0")
			d.Annotations = map[string]string{appsv1.DeprecatedRollbackTo: c.to}
			plan := planDeployment(d, []*appsv1.ReplicaSet{setWith("first", 1, 0, 0, 3), setWith("second", 2, 0, 0, 3), setWith("current", 3, 3, 3, 3)}, nil, noon())
			_, still := plan.d.Annotations[appsv1.DeprecatedRollbackTo]
			got := []any{plan.respecified, still, plan.d.Spec.Template.Spec.Containers[0].Image, plan.d.Spec.Template.Labels, plan.events[0].message}
			if diff := cmp.Diff([]any{true, false, c.image, map[string]string{"app": "web"}, c.event}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDeploymentProgress(t *testing.T) {
	progressing := func(reason string, status corev1.ConditionStatus, ago time.Duration) appsv1.DeploymentCondition {
		at := metav1.Time{Time: noon().Add(-ago)}
		return appsv1.DeploymentCondition{Type: appsv1.DeploymentProgressing, Status: status, Reason: reason, LastUpdateTime: at, LastTransitionTime: at}
	}
	for name, c := range map[string]struct {
		before    appsv1.DeploymentCondition
		counted   int32 // available pods that the status has
		available int32 // pods that are available
		want      string
		updated   time.Duration
	}{
		"a step starts the clock anew":               {progressing("ReplicaSetUpdated", "True", time.Hour), 1, 2, "True ReplicaSetUpdated", 0},
		"no step lets it run":                        {progressing("ReplicaSetUpdated", "True", time.Minute), 1, 1, "True ReplicaSetUpdated", time.Minute},
		"until the deadline":                         {progressing("ReplicaSetUpdated", "True", time.Hour), 1, 1, "False ProgressDeadlineExceeded", 0},
		"which is told once":                         {progressing("ProgressDeadlineExceeded", "False", time.Hour), 1, 1, "False ProgressDeadlineExceeded", time.Hour},
		"all available is complete":                  {progressing("ProgressDeadlineExceeded", "False", time.Hour), 1, 3, "True NewReplicaSetAvailable", 0},
		"pods that come and go later are no rollout": {progressing("NewReplicaSetAvailable", "True", time.Hour), 3, 1, "True NewReplicaSetAvailable", time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			d := deploymentWith(3, "1", "0")
			d.Status = appsv1.DeploymentStatus{Replicas: 3, UpdatedReplicas: 3, ReadyReplicas: c.counted, AvailableReplicas: c.counted, Conditions: []appsv1.DeploymentCondition{c.before}}
			plan := planDeployment(d, []*appsv1.ReplicaSet{setWith("current", 1, 3, c.available, 3)}, nil, noon())
			got := deploymentCondition(plan.d, appsv1.DeploymentProgressing)
			if diff := cmp.Diff([]any{c.want, c.updated}, []any{fmt.Sprintf("%s %s", got.Status, got.Reason), noon().Sub(got.LastUpdateTime.Time)}); diff != "" {
				t.Error(diff)
			}
		})
	}
}
