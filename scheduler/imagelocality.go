package scheduler

import "strings"

// imageLocality likes nodes that have a pod's images already: the more of them in bytes, and the more other nodes have
// them too, the better. (If only few nodes had a say, all pods of an image would gather there.)
type imageLocality struct{}

// Below the least nothing is gained by an image that is there; more than the most for each container counts no more.
const (
	leastImageBytes = 23 * 1024 * 1024
	mostImageBytes  = 1000 * 1024 * 1024
)

func (*imageLocality) Score(c *Cycle, nodes []*Node, scores []int64) bool {
	spec := &c.Pod.Spec
	var images []string // that any node has
	add := func(name string) {
		if name = taggedImage(name); c.images[name] > 0 {
			images = append(images, name)
		}
	}
	for i := range spec.InitContainers {
		add(spec.InitContainers[i].Image)
	}
	for i := range spec.Containers {
		add(spec.Containers[i].Image)
	}
	for i := range spec.Volumes {
		if v := spec.Volumes[i].Image; v != nil {
			add(v.Reference)
		}
	}
	if len(images) == 0 {
		return false
	}
	all := float64(len(c.known()))
	most := int64(mostImageBytes * (len(spec.InitContainers) + len(spec.Containers)))
	for i, n := range nodes {
		var sum int64
		for _, name := range images {
			if size, ok := n.images[name]; ok {
				sum += int64(float64(size) * (float64(c.images[name]) / all))
			}
		}
		sum = min(max(sum, leastImageBytes), most)
		scores[i] = maxScore * (sum - leastImageBytes) / (most - leastImageBytes)
	}
	return true
}

// taggedImage is the name under which a node tells of an image.
func taggedImage(name string) string {
	if strings.LastIndex(name, ":") <= strings.LastIndex(name, "/") {
		return name + ":latest"
	}
	return name
}
