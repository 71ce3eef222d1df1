package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
)

// Config is what an agent is given.
type Config struct {
	// Nodes are the names of those that this agent is: one, or all of a fleet.
	Nodes   []string
	Client  kubernetes.Interface
	Runtime Runtime
	Prober  Prober
	Hooks   Hooks
	Logs    Logs
	Streams Streams
	// Events makes the recorder of a node.
	Events func(node string) record.EventRecorder
	Clock  clock.WithTickerAndDelayedExecution
	Log    *slog.Logger
	// Informers of all pods and nodes that others have already; nil: the agent has its own, of what is on its nodes.
	Informers informers.SharedInformerFactory
	// Addresses are those of a node, best first.
	Addresses func(node string) []corev1.NodeAddress
	// Who finds out who asks something of the kubelet API; nil for nobody.
	Who func(*http.Request) (*authenticationv1.UserInfo, error)
	// Port is where the kubelet API listens; zero is told to nobody.
	Port int
	// Capacity is what each node has.
	Capacity corev1.ResourceList
	// Version is the kubelet's version that the nodes tell.
	Version string
	// Manifests are where static pods are found.
	Manifests Manifests
	// Complete gives a static pod its defaults and checks it.
	Complete func(*corev1.Pod) error
	// LeasePeriod is how often a node says that it is alive.
	LeasePeriod time.Duration
}

// Agent is a node, or a fleet of nodes that share one process, one identity and one watch.
type Agent struct {
	Config
	desk        desk
	recorders   map[string]record.EventRecorder
	begun       time.Time
	runtimeName string
	machine     machine
	uids        sync.Map // of the nodes' objects, by name
	away        sync.Map // nodes that were deleted, and will return
	pulled      sync.Map // nodes that have images of which their status does not tell
	voices      chan struct{}
	rounds      chan struct{}
	library     *library
	services    atomic.Pointer[corelisters.ServiceLister] // nil until they are known
	nodes       atomic.Pointer[cache.Store]               // likewise
	adopted     map[string]string                         // sandboxes from before, by pod UID
	life        context.Context                           // of Run: what outlasts the round of a pod ends with it
}

// voices is how many writes of an agent are under way at a time.
const voices = 32

// rounds is how many pods of an agent are worked on at a time: more than a node has. Pods are bound to a fleet faster than it
// can tell of them, and a round that waits for its turn to speak holds a hundred kilobytes.
const rounds = 1000

// New makes an agent. Nothing happens before Run.
func New(c Config) *Agent {
	a := &Agent{Config: c, recorders: map[string]record.EventRecorder{}, voices: make(chan struct{}, voices), rounds: make(chan struct{}, rounds),
		library: newLibrary(c.Client)}
	a.desk.pods, a.desk.used, a.desk.ports = map[types.UID]*work{}, map[string]load{}, map[string]map[hostPort]bool{}
	a.desk.statics = newStatics()
	for _, node := range c.Nodes {
		a.recorders[node] = c.Events(node)
	}
	return a
}

// Run registers the nodes and runs their pods until ctx ends. ready is called when all nodes are registered.
func (a *Agent) Run(ctx context.Context, ready func()) error {
	a.begun = a.Clock.Now()
	version, err := a.Runtime.Version(ctx, "v1")
	if err != nil {
		return fmt.Errorf("runtime: %w", err)
	}
	status, err := a.Runtime.Status(ctx, false)
	if err != nil {
		return fmt.Errorf("runtime: %w", err)
	}
	a.runtimeName, a.machine = version.RuntimeName, machineOf(version, status)
	if a.adopted, err = a.adopt(ctx); err != nil {
		return fmt.Errorf("sandboxes: %w", err)
	}
	if err := a.register(ctx); err != nil {
		return err
	}
	ready()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	a.life = ctx
	var parts sync.WaitGroup
	errs := make([]error, 3)
	// Static pods are known before the API tells of their mirrors.
	known := make(chan struct{})
	parts.Go(func() { a.followManifests(ctx, func() { close(known) }) })
	<-known
	for i, part := range []func(context.Context) error{a.watch, a.follow, a.beat} {
		parts.Go(func() {
			defer stop()
			errs[i] = part(ctx)
		})
	}
	parts.Wait()
	a.desk.busy.Wait()
	if err := errors.Join(errs...); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// watch takes in the pods of the nodes, and what becomes of the nodes, until ctx ends.
func (a *Agent) watch(ctx context.Context) error {
	if f := a.Informers; f != nil {
		return a.watchAt(ctx, f.Core().V1().Pods().Informer(), f.Core().V1().Nodes().Informer(), f.Core().V1().Services(), f)
	}
	pods, nodes := a.ownInformers("spec.nodeName", trimmed), a.ownInformers("metadata.name", askedOfNodes)
	services := informers.NewSharedInformerFactoryWithOptions(a.Client, 0, informers.WithTransform(trimmed))
	for _, f := range []informers.SharedInformerFactory{pods, nodes, services} {
		defer f.Shutdown()
	}
	return a.watchAt(ctx, pods.Core().V1().Pods().Informer(), nodes.Core().V1().Nodes().Informer(), services.Core().V1().Services(), services, nodes, pods)
}

// ownInformers ask for objects whose field names the node. The rights of a node reach as far as itself and its own pods, so
// it asks for no others; a fleet asks for all pods that are on a node.
func (a *Agent) ownInformers(field string, transform cache.TransformFunc) informers.SharedInformerFactory {
	selector := fields.OneTermNotEqualSelector(field, "")
	if len(a.Nodes) == 1 {
		selector = fields.OneTermEqualSelector(field, a.Nodes[0])
	}
	return informers.NewSharedInformerFactoryWithOptions(a.Client, 0, informers.WithTransform(transform),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = selector.String() }))
}

// trimmed is an object without what nobody here looks at.
func trimmed(o any) (any, error) {
	if m, ok := o.(metav1.Object); ok && len(m.GetManagedFields()) > 0 {
		m.SetManagedFields(nil)
	}
	return o, nil
}

// askedOfNodes is what is to be known of a node: that it is there, and what pods ask of it.
func askedOfNodes(o any) (any, error) {
	if n, ok := o.(*corev1.Node); ok {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion, Labels: n.Labels},
			Spec: corev1.NodeSpec{Taints: n.Spec.Taints}}, nil
	}
	return o, nil
}

// watchAt starts informers, and hands on what they tell until ctx ends. Nodes and services are there before the first pod is: one
// that is admitted asks for labels and taints, and one that starts is to know services.
func (a *Agent) watchAt(ctx context.Context, pods, nodes cache.SharedIndexInformer, services coreinformers.ServiceInformer, start ...informers.SharedInformerFactory) error {
	remove, err := a.followNodes(ctx, nodes)
	if err != nil {
		return err
	}
	defer remove()
	lister := services.Lister()
	synced := []cache.InformerSynced{services.Informer().HasSynced, nodes.HasSynced}
	for _, f := range start {
		f.Start(ctx.Done())
	}
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return nil
	}
	store := nodes.GetStore()
	a.nodes.Store(&store)
	a.services.Store(&lister)
	told := func(o any, gone bool) {
		if last, unknown := o.(cache.DeletedFinalStateUnknown); unknown {
			o = last.Obj
		}
		if pod := o.(*corev1.Pod); a.recorders[pod.Spec.NodeName] != nil {
			a.told(ctx, pod, gone)
		}
	}
	handle, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { told(o, false) },
		UpdateFunc: func(old, o any) {
			if old.(*corev1.Pod).UID != o.(*corev1.Pod).UID { // deleted and made again between two looks
				told(old, true)
			}
			told(o, false)
		},
		DeleteFunc: func(o any) { told(o, true) },
	})
	if err != nil {
		return err
	}
	defer pods.RemoveEventHandler(handle)
	<-ctx.Done()
	return nil
}

// servicesOf are the Services of which a pod is told. Static pods may be started before any is known, as upstream's.
func (a *Agent) servicesOf(p *corev1.Pod) []*corev1.Service {
	known := a.services.Load()
	if known == nil {
		return nil
	}
	lister := *known
	var list []*corev1.Service
	if ptr.Deref(p.Spec.EnableServiceLinks, true) {
		list, _ = lister.Services(p.Namespace).List(labels.Everything()) // a lister has no errors
	}
	if p.Namespace != metav1.NamespaceDefault || len(list) == 0 {
		if s, err := lister.Services(metav1.NamespaceDefault).Get("kubernetes"); err == nil {
			list = append(list, s)
		}
	}
	return list
}
