package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
)

// Config is what an agent is given.
type Config struct {
	// Nodes are the names of those that this agent is: one, or all of a fleet.
	Nodes   []string
	Client  kubernetes.Interface
	Runtime Runtime
	Prober  Prober
	Logs    Logs
	// Events makes the recorder of a node.
	Events func(node string) record.EventRecorder
	Clock  clock.WithTickerAndDelayedExecution
	Log    *slog.Logger
	// Address is the one under which the nodes are reached.
	Address net.IP
	// Port is where the kubelet API listens; zero is told to nobody.
	Port int
	// Capacity is what each node has.
	Capacity corev1.ResourceList
	// Version is the kubelet's version that the nodes tell.
	Version string
	// LeasePeriod is how often a node says that it is alive.
	LeasePeriod time.Duration
}

// Agent is a node, or a fleet of nodes that share one process, one identity and one watch.
type Agent struct {
	Config
	desk        desk
	recorders   map[string]record.EventRecorder
	runtimeName string
	addresses   []string
	voices      chan struct{}
	adopted     map[string]string // sandboxes from before, by pod UID
	life        context.Context   // of Run: what outlasts the round of a pod ends with it
}

// voices is how many writes of an agent are under way at a time.
const voices = 32

// New makes an agent. Nothing happens before Run.
func New(c Config) *Agent {
	a := &Agent{Config: c, recorders: map[string]record.EventRecorder{}, voices: make(chan struct{}, voices)}
	a.desk.pods, a.desk.used = map[types.UID]*work{}, map[string]load{}
	for _, node := range c.Nodes {
		a.recorders[node] = c.Events(node)
	}
	if c.Address != nil {
		a.addresses = []string{c.Address.String()}
	}
	return a
}

// Run registers the nodes and runs their pods until ctx ends. ready is called when all nodes are registered.
func (a *Agent) Run(ctx context.Context, ready func()) error {
	version, err := a.Runtime.Version(ctx, "v1")
	if err != nil {
		return fmt.Errorf("runtime: %w", err)
	}
	a.runtimeName = version.RuntimeName
	if a.adopted, err = a.adopt(ctx); err != nil {
		return fmt.Errorf("sandboxes: %w", err)
	}
	if err := a.register(ctx, version.RuntimeName+"://"+version.RuntimeVersion); err != nil {
		return err
	}
	ready()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	a.life = ctx
	var parts sync.WaitGroup
	errs := make([]error, 3)
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

// watch takes in the pods of the nodes until ctx ends. The rights of a node reach as far as its own pods, so the watch
// asks for no others; a fleet asks for all pods that are on a node.
func (a *Agent) watch(ctx context.Context) error {
	selector := fields.OneTermNotEqualSelector("spec.nodeName", "")
	if len(a.Nodes) == 1 {
		selector = fields.OneTermEqualSelector("spec.nodeName", a.Nodes[0])
	}
	factory := informers.NewSharedInformerFactoryWithOptions(a.Client, 0,
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = selector.String() }),
		informers.WithTransform(func(o any) (any, error) {
			if m, ok := o.(metav1.Object); ok {
				m.SetManagedFields(nil)
			}
			return o, nil
		}))
	pods := factory.Core().V1().Pods().Informer()
	told := func(o any, gone bool) {
		if last, unknown := o.(cache.DeletedFinalStateUnknown); unknown {
			o = last.Obj
		}
		if pod := o.(*corev1.Pod); a.recorders[pod.Spec.NodeName] != nil {
			a.told(ctx, pod, gone)
		}
	}
	_, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { told(o, false) },
		UpdateFunc: func(_, o any) { told(o, false) },
		DeleteFunc: func(o any) { told(o, true) },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
	return nil
}
