package registry

import "slices"

// Builtin is the table of the resources that kube-apiserver 1.36 serves by default, group by group.
func Builtin() []*Resource {
	return slices.Concat(core(), apps(), batch(), autoscaling(), policy(), networking(), storage(), identity(), extension(), cluster())
}

func core() []*Resource {
	return []*Resource{
		componentStatus(),
		binding(),
		configMap(),
		endpoints(),
		event(),
		limitRange(),
		namespace(),
		node(),
		persistentVolumeClaim(),
		persistentVolume(),
		pod(),
		podTemplate(),
		replicationController(),
		resourceQuota(),
		secret(),
		serviceAccount(),
		service(),
	}
}

func apps() []*Resource {
	return []*Resource{controllerRevision(), daemonSet(), deployment(), replicaSet(), statefulSet()}
}

func batch() []*Resource {
	return []*Resource{cronJob(), job()}
}

func autoscaling() []*Resource {
	return []*Resource{horizontalPodAutoscaler()}
}

func policy() []*Resource {
	return []*Resource{podDisruptionBudget()}
}

func networking() []*Resource {
	return []*Resource{
		ingressClass(),
		ingress(),
		ipAddress(),
		networkPolicy(),
		serviceCIDR(),
		endpointSlice(),
	}
}

func storage() []*Resource {
	return []*Resource{
		csiDriver(),
		csiNode(),
		csiStorageCapacity(),
		storageClass(),
		volumeAttachment(),
		volumeAttributesClass(),
	}
}

func identity() []*Resource {
	return []*Resource{
		certificateSigningRequest(),
		clusterRoleBinding(),
		clusterRole(),
		roleBinding(),
		role(),
	}
}

func extension() []*Resource {
	return []*Resource{
		selfSubjectReview(),
		tokenReview(),
		localSubjectAccessReview(),
		selfSubjectAccessReview(),
		selfSubjectRulesReview(),
		subjectAccessReview(),
		mutatingAdmissionPolicy(),
		mutatingAdmissionPolicyBinding(),
		mutatingWebhookConfiguration(),
		validatingAdmissionPolicy(),
		validatingAdmissionPolicyBinding(),
		validatingWebhookConfiguration(),
		customResourceDefinition(),
		apiService(),
		deviceClass(),
		resourceClaim(),
		resourceClaimTemplate(),
		resourceSlice(),
	}
}

func cluster() []*Resource {
	return []*Resource{
		lease(),
		eventsEvent(),
		flowSchema(),
		priorityLevelConfiguration(),
		runtimeClass(),
		priorityClass(),
	}
}
