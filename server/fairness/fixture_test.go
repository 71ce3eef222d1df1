package fairness

import (
	"hash/fnv"
	"testing"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/registry"
)

// clock is time that passes when a test says so.
type clock struct{ at time.Time }

func newClock() *clock { return &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time { return c.at }

func (c *clock) pass(d time.Duration) { c.at = c.at.Add(d) }

func limited(name string, shares int32, change ...func(*flowcontrolv1.LimitedPriorityLevelConfiguration)) *flowcontrolv1.PriorityLevelConfiguration {
	spec := &flowcontrolv1.LimitedPriorityLevelConfiguration{NominalConcurrencyShares: &shares,
		LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject}}
	for _, c := range change {
		c(spec)
	}
	return &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "uid-of-level-x"},
		Spec: flowcontrolv1.PriorityLevelConfigurationSpec{Type: flowcontrolv1.PriorityLevelEnablementLimited, Limited: spec}}
}

func queuing(queues, hand, length int32) func(*flowcontrolv1.LimitedPriorityLevelConfiguration) {
	return func(l *flowcontrolv1.LimitedPriorityLevelConfiguration) {
		l.LimitResponse = flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeQueue,
			Queuing: &flowcontrolv1.QueuingConfiguration{Queues: queues, HandSize: hand, QueueLengthLimit: length}}
	}
}

func lending(percent int32) func(*flowcontrolv1.LimitedPriorityLevelConfiguration) {
	return func(l *flowcontrolv1.LimitedPriorityLevelConfiguration) { l.LendablePercent = &percent }
}

func borrowing(percent int32) func(*flowcontrolv1.LimitedPriorityLevelConfiguration) {
	return func(l *flowcontrolv1.LimitedPriorityLevelConfiguration) { l.BorrowingLimitPercent = &percent }
}

// schemaFor leads everything that a group's members ask to a level, each user a flow.
func schemaFor(name, level, group string, precedence int32) *flowcontrolv1.FlowSchema {
	return &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: flowcontrolv1.FlowSchemaSpec{
		PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: level},
		MatchingPrecedence:         precedence,
		DistinguisherMethod:        &flowcontrolv1.FlowDistinguisherMethod{Type: flowcontrolv1.FlowDistinguisherMethodByUserType},
		Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
			Subjects: []flowcontrolv1.Subject{{Kind: "Group", Group: &flowcontrolv1.GroupSubject{Name: group}}},
			ResourceRules: []flowcontrolv1.ResourcePolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"},
				ClusterScope: true, Namespaces: []string{"*"}}},
			NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}},
		}},
	}}
}

// gateOf is a gate with these objects besides the mandatory ones.
func gateOf(t testing.TB, seats int, c *clock, objects ...registry.Object) *Gate {
	t.Helper()
	g := newGate(seats, c.now)
	g.hash = func(schema, flow string) uint64 { // the same in every run
		h := fnv.New64a()
		h.Write([]byte(schema + flow))
		return h.Sum64()
	}
	for _, o := range objects {
		change(g, nil, o)
	}
	return g
}

func change(g *Gate, old, now registry.Object) {
	o := now
	if o == nil {
		o = old
	}
	switch o.(type) {
	case *flowcontrolv1.PriorityLevelConfiguration:
		follow(g, g.levels, old, now)
	case *flowcontrolv1.FlowSchema:
		follow(g, g.schemas, old, now)
	}
}

func by(user string, groups ...string) *registry.Attributes {
	return &registry.Attributes{User: registry.User{Name: user, Groups: groups}, Verb: "list", ResourceRequest: true, Resource: "pods", Namespace: "default"}
}

// level finds a level.
func (g *Gate) level(t testing.TB, name string) configured {
	t.Helper()
	for _, l := range g.current.Load().levels {
		if l.name == name {
			return l
		}
	}
	t.Fatalf("there is no level %s", name)
	return configured{}
}

// arrive lets a request arrive without anybody waiting for it.
func (g *Gate) arrive(r *registry.Attributes, w Work) (*Ticket, outcome) {
	s := g.Classify(r)
	t := &Ticket{schema: s, request: r, work: w, flow: s.distinguisher(r)}
	return t, s.level.arrive(t, g.hash(s.name, t.flow), g.now())
}
