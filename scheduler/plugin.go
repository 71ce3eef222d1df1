package scheduler

import (
	"context"
	"time"
)

// Refusal is why a pod does not get a node, or cannot be looked at yet. Refusals are shared: nobody changes one.
type Refusal struct {
	Plugin  string
	Reasons []string
	// Hopeless says that fewer pods on the node would change nothing: preemption does not help.
	Hopeless bool
}

// A plugin implements those of the interfaces below that it has something to say at.

// Gate holds back pods that are not to be looked at yet.
type Gate interface {
	Admit(p *Pod) *Refusal
}

// Sorter says which of two waiting pods comes first.
type Sorter interface {
	Before(a, b *Waiting) bool
}

// Filter says which nodes may run a pod.
type Filter interface {
	// Filter looks at the pod and returns the judge of nodes for this cycle: nil if every node will do. A refusal is of
	// all nodes at once.
	Filter(c *Cycle) (Judge, *Refusal)
}

// Judge says whether one node may run the cycle's pod.
type Judge interface {
	Judge(n *Node) *Refusal // nil if it may
}

// judging is a judge that looks at nothing but the node.
type judging func(n *Node) *Refusal

// Judge calls f.
func (f judging) Judge(n *Node) *Refusal { return f(n) }

// Explainer is a filter that tells what stands behind a refusal: for people who ask, never in a cycle.
type Explainer interface {
	// Facts are the numbers and names behind the refusal of a node by the judge that the plugin has appointed. Both are nil if
	// it has refused all nodes at once.
	Facts(c *Cycle, j Judge, n *Node) []Fact
	// Changes are what would change the judge's mind about the node, by what is known of it; those preferred first. Both are nil
	// if the plugin has refused all nodes at once.
	Changes(c *Cycle, j Judge, n *Node) []Change
}

// Adjuster is a judge that looks at other nodes' pods too: it is told of those that come and go in thought.
type Adjuster interface {
	// Adjust counts a pod on a node if sign is 1, and no more if it is -1.
	Adjust(n *Node, p *Pod, sign int32)
}

// Chooser names the only nodes that a pod may run on, so that others need not be looked at.
type Chooser interface {
	// Choose returns false if any node will do.
	Choose(c *Cycle) (names []string, limited bool, refusal *Refusal)
}

// Remedy looks for a way when no node will do.
type Remedy interface {
	// Remedy returns the node that will do later ("" says that no nomination holds any more, nil that nothing changes), and
	// what to tell.
	Remedy(c *Cycle, d *Diagnosis) (nominated *string, message string)
}

// Scorer says which of the nodes that will do it likes best.
type Scorer interface {
	// Score fills in 0 to 100 for each node; false says that it has no preference.
	Score(c *Cycle, nodes []*Node, scores []int64) bool
}

// Reserver sets aside what a pod will use, when its node is chosen.
type Reserver interface {
	Reserve(c *Cycle, n *Node) *Refusal
	Unreserve(p *Pod)
}

// Permitter may hold a pod back once its place is reserved.
type Permitter interface {
	// Permit lets the pod go on (0), refuses, or holds it back for a time: then whoever has it goes on with
	// Scheduler.Allow, and Scheduler.Reject ends it, as does the time.
	Permit(c *Cycle, n *Node) (wait time.Duration, refusal *Refusal)
}

// Preparer does what has to be done before a pod is bound, in the background.
type Preparer interface {
	// Awaits reports that it will take a while: then the pod is nominated for its node, for others to see.
	Awaits(p *Pod) bool
	Prepare(ctx context.Context, p *Pod) error
}

// Binder binds a pod to its node, in the background. The first that does decides.
type Binder interface {
	// Bind returns false if it leaves the pod to others.
	Bind(ctx context.Context, p *Pod) (done bool, err error)
}

// Observer is told of pods that are bound.
type Observer interface {
	Bound(p *Pod)
}

// Waker knows which events may help a pod that the plugin has refused.
type Waker interface {
	// WakenBy are the kinds of events that may help at all.
	WakenBy() Kind
	// Helps reports whether an event of such a kind may help this pod.
	Helps(e *Event, p *Pod) bool
}

// maxScore is the best that a scorer gives.
const maxScore = 100

// scaleToBest makes the best score 100 and the others what they are in proportion; reverse is for counts of what is bad.
func scaleToBest(scores []int64, reverse bool) {
	var best int64
	for _, s := range scores {
		best = max(best, s)
	}
	for i, s := range scores {
		if best > 0 {
			s = maxScore * s / best
		}
		if reverse {
			s = maxScore - s
		}
		scores[i] = s
	}
}
