package controllers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// formerNames are those that controllers had before Kubernetes 1.28, and that command lines still use.
func formerNames() map[string]string {
	return map[string]string{
		"attachdetach": "persistentvolume-attach-detach-controller", "bootstrapsigner": "bootstrap-signer-controller",
		"clusterrole-aggregation": "clusterrole-aggregation-controller", "cronjob": "cronjob-controller",
		"csrapproving": "certificatesigningrequest-approving-controller", "csrcleaner": "certificatesigningrequest-cleaner-controller",
		"csrsigning": "certificatesigningrequest-signing-controller", "daemonset": "daemonset-controller", "deployment": "deployment-controller",
		"disruption": "disruption-controller", "endpoint": "endpoints-controller", "endpointslice": "endpointslice-controller",
		"endpointslicemirroring": "endpointslice-mirroring-controller", "ephemeral-volume": "ephemeral-volume-controller",
		"garbagecollector": "garbage-collector-controller", "horizontalpodautoscaling": "horizontal-pod-autoscaler-controller",
		"job": "job-controller", "legacy-service-account-token-cleaner": "legacy-serviceaccount-token-cleaner-controller",
		"namespace": "namespace-controller", "nodeipam": "node-ipam-controller", "nodelifecycle": "node-lifecycle-controller",
		"persistentvolume-binder": "persistentvolume-binder-controller", "persistentvolume-expander": "persistentvolume-expander-controller",
		"podgc": "pod-garbage-collector-controller", "pv-protection": "persistentvolume-protection-controller",
		"pvc-protection": "persistentvolumeclaim-protection-controller", "replicaset": "replicaset-controller",
		"replicationcontroller": "replicationcontroller-controller", "resource-claim-controller": "resourceclaim-controller",
		"resourcequota": "resourcequota-controller", "root-ca-cert-publisher": "root-ca-certificate-publisher-controller",
		"serviceaccount": "serviceaccount-controller", "serviceaccount-token": "serviceaccount-token-controller",
		"statefulset": "statefulset-controller", "storage-version-gc": "storageversion-garbage-collector-controller",
		"svm": "storage-version-migrator-controller", "tokencleaner": "token-cleaner-controller", "ttl": "ttl-controller",
		"ttl-after-finished":   "ttl-after-finished-controller",
		"cloud-node-lifecycle": "cloud-node-lifecycle-controller", "route": "node-route-controller", "service": "service-lb-controller",
	}
}

// absent are upstream's controllers that are not in the table. They may be left out, as command lines do.
func absent() []string {
	return []string{"cloud-node-lifecycle-controller", "device-taint-eviction-controller", "horizontal-pod-autoscaler-controller",
		"kube-apiserver-serving-clustertrustbundle-publisher-controller", "node-route-controller",
		"persistentvolume-attach-detach-controller", "persistentvolume-expander-controller", "podcertificaterequest-cleaner-controller",
		"podgroup-protection-controller", "resourceclaim-controller", "resourcepoolstatusrequest-controller", "selinux-warning-controller",
		"service-lb-controller", "storage-version-migrator-controller", "storageversion-garbage-collector-controller",
		"validatingadmissionpolicy-status-controller"}
}

// CheckNames names what is wrong with a choice of controllers.
func CheckNames(choice []string) error {
	_, err := todaysNames(choice)
	return err
}

// todaysNames is a choice by the names that the table has.
func todaysNames(choice []string) (today []string, err error) {
	rows, former := All(), formerNames()
	for _, chosen := range choice {
		if chosen == "*" {
			today = append(today, chosen)
			continue
		}
		bare, out := strings.CutPrefix(chosen, "-")
		name := cmp.Or(former[bare], bare)
		switch {
		case slices.ContainsFunc(rows, func(r Controller) bool { return r.Name == name }):
			today = append(today, strings.TrimSuffix(chosen, bare)+name)
		case slices.Contains(absent(), name):
			if !out {
				return nil, fmt.Errorf("controller %q is not in knarr: use %s", bare, strings.Join(names(rows), ", "))
			}
		default:
			return nil, fmt.Errorf("controller %q is unknown: use %s", bare, strings.Join(names(rows), ", "))
		}
	}
	return today, nil
}

func names(rows []Controller) []string {
	var out []string
	for _, r := range rows {
		out = append(out, r.Name)
	}
	return out
}
