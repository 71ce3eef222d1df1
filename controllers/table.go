package controllers

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// Controller is a row of the table.
type Controller struct {
	Name    string // as --controllers names it
	Account string // the service account in kube-system whose rights it has; empty for the controllers' own
	Teller  string // whom its events are from; empty: its name
	Workers int
	Off     bool // unless asked for by name
	Comment string
	// New makes the controller's loop.
	New func(*Config) Loop
}

// All is the table.
func All() []Controller {
	return []Controller{
		{Name: "serviceaccount-controller", Account: "service-account-controller", Workers: 1, New: serviceAccountLoop,
			Comment: "a default account in every namespace"},
		{Name: "serviceaccount-token-controller", Workers: 5, New: tokenSecretLoop,
			Comment: "tokens in Secrets that ask for one"},
		{Name: "legacy-serviceaccount-token-cleaner-controller", Account: "legacy-service-account-token-cleaner", Workers: 1, New: tokenCleanupLoop,
			Comment: "old tokens that nobody uses go"},
		{Name: "root-ca-certificate-publisher-controller", Account: "root-ca-cert-publisher", Workers: 1, New: rootCALoop,
			Comment: "what pods verify the API server with, in every namespace"},
		{Name: "namespace-controller", Account: "namespace-controller", Workers: 10, New: namespaceLoop,
			Comment: "namespaces that are to go are emptied"},
		{Name: "garbage-collector-controller", Account: "generic-garbage-collector", Workers: 20, New: garbageLoop,
			Comment: "objects whose owners have gone go, too"},
		{Name: "resourcequota-controller", Account: "resourcequota-controller", Workers: 5, New: resourceQuotaLoop,
			Comment: "what namespaces use of what they are allowed"},
		{Name: "pod-garbage-collector-controller", Account: "pod-garbage-collector", Workers: 1, New: podGarbageLoop,
			Comment: "pods that nobody looks after go"},
		{Name: "ttl-after-finished-controller", Account: "ttl-after-finished-controller", Workers: 5, New: ttlAfterFinishedLoop,
			Comment: "Jobs that have ended go after a while"},
		{Name: "bootstrap-signer-controller", Account: "bootstrap-signer", Workers: 1, Off: true, New: bootstrapSignerLoop,
			Comment: "cluster-info is signed with the tokens of machines that may join"},
		{Name: "token-cleaner-controller", Account: "token-cleaner", Workers: 1, Off: true, New: tokenCleanerLoop,
			Comment: "tokens of machines that may join go when they expire"},
		{Name: "clusterrole-aggregation-controller", Account: "clusterrole-aggregation-controller", Workers: 5, New: clusterRoleLoop,
			Comment: "roles that are the sum of others"},
		{Name: "endpoints-controller", Account: "endpoint-controller", Teller: "endpoint-controller", Workers: 5, New: endpointsLoop,
			Comment: "addresses of a Service's pods, as Endpoints"},
		{Name: "endpointslice-controller", Account: "endpointslice-controller", Teller: "endpoint-slice-controller", Workers: 5, New: endpointSliceLoop,
			Comment: "addresses of a Service's pods, as EndpointSlices"},
		{Name: "endpointslice-mirroring-controller", Account: "endpointslicemirroring-controller", Teller: "endpoint-slice-mirroring-controller", Workers: 5, New: sliceMirrorLoop,
			Comment: "Endpoints made by hand, as EndpointSlices"},
		{Name: "disruption-controller", Account: "disruption-controller", Teller: budgetTeller, Workers: 1, New: disruptionLoop,
			Comment: "how many pods of a budget may be evicted"},
		{Name: "certificatesigningrequest-signing-controller", Account: "certificate-controller", Workers: 5, New: csrSigningLoop,
			Comment: "certificates of the cluster's authority for approved requests"},
		{Name: "certificatesigningrequest-approving-controller", Account: "certificate-controller", Workers: 5, New: csrApprovalLoop,
			Comment: "requests of kubelets that may have a certificate are approved"},
		{Name: "certificatesigningrequest-cleaner-controller", Account: "certificate-controller", Workers: 1, New: csrCleaningLoop,
			Comment: "requests that are settled or forgotten go"},
		{Name: "node-ipam-controller", Account: "node-controller", Workers: 1, New: nodeIPAMLoop,
			Comment: "each node has ranges of pod addresses of its own, if the cluster has some to give"},
		{Name: "node-lifecycle-controller", Account: "node-controller", Teller: "node-controller", Workers: 8, New: nodeLifecycleLoop,
			Comment: "silent nodes are Unknown, and nodes have the taints that their conditions mean"},
		{Name: "taint-eviction-controller", Account: "node-controller", Workers: 8, New: taintEvictionLoop,
			Comment: "pods leave nodes whose NoExecute taints they do not tolerate"},
		{Name: "ttl-controller", Account: "ttl-controller", Workers: 2, New: nodeTTLLoop,
			Comment: "how long kubelets may keep Secrets and ConfigMaps, by the size of the cluster"},
		{Name: "deployment-controller", Account: "deployment-controller", Workers: 5, New: deploymentLoop,
			Comment: "pods of a Deployment's template, old ones replaced step by step"},
		{Name: "replicaset-controller", Account: "replicaset-controller", Workers: 5, New: replicaSetLoop,
			Comment: "as many pods as a ReplicaSet wants"},
		{Name: "replicationcontroller-controller", Account: "replication-controller", Teller: "replication-controller", Workers: 5, New: replicationControllerLoop,
			Comment: "as many pods as a ReplicationController wants"},
		{Name: "daemonset-controller", Account: "daemon-set-controller", Workers: 2, New: newDaemonSets,
			Comment: "a pod on each node that fits"},
		{Name: "statefulset-controller", Account: "statefulset-controller", Workers: 5, New: newStatefulSets,
			Comment: "pods with names and claims of their own, in order"},
		{Name: "job-controller", Account: "job-controller", Workers: 5, New: newJobs,
			Comment: "pods that run to their end until a Job has as many successes as it wants"},
		{Name: "cronjob-controller", Account: "cronjob-controller", Workers: 5, New: newCronJobs,
			Comment: "Jobs that start when a schedule says so"},
		{Name: "persistentvolume-binder-controller", Account: "persistent-volume-binder", Teller: "persistentvolume-controller", Workers: 4, New: volumeBinderLoop,
			Comment: "claims get volumes, and volumes whose claim is gone are reclaimed"},
		{Name: "local-path-provisioner", Account: "persistent-volume-binder", Teller: LocalPathProvisioner, Workers: 2, New: localVolumeLoop,
			Comment: "volumes that are folders on a node, for claims of classes that want such"},
		{Name: "ephemeral-volume-controller", Account: "ephemeral-volume-controller", Teller: "ephemeral_volume", Workers: 5, New: ephemeralVolumeLoop,
			Comment: "claims for volumes that live as long as their pods"},
		{Name: "persistentvolumeclaim-protection-controller", Account: "pvc-protection-controller", Workers: 1, New: claimProtectionLoop,
			Comment: "claims stay while pods use them"},
		{Name: "persistentvolume-protection-controller", Account: "pv-protection-controller", Workers: 1, New: volumeProtectionLoop,
			Comment: "volumes stay while they are bound"},
		{Name: "volumeattributesclass-protection-controller", Account: "volumeattributesclass-protection-controller", Workers: 1, New: attributesClassProtectionLoop,
			Comment: "attributes classes stay while volumes or claims name them"},
		{Name: "service-cidr-controller", Account: "service-cidrs-controller", Workers: 5, New: serviceCIDRLoop,
			Comment: "ranges of cluster IPs are ready, or stay until no Service needs them"},
	}
}

// Run runs the controllers that are configured until ctx ends.
func Run(ctx context.Context, c *Config) error {
	rows, err := c.chosen()
	if err != nil {
		return err
	}
	c.metrics = newMetrics()
	if c.Metrics != nil {
		for _, m := range c.metrics.collectors() {
			if err := c.Metrics.Register(m); err != nil {
				return err
			}
		}
	}
	var loops []*loop
	for _, row := range rows {
		l, first := row.New(c), len(loops)
		for next := &l; next != nil; next = next.Beside {
			loops = append(loops, newLoop(row, *next, c))
		}
		if own := loops[first:]; c.Check != nil {
			c.Check(row.Name, func() error { return ended(own) })
		}
	}
	c.Informers.Start(ctx.Done())
	var running sync.WaitGroup
	if c.all != nil {
		running.Go(func() { c.all.run(ctx) })
	}
	errs := make([]error, len(loops))
	for i, l := range loops {
		running.Go(func() {
			c.metrics.running.WithLabelValues(manager, l.name).Set(1)
			errs[i] = l.run(ctx)
			l.ended.Store(true)
			c.metrics.running.WithLabelValues(manager, l.name).Set(0)
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// manager is what upstream calls the program that the controllers are of.
const manager = "kube-controller-manager"

// ended says that one of a controller's loops runs no more.
func ended(loops []*loop) error {
	if slices.ContainsFunc(loops, func(l *loop) bool { return l.ended.Load() }) {
		return errors.New("it has ended")
	}
	return nil
}

// chosen are the rows that Controllers names.
func (c *Config) chosen() ([]Controller, error) {
	choice, err := todaysNames(c.Controllers)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(All(), func(r Controller) bool {
		switch {
		case slices.Contains(choice, "-"+r.Name):
			return true
		case slices.Contains(choice, r.Name):
			return false
		}
		return r.Off || len(c.Controllers) > 0 && !slices.Contains(choice, "*")
	}), nil
}
