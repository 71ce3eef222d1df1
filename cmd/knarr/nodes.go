package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
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

// nodeHost is where simulated nodes run: in one process with the API server, or in one of their own.
type nodeHost struct {
	// reach is the way to the API under the identity of a node, or of a fleet.
	reach func(registry.User) (reach, error)
	// admin is the way of somebody who may give a fleet its rights.
	admin func() (*rest.Config, error)
	// bind is what kubelet APIs listen on, and port where, if there is one of them; address is where they are reached.
	bind, address net.IP
	port          int
	authorities   *auth.Bundle      // of those who ask them something
	shown         *auth.Certificate // to those; nil makes one that nobody vouches for
	simulation    string            // file of rules for simulated pods; none if empty
	manifests     nodeagent.Manifests
	dataDir       string     // where it is noted that agents answer
	informers     *gathering // of which a fleet takes its own; nil where nobody else has any
	log           *slog.Logger
}

// run runs simulated nodes until ctx ends: each as an agent with the identity of its node, or, when they are many, all
// as one agent. ready is called when all are registered.
func (h *nodeHost) run(ctx context.Context, names []string, ready func()) {
	if len(names) > fewNodes {
		keepRunning(ctx, "nodes", h.log, func(ctx context.Context) error {
			if err := h.admitFleet(ctx); err != nil {
				return err
			}
			var shared informers.SharedInformerFactory
			if h.informers != nil {
				others, leave := h.informers.attend(ctx)
				defer leave()
				shared = others
			}
			return h.runAgent(ctx, fleetUser(), names, netip.MustParsePrefix("10.128.0.0/9"), fleetLeasePeriod, h.port, shared, h.log, ready)
		})
		return
	}
	port := h.port
	if len(names) > 1 {
		port = 0 // each finds one of its own
	}
	var registered, agents sync.WaitGroup
	registered.Add(len(names))
	for _, name := range names {
		// Each has the addresses of a /20 below those of a fleet: 110 pods use few of them, and none twice in short order.
		i := nodeNumber(name) - 1
		pods := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(64 + i/16%32), byte(i % 16 * 16), 0}), 20)
		once := sync.OnceFunc(registered.Done)
		agents.Go(func() {
			keepRunning(ctx, name, h.log, func(ctx context.Context) error {
				return h.runAgent(ctx, nodeUser(name), []string{name}, pods, leasePeriod, port, nil, h.log.With("node", name), once)
			})
			once()
		})
	}
	registered.Wait()
	ready()
	agents.Wait()
}

// checkSimulation refuses a file of rules that makes no sense, before anything is started.
func checkSimulation(file string) error {
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if err == nil {
		_, err = nodeagent.ReadSimulation(data)
	}
	if err != nil {
		return fmt.Errorf("--simulation=%s: %w", file, err)
	}
	return nil
}

// nodeNumber is that of a simulated node's name; names that were not made by nodeNames have one too.
func nodeNumber(name string) int {
	var n int
	if _, err := fmt.Sscanf(name, "node-%d", &n); err == nil && n > 0 {
		return n
	}
	sum := fnv.New32a()
	sum.Write([]byte(name))
	return 1 + int(sum.Sum32()%(1<<16))
}

func nodeUser(name string) registry.User {
	return registry.User{Name: "system:node:" + name, Groups: []string{"system:nodes"}}
}

// fleetName is the identity and the role of a fleet of simulated nodes.
const fleetName = "knarr:simulated-nodes"

func fleetUser() registry.User { return registry.User{Name: fleetName} }

// admitFleet gives the fleet's identity the rights of a node, for all nodes.
func (h *nodeHost) admitFleet(ctx context.Context) error {
	config, err := h.admin()
	if err != nil {
		return err
	}
	admin, err := kubernetes.NewForConfig(config)
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
		{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}, Verbs: []string{"create"}},
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
func (h *nodeHost) runAgent(ctx context.Context, user registry.User, names []string, pods netip.Prefix, period time.Duration, port int, shared informers.SharedInformerFactory, log *slog.Logger, ready func()) error {
	way, err := h.reach(user)
	if err != nil {
		return err
	}
	way = named{way, "kubelet"}
	client, err := kubernetes.NewForConfig(way.own())
	if err != nil {
		return err
	}
	told := newVoice(client)
	defer told.end()
	who, _, err := auth.Delegation{Tokens: way.own(), Access: way.own(), Authorities: h.authorities}.Open()
	if err != nil {
		return err
	}
	listener, err := h.listen(names[0], port)
	if err != nil {
		return err
	}
	runtime := nodeagent.NewSimulated(clock.RealClock{}, pods)
	if h.simulation != "" {
		if err := runtime.LoadRules(h.simulation); err != nil {
			listener.Close()
			return err
		}
		following, rest := context.WithCancel(ctx)
		defer rest()
		go runtime.FollowRules(following, h.simulation, clock.RealClock{}, log)
	}
	agent := nodeagent.New(nodeagent.Config{
		Nodes: names, Client: client, Runtime: runtime, Prober: runtime, Hooks: runtime, Logs: runtime, Streams: runtime,
		Events: func(node string) record.EventRecorder { return told.on("kubelet", node) },
		Clock:  clock.RealClock{}, Log: log, Addresses: simulatedAddresses(names, h.address), Who: knownBy(who), Port: listener.Addr().(*net.TCPAddr).Port,
		Capacity: simulatedCapacity(), Version: "v" + server.Release, LeasePeriod: period,
		Manifests: h.manifests, Complete: registry.CompletePod, Informers: shared,
	})
	web := &http.Server{Handler: agent.Handler(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	served := make(chan struct{})
	go func() {
		defer close(served)
		web.Serve(listener) // ends with the agent
	}()
	if forget, err := noteAddress(h.dataDir, agentNote(names[0]), urlOf(listener)); err != nil {
		log.Warn("`knarr status` will not find an agent", "node", names[0], "err", err)
	} else {
		defer forget()
	}
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
		n := nodeNumber(name)
		internal[name] = netip.AddrFrom4([4]byte{10, byte(112 + n>>16), byte(n >> 8), byte(n)}).String()
	}
	return func(node string) []corev1.NodeAddress {
		return []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: internal[node]}, {Type: corev1.NodeHostName, Address: host.String()}}
	}
}

// listen listens for the kubelet API.
func (h *nodeHost) listen(node string, port int) (net.Listener, error) {
	certificate := h.shown
	if certificate == nil {
		var err error
		if certificate, err = auth.SelfSigned(node, h.address); err != nil {
			return nil, err
		}
	}
	return tls.Listen("tcp", net.JoinHostPort(h.bind.String(), strconv.Itoa(port)), &tls.Config{MinVersion: tls.VersionTLS12,
		GetCertificate: certificate.Get, ClientAuth: tls.RequestClientCert})
}

// knownBy is an authenticator as an agent asks it: who shows nothing is nobody.
func knownBy(who auth.Authenticator) func(*http.Request) (*authenticationv1.UserInfo, error) {
	return func(r *http.Request) (*authenticationv1.UserInfo, error) {
		user, err := who.Authenticate(r)
		if user == nil || err != nil || auth.IsAnonymous(user) {
			return nil, err
		}
		info := &authenticationv1.UserInfo{Username: user.Name, UID: user.UID, Groups: user.Groups, Extra: map[string]authenticationv1.ExtraValue{}}
		for key, values := range user.Extra {
			info.Extra[key] = values
		}
		return info, nil
	}
}

// hostedBy is the host of the nodes in an API server's own process: they are where it is, and nowhere else if it listens on
// one address only.
func hostedBy(s *server.Server, c *server.Config, simulation string, log *slog.Logger) (*nodeHost, error) {
	_, authorities := s.Parts()
	h := &nodeHost{bind: c.BindAddress, address: c.BindAddress, authorities: authorities, simulation: simulation, dataDir: c.DataDir, log: log,
		reach: func(user registry.User) (reach, error) { return inside{s, user}, nil },
		admin: func() (*rest.Config, error) {
			return inside{s, registry.User{Name: "system:apiserver", Groups: []string{"system:masters"}}}.own(), nil
		}}
	if c.AdvertiseAddress == nil && !c.BindAddress.IsUnspecified() {
		return h, nil
	}
	var err error
	h.address, err = c.Advertised()
	return h, err
}
