package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/nodeagent"
	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/server"
)

const (
	// fewNodes is up to how many simulated nodes each has an agent and an identity of its own.
	fewNodes = 20
	// A node on its own renews its lease as upstream's; one of a fleet half as often as it must at least.
	leasePeriod      = 10 * time.Second
	fleetLeasePeriod = 25 * time.Second
)

// simulatedCapacity is what a simulated node has.
func simulatedCapacity() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("32"), corev1.ResourceMemory: resource.MustParse("256Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"), corev1.ResourcePods: resource.MustParse("110"),
	}
}

// nodeNames are those of n simulated nodes.
func nodeNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("node-%d", i+1)
	}
	return names
}

// runNodes runs simulated nodes until ctx ends: each as an agent with the identity of its node, or, when they are many, all
// as one agent. ready is called when all are registered.
func runNodes(ctx context.Context, s *server.Server, c *server.Config, n int, log *slog.Logger, ready func()) {
	names := nodeNames(n)
	if n > fewNodes {
		keepRunning(ctx, "nodes", log, func(ctx context.Context) error {
			if err := admitFleet(ctx, s); err != nil {
				return err
			}
			return runAgent(ctx, s, c, fleetUser(), names, netip.MustParsePrefix("10.128.0.0/9"), fleetLeasePeriod, log, ready)
		})
		return
	}
	var registered, agents sync.WaitGroup
	registered.Add(n)
	for i, name := range names {
		// Each has the addresses of a /20 below those of a fleet: 110 pods use few of them, and none twice in short order.
		pods := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(64 + i/16), byte(i % 16 * 16), 0}), 20)
		once := sync.OnceFunc(registered.Done)
		agents.Go(func() {
			keepRunning(ctx, name, log, func(ctx context.Context) error {
				return runAgent(ctx, s, c, nodeUser(name), []string{name}, pods, leasePeriod, log.With("node", name), once)
			})
			once()
		})
	}
	registered.Wait()
	ready()
	agents.Wait()
}

func nodeUser(name string) registry.User {
	return registry.User{Name: "system:node:" + name, Groups: []string{"system:nodes"}}
}

// fleetName is the identity and the role of a fleet of simulated nodes.
const fleetName = "knarr:simulated-nodes"

func fleetUser() registry.User { return registry.User{Name: fleetName} }

// admitFleet gives the fleet's identity the rights of a node, for all nodes.
func admitFleet(ctx context.Context, s *server.Server) error {
	admin, err := kubernetes.NewForConfig(inside{s, registry.User{Name: "system:apiserver", Groups: []string{"system:masters"}}}.own())
	if err != nil {
		return err
	}
	roles := admin.RbacV1()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: fleetName}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"nodes", "nodes/status"}, Verbs: []string{"get", "list", "watch", "create", "update", "patch"}},
		{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"list", "watch"}},
		{APIGroups: []string{""}, Resources: []string{"configmaps", "secrets", "persistentvolumeclaims", "persistentvolumes"}, Verbs: []string{"get"}},
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "watch", "delete"}},
		{APIGroups: []string{""}, Resources: []string{"pods/status"}, Verbs: []string{"patch"}},
		{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create", "patch", "update"}},
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"get", "create", "update"}},
		{APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"subjectaccessreviews"}, Verbs: []string{"create"}},
	}}
	_, err = roles.ClusterRoles().Create(ctx, role, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = roles.ClusterRoles().Update(ctx, role, metav1.UpdateOptions{})
	}
	if err != nil {
		return err
	}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: fleetName},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: fleetName},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: fleetName}}}
	if _, err := roles.ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// runAgent runs one agent, for one node or for many, and serves the kubelet API for it.
func runAgent(ctx context.Context, s *server.Server, c *server.Config, user registry.User, names []string, pods netip.Prefix, period time.Duration, log *slog.Logger, ready func()) error {
	client, err := kubernetes.NewForConfig(inside{s, user}.own())
	if err != nil {
		return err
	}
	told := newVoice(client)
	defer told.end()
	address, err := nodeAddress(c)
	if err != nil {
		return err
	}
	listener, err := listenKubelet(c, names[0], address)
	if err != nil {
		return err
	}
	runtime := nodeagent.NewSimulated(clock.RealClock{}, pods)
	agent := nodeagent.New(nodeagent.Config{
		Nodes: names, Client: client, Runtime: runtime, Prober: runtime, Hooks: runtime, Logs: runtime,
		Events: func(node string) record.EventRecorder { return told.on("kubelet", node) },
		Clock:  clock.RealClock{}, Log: log, Addresses: simulatedAddresses(names, address), Port: listener.Addr().(*net.TCPAddr).Port,
		Capacity: simulatedCapacity(), Version: "v" + server.Release, LeasePeriod: period,
	})
	web := &http.Server{Handler: agent.Handler(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	served := make(chan struct{})
	go func() {
		defer close(served)
		web.Serve(listener) // ends with the agent
	}()
	err = agent.Run(ctx, ready)
	web.Close()
	<-served
	return err
}

// simulatedAddresses are those that nodes tell. Each has an internal one of its own, which is as much of an address as those
// of its pods: nobody answers there. Who wants something of its kubelet goes to the host that runs it, under the name
// "Hostname", which API servers try first.
func simulatedAddresses(nodes []string, host net.IP) func(node string) []corev1.NodeAddress {
	internal := map[string]string{}
	for _, name := range nodes {
		var n int
		fmt.Sscanf(name, "node-%d", &n) // as nodeNames makes them
		internal[name] = netip.AddrFrom4([4]byte{10, byte(112 + n>>16), byte(n >> 8), byte(n)}).String()
	}
	return func(node string) []corev1.NodeAddress {
		return []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: internal[node]}, {Type: corev1.NodeHostName, Address: host.String()}}
	}
}

// nodeAddress is where the simulated nodes of this process are reached: where the API server is, and nowhere else if it
// listens on one address only.
func nodeAddress(c *server.Config) (net.IP, error) {
	if c.AdvertiseAddress == nil && !c.BindAddress.IsUnspecified() {
		return c.BindAddress, nil
	}
	return c.Advertised()
}

// listenKubelet listens for the kubelet API on a free port, with a certificate that nobody vouches for, as a kubelet does
// that was given none. Clients show one of the cluster's authority.
func listenKubelet(c *server.Config, node string, address net.IP) (net.Listener, error) {
	authorities, err := auth.OpenBundle(filepath.Join(c.DataDir, "pki", "ca.crt"))
	if err != nil {
		return nil, err
	}
	certificate, err := auth.SelfSigned(node, address)
	if err != nil {
		return nil, err
	}
	return tls.Listen("tcp", net.JoinHostPort(c.BindAddress.String(), "0"), &tls.Config{MinVersion: tls.VersionTLS12,
		GetCertificate: certificate.Get, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: authorities.Pool()})
}
