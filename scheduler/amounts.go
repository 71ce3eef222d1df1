package scheduler

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	podresource "k8s.io/component-helpers/resource"
)

// What a container that asks for nothing is taken to use when nodes are scored, so that they do not fill with such pods.
const (
	guessedCPU    = 100               // millicores
	guessedMemory = 200 * 1024 * 1024 // bytes
)

// Amounts are quantities of resources as plain numbers.
type Amounts struct {
	CPU     int64 // millicores
	Memory  int64 // bytes
	Storage int64 // bytes of ephemeral storage
	Scalars []Scalar
}

// Scalar is the quantity of any other resource that is counted on nodes. Those of an Amounts are sorted by name.
type Scalar struct {
	Name  corev1.ResourceName
	Value int64
}

// amountsOf reads a list; resources that are not counted on nodes are left out.
func amountsOf(list corev1.ResourceList) Amounts {
	var a Amounts
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			a.CPU = q.MilliValue()
		case corev1.ResourceMemory:
			a.Memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			a.Storage = q.Value()
		default:
			if isScalar(name) {
				a.Scalars = append(a.Scalars, Scalar{name, q.Value()})
			}
		}
	}
	slices.SortFunc(a.Scalars, byScalarName)
	return a
}

func byScalarName(a, b Scalar) int { return strings.Compare(string(a.Name), string(b.Name)) }

// isScalar reports that a resource is an extended one, huge pages, or attachable volumes.
func isScalar(name corev1.ResourceName) bool {
	s := string(name)
	return strings.Contains(s, "/") || strings.HasPrefix(s, corev1.ResourceHugePagesPrefix) ||
		strings.HasPrefix(s, corev1.ResourceAttachableVolumesPrefix)
}

func isHugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// isExtended reports that a resource is none of Kubernetes' own.
func isExtended(name string) bool {
	return strings.Contains(name, "/") && !strings.Contains(name, corev1.ResourceDefaultNamespacePrefix) &&
		!strings.HasPrefix(name, corev1.DefaultResourceRequestsPrefix)
}

// Of is the amount of one resource.
func (a *Amounts) Of(name corev1.ResourceName) int64 {
	switch name {
	case corev1.ResourceCPU:
		return a.CPU
	case corev1.ResourceMemory:
		return a.Memory
	case corev1.ResourceEphemeralStorage:
		return a.Storage
	}
	for _, s := range a.Scalars {
		if s.Name == name {
			return s.Value
		}
	}
	return 0
}

// add adds b, or takes it away if sign is negative.
func (a *Amounts) add(b *Amounts, sign int64) {
	a.CPU += sign * b.CPU
	a.Memory += sign * b.Memory
	a.Storage += sign * b.Storage
	for _, s := range b.Scalars {
		i, ok := slices.BinarySearchFunc(a.Scalars, s, byScalarName)
		if !ok {
			a.Scalars = slices.Insert(a.Scalars, i, Scalar{Name: s.Name})
		}
		a.Scalars[i].Value += sign * s.Value
	}
}

func (a *Amounts) equal(b *Amounts) bool {
	return a.CPU == b.CPU && a.Memory == b.Memory && a.Storage == b.Storage && slices.Equal(a.Scalars, b.Scalars)
}

// requestsOf is what a pod takes of a node (with what a resize has already given it), and the CPU and memory that scores
// reckon with. The second is the same where the pod, or each container, says what it needs.
func requestsOf(pod *corev1.Pod) (requests Amounts, scoredCPU, scoredMemory int64) {
	options := podresource.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true}
	list := podresource.PodRequests(pod, options)
	requests = amountsOf(list)
	guesses := corev1.ResourceList{}
	whole := podresource.IsPodLevelRequestsSet(pod)
	if _, ok := list[corev1.ResourceCPU]; !ok || !whole {
		guesses[corev1.ResourceCPU] = *resource.NewMilliQuantity(guessedCPU, resource.DecimalSI)
	}
	if _, ok := list[corev1.ResourceMemory]; !ok || !whole {
		guesses[corev1.ResourceMemory] = *resource.NewQuantity(guessedMemory, resource.BinarySI)
	}
	options.NonMissingContainerRequests = guesses
	list = podresource.PodRequests(pod, options)
	return requests, list.Cpu().MilliValue(), list.Memory().Value()
}
