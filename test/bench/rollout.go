package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/utils/ptr"
)

// rollouts measures a Deployment of 1,000 pods over 100 simulated nodes, from its creation until all are Running, and the
// deletion of its namespace, until it is gone: the median of a few.
func rollouts(ctx context.Context, top string, s sizes, _, knarr results) error {
	if knarr == nil {
		return nil
	}
	c, _, err := startCluster(ctx, top, s.rolloutNodes)
	if err != nil {
		return err
	}
	defer c.end()
	var up, down, spent []float64
	for range s.rollouts {
		before := c.processor()
		took, err := c.runPods(ctx, "rollout", s.rolloutPods, 1, 5*time.Millisecond)
		if err != nil {
			return err
		}
		up, spent = append(up, took.Seconds()), append(spent, 1000*(c.processor()-before).Seconds()/float64(s.rolloutPods))
		if took, err = c.removeNamespace(ctx, "rollout"); err != nil {
			return err
		}
		down = append(down, took.Seconds())
	}
	knarr.set("1,000 pods on 100 nodes: Running", median(up))
	knarr.set("1,000 pods on 100 nodes: CPU a pod", median(spent))
	knarr.set("1,000 pods on 100 nodes: deleted", median(down))
	return nil
}

// crowd measures 50,000 pods of 50 Deployments on 1,000 simulated nodes.
func crowd(ctx context.Context, top string, s sizes, _, knarr results) error {
	if knarr == nil || s.crowdPods == 0 {
		return nil
	}
	c, _, err := startCluster(ctx, top, s.crowdNodes)
	if err != nil {
		return err
	}
	defer c.end()
	const deployments = 50
	before := c.processor()
	took, err := c.runPods(ctx, "crowd", s.crowdPods/deployments, deployments, 100*time.Millisecond)
	if err != nil {
		return err
	}
	pods := float64(s.crowdPods / deployments * deployments)
	knarr.set("50,000 pods on 1,000 nodes: Running", pods/took.Seconds())
	knarr.set("50,000 pods on 1,000 nodes: CPU a pod", 1000*(c.processor()-before).Seconds()/pods)
	_, peak := c.memory()
	if err := c.restful(ctx); err != nil {
		return err
	}
	knarr.set("50,000 pods on 1,000 nodes: memory", c.private())
	knarr.set("50,000 pods on 1,000 nodes: peak", peak)
	return nil
}

// restful waits until next to nothing is done any more: events are written for a while after what they tell of. What all that
// work has left in memory is given back seconds later.
func (c *cluster) restful(ctx context.Context) error {
	const look = 2 * time.Second
	before := time.Duration(-1) // not known yet
	err := await(ctx, 3*time.Minute, look, func() (bool, error) {
		since := before
		before = c.processor()
		return since >= 0 && before-since < look/5, nil
	})
	calmDown()
	return err
}

// runPods creates a number of Deployments of so many pods each, in a namespace of their own, and returns the time until
// all pods are Running.
func (c *cluster) runPods(ctx context.Context, in string, pods, deployments int, poll time.Duration) (time.Duration, error) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: in}}
	if _, err := c.client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		return 0, err
	}
	start := time.Now()
	for i := range deployments {
		if _, err := c.client.AppsV1().Deployments(in).Create(ctx, deployment(fmt.Sprintf("d-%d", i), pods), metav1.CreateOptions{}); err != nil {
			return 0, err
		}
	}
	err := await(ctx, 10*time.Minute, poll, func() (bool, error) { return c.allRunning(ctx, in, pods*deployments) })
	return time.Since(start), err
}

// allRunning looks at one pod of those that there are, and one of those that do not run, so that looking costs nothing.
func (c *cluster) allRunning(ctx context.Context, in string, n int) (bool, error) {
	all, err := c.client.CoreV1().Pods(in).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil || int64(len(all.Items))+ptr.Deref(all.RemainingItemCount, 0) != int64(n) {
		return false, err
	}
	waiting, err := c.client.CoreV1().Pods(in).List(ctx, metav1.ListOptions{Limit: 1,
		FieldSelector: fields.OneTermNotEqualSelector("status.phase", string(corev1.PodRunning)).String()})
	return err == nil && len(waiting.Items) == 0, err
}

// removeNamespace deletes a namespace and returns the time until it is gone.
func (c *cluster) removeNamespace(ctx context.Context, name string) (time.Duration, error) {
	start := time.Now()
	if err := c.client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return 0, err
	}
	err := await(ctx, 5*time.Minute, 5*time.Millisecond, func() (bool, error) {
		_, err := c.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
	return time.Since(start), err
}

// deployment is one as people write them, with a container that asks for little.
func deployment(name string, pods int) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To(int32(pods)), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "c", Image: "registry.k8s.io/pause:3.10", Resources: little()}}}}}}
}

func median(of []float64) float64 {
	if len(of) == 0 {
		panic(errors.New("the median of nothing"))
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}
