package nodeagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/tools/cache"
)

// register makes the nodes known, or brings what is known of them up to date.
func (a *Agent) register(ctx context.Context) error {
	errs := make([]error, len(a.Nodes))
	var all sync.WaitGroup
	for i, name := range a.Nodes {
		if !a.say(ctx) {
			break
		}
		all.Go(func() {
			defer a.said()
			errs[i] = a.registerNode(ctx, name)
		})
	}
	all.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}

func (a *Agent) registerNode(ctx context.Context, name string) error {
	nodes := a.Client.CoreV1().Nodes()
	a.nodeEvent(name, corev1.EventTypeNormal, "Starting", "Starting kubelet.")
	want := a.node(ctx, name)
	made, err := nodes.Create(ctx, want, metav1.CreateOptions{})
	if err == nil {
		a.uids.Store(name, made.UID)
		a.nodeEvent(name, corev1.EventTypeNormal, "NodeReady", fmt.Sprintf("Node %s status is now: NodeReady", name))
		return nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("register node %s: %w", name, err)
	}
	known, err := nodes.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if labelled := known.DeepCopy(); overlay(&labelled.Labels, want.Labels) || overlay(&labelled.Annotations, want.Annotations) {
		if known, err = nodes.Update(ctx, labelled, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	if before := known.Status.NodeInfo.BootID; before != "" && before != want.Status.NodeInfo.BootID {
		a.nodeEvent(name, corev1.EventTypeWarning, "Rebooted", fmt.Sprintf("Node %s has been rebooted, boot id: %s", name, want.Status.NodeInfo.BootID))
	}
	a.uids.Store(name, known.UID)
	return a.patchNode(ctx, known, want.Status)
}

// overlay adds to a map what is missing or different, and reports whether anything was.
func overlay(m *map[string]string, with map[string]string) (changed bool) {
	if *m == nil {
		*m = map[string]string{}
	}
	before := maps.Clone(*m)
	maps.Copy(*m, with)
	return !maps.Equal(before, *m)
}

// patchNode changes what a node's status says.
func (a *Agent) patchNode(ctx context.Context, known *corev1.Node, status corev1.NodeStatus) error {
	status = mergeStatus(&known.Status, status)
	if becameReady(&known.Status, &status) {
		a.nodeEvent(known.Name, corev1.EventTypeNormal, "NodeReady", fmt.Sprintf("Node %s status is now: NodeReady", known.Name))
	}
	if equality.Semantic.DeepEqual(known.Status, status) {
		return nil
	}
	before, err := json.Marshal(&corev1.Node{Status: known.Status})
	if err != nil {
		return err
	}
	after, err := json.Marshal(&corev1.Node{ObjectMeta: metav1.ObjectMeta{UID: known.UID}, Status: status})
	if err != nil {
		return err
	}
	body, err := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Node{})
	if err != nil {
		return err
	}
	_, err = a.Client.CoreV1().Nodes().Patch(ctx, known.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{}, "status")
	return err
}

// nodeEvent tells people what happened to a node.
func (a *Agent) nodeEvent(name, kind, reason, message string) {
	a.recorders[name].Event(&corev1.ObjectReference{Kind: "Node", Name: name, UID: types.UID(name)}, kind, reason, message)
}

// refresh writes a node's status again, with the time at which it was true.
func (a *Agent) refresh(ctx context.Context, name string) {
	known, err := a.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		a.nodeGone(ctx, name)
		return
	case err == nil:
		err = a.patchNode(ctx, known, a.node(ctx, name).Status)
	}
	if err != nil && ctx.Err() == nil {
		a.Log.Warn("write the status of a node", "node", name, "err", err)
	}
}

// returnAfter is how long a node stays away that somebody has deleted. Until then its pods have been ended by the pod
// garbage collector, which waits 40 s and looks every 20: what comes back is empty, as a machine that joins anew.
const returnAfter = 90 * time.Second

// nodeGone has a node that was deleted under its agent registered again, after a while. (Upstream's kubelet does so when it
// is started again, for which there is usually somebody; here there would be nobody.)
func (a *Agent) nodeGone(ctx context.Context, name string) {
	if _, away := a.away.LoadOrStore(name, true); away || ctx.Err() != nil {
		return
	}
	a.Log.Info("a node was deleted; it registers again", "node", name, "after", returnAfter)
	a.Clock.AfterFunc(returnAfter, func() {
		a.away.Delete(name)
		if !a.say(ctx) {
			return
		}
		err := a.registerNode(ctx, name)
		a.said()
		if err != nil && ctx.Err() == nil {
			a.Log.Warn("register a node again", "node", name, "err", err)
			a.nodeGone(ctx, name)
		}
	})
}

// followNodes learns which of the nodes are deleted.
func (a *Agent) followNodes(ctx context.Context, nodes cache.SharedIndexInformer) (remove func(), err error) {
	handle, err := nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: func(o any) {
		if last, unknown := o.(cache.DeletedFinalStateUnknown); unknown {
			o = last.Obj
		}
		if node := o.(*corev1.Node); a.recorders[node.Name] != nil {
			a.nodeGone(ctx, node.Name)
		}
	}})
	if err != nil {
		return nil, err
	}
	return func() { nodes.RemoveEventHandler(handle) }, nil
}
