package scheduler

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Why says why a pod has no node, or why it has the one that it has: what a cycle finds that is run dry on the world as
// the scheduler knows it now. Nothing is kept for it, and nothing changes by it.
type Why struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// State is Pending, Gated (not let into the queue), Binding (it has a node, and is not bound yet), Scheduled, Finished,
	// Terminating (deleted before it had a node), or Foreign (another scheduler's).
	State string `json:"state"`
	// Summary is a sentence about that.
	Summary   string `json:"summary"`
	Scheduler string `json:"scheduler"`
	Priority  int32  `json:"priority"`
	// Node is where the pod is, or would be if it were looked at now.
	Node string `json:"node,omitempty"`
	// Queue is where a pod without a node waits.
	Queue *WhyQueue `json:"queue,omitempty"`
	// Message is what the pod's condition would say, if it were looked at now.
	Message string `json:"message,omitempty"`
	// Nodes is how many there are.
	Nodes int `json:"nodes"`
	// Refusals are why nodes will not do, the most frequent first.
	Refusals []WhyRefusal `json:"refusals,omitempty"`
	// Changes would let the pod run, the smallest first. Each has been tried in thought.
	Changes []WhyChange `json:"changes,omitempty"`
	// Scores are of the nodes that will do, the best first. For a pod that has a node they are as if it were not there.
	Scores []WhyScore `json:"scores,omitempty"`
}

// WhyQueue is where a pod waits, and for what.
type WhyQueue struct {
	// Place is active, backoff, unschedulable or gated.
	Place    string `json:"place"`
	Attempts int    `json:"attempts"`
	// Until is the end of its back-off.
	Until *metav1.Time `json:"until,omitempty"`
	// Refusers are the plugins that refused it the last time: it waits for an event that one of them thinks may help.
	Refusers []string `json:"refusers,omitempty"`
	// Nominated is the node whose pods are to make place for it.
	Nominated string `json:"nominatedNode,omitempty"`
}

// WhyRefusal is one way in which nodes refuse a pod.
type WhyRefusal struct {
	Plugin  string   `json:"plugin"`
	Reasons []string `json:"reasons"`
	// Preemptible says that fewer pods on the nodes may help.
	Preemptible bool `json:"preemptible"`
	Nodes       int  `json:"nodes"`
	// Groups are nodes of which the same is to be said, those nearest to letting the pod in first.
	Groups []WhyGroup `json:"groups"`
}

// WhyGroup is nodes of which the same is to be said.
type WhyGroup struct {
	Nodes []string `json:"nodes"`
	Facts []Fact   `json:"facts,omitempty"`
}

// Fact is a number, or a name, behind a refusal; of the fields below the text those are set that it is about.
type Fact struct {
	// Text is the whole for people.
	Text string `json:"text"`

	// A resource: what the pod asks for, what the node has, what of that its pods have asked for, and what is left.
	Resource    string `json:"resource,omitempty"`
	Asked       string `json:"asked,omitempty"`
	Allocatable string `json:"allocatable,omitempty"`
	Requested   string `json:"requested,omitempty"`
	Free        string `json:"free,omitempty"`

	Taint  string `json:"taint,omitempty"`  // that the pod does not tolerate: key=value:effect
	Term   string `json:"term,omitempty"`   // that is not met: about labels of nodes, or about pods
	Port   string `json:"port,omitempty"`   // that another pod has
	Volume string `json:"volume,omitempty"` // that the node does not reach, or takes no more of

	// Pods in a domain: how many that count are in the node's, how many in the emptiest, and by how much more there may be.
	TopologyKey string `json:"topologyKey,omitempty"`
	Domain      string `json:"domain,omitempty"`
	Pods        *int32 `json:"pods,omitempty"`
	Least       *int32 `json:"least,omitempty"`
	MaxSkew     int32  `json:"maxSkew,omitempty"`

	shortage float64 // how far the node is from letting the pod in; 0 if that is no matter of degree
}

// WhyChange is steps that would let a pod run, all of them together.
type WhyChange struct {
	Steps []string `json:"steps"`
	// Node is where it would run then.
	Node string `json:"node"`
}

// WhyScore is what plugins give nodes.
type WhyScore struct {
	Nodes   []string         `json:"nodes"`
	Total   int64            `json:"total"`
	Plugins []WhyPluginScore `json:"plugins"`
	// Best is the one that is chosen; if several have the same total, the first in the scheduler's order.
	Best bool `json:"best,omitempty"`
	// Here says that the pod is on one of them.
	Here bool `json:"here,omitempty"`
}

// WhyPluginScore is what one plugin, or an extender, gives: 0 to 100, and that by its weight.
type WhyPluginScore struct {
	Plugin   string `json:"plugin"`
	Score    int64  `json:"score"`
	Weight   int64  `json:"weight"`
	Weighted int64  `json:"weighted"`
}

// WhyPath is where Handler answers, before the pod's namespace and name.
const WhyPath = "/why/"

func (s *Scheduler) serveWhy(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	why, err := s.Why(r.PathValue("namespace"), r.PathValue("name"))
	if err != nil {
		status := apierrors.NewInternalError(err).ErrStatus
		if known, ok := err.(apierrors.APIStatus); ok {
			status = known.Status()
		}
		w.WriteHeader(int(status.Code))
		_ = json.NewEncoder(w).Encode(status) // who went away gets nothing
		return
	}
	_ = json.NewEncoder(w).Encode(why)
}

// Why explains what becomes of a pod. Cycles wait meanwhile, for some milliseconds per thousand nodes.
func (s *Scheduler) Why(namespace, name string) (*Why, error) {
	pod, err := s.config.Informers.Core().V1().Pods().Lister().Pods(namespace).Get(name)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	y := &Why{Namespace: namespace, Name: name, Scheduler: pod.Spec.SchedulerName, Priority: priorityOf(pod), Nodes: len(s.cluster.known()), Node: pod.Spec.NodeName}
	s.explain(y, pod)
	return y, nil
}

// States of pods that are asked about.
const (
	whyPending     = "Pending"
	whyGated       = "Gated"
	whyBinding     = "Binding"
	whyScheduled   = "Scheduled"
	whyFinished    = "Finished"
	whyTerminating = "Terminating"
	whyForeign     = "Foreign"
)

func (s *Scheduler) explain(y *Why, pod *corev1.Pod) {
	profile, w := s.profiles[pod.Spec.SchedulerName], s.queue.pods[pod.UID]
	switch {
	case isFinished(pod):
		y.State, y.Summary = whyFinished, fmt.Sprintf("it has run to its end (%s) and takes nothing of a node any more", pod.Status.Phase)
	case pod.Spec.NodeName != "" && profile == nil:
		y.State, y.Summary = whyScheduled, fmt.Sprintf("it runs on %s; scheduler %q put it there, which is another one than %s", pod.Spec.NodeName, pod.Spec.SchedulerName, s.names())
	case pod.Spec.NodeName != "":
		y.State, y.Summary = whyScheduled, "it runs on "+pod.Spec.NodeName
		s.explainPlaced(y, pod, profile)
	case pod.DeletionTimestamp != nil:
		y.State, y.Summary = whyTerminating, "it is being deleted: no node is looked for any more"
	case profile == nil:
		y.State, y.Summary = whyForeign, fmt.Sprintf("it waits for scheduler %q: this one answers to %s (spec.schedulerName)", pod.Spec.SchedulerName, s.names())
	case w == nil:
		y.State, y.Summary = whyPending, "the scheduler has not seen it yet"
	case s.cluster.assumed[pod.UID]:
		y.State, y.Node = whyBinding, s.cluster.pods[pod.UID].Spec.NodeName
		y.Summary = "it has a place on " + y.Node + ", and is being bound"
		if holders := s.hall.holders(pod.UID); len(holders) > 0 {
			y.Summary = "it has a place on " + y.Node + ", and is held back by " + strings.Join(holders, ", ")
		}
	default:
		y.State = whyPending
		s.explainWaiting(y, w)
	}
}

// names are the schedulers whose pods are scheduled here.
func (s *Scheduler) names() string {
	var names []string
	for name := range s.profiles {
		names = append(names, fmt.Sprintf("%q", name))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (s *Scheduler) explainWaiting(y *Why, w *Waiting) {
	y.Queue = &WhyQueue{Attempts: w.attempts, Nominated: w.promised}
	for name := range w.refusers {
		y.Queue.Refusers = append(y.Queue.Refusers, name)
	}
	slices.Sort(y.Queue.Refusers)
	wait := w.until.Sub(s.config.Clock.Now()).Round(100 * time.Millisecond)
	switch w.state {
	case gated:
		y.State, y.Queue.Place = whyGated, "gated"
		y.Summary = "it is not let into the queue: " + strings.Join(w.closed(), "; ")
	case active, inFlight:
		y.Queue.Place, y.Summary = "active", "it is in line, and will be looked at at once"
	case backoff, broken:
		y.Queue.Place, y.Queue.Until = "backoff", &metav1.Time{Time: w.until}
		y.Summary = fmt.Sprintf("it was refused %s, and will be looked at again in %v", counted(w.attempts, "time"), max(wait, 0))
		if w.state == broken {
			y.Summary = fmt.Sprintf("something went wrong with it (%s); it will be tried again in %v", w.lastWord(), max(wait, 0))
		}
	case parked:
		y.Queue.Place = "unschedulable"
		y.Summary = "no node would do; it waits for something that may change the mind of " + strings.Join(y.Queue.Refusers, ", ")
	}
	c := s.dryCycle(w.Pod, w.profile)
	n, d := c.decide()
	if n != nil {
		y.Node = n.name
		c.explainScores(y, "")
		return
	}
	if d.Err != nil {
		y.Message = d.Err.Error()
		return
	}
	if d.Nodes > 0 {
		if nominated := c.remedy(d); nominated != nil && *nominated != "" {
			y.Queue.Nominated = *nominated
		}
	}
	y.Message = d.Message()
	if nominated := y.Queue.Nominated; nominated != "" && w.state != gated {
		y.Summary += "; less important pods on " + nominated + " make place for it, or would"
	}
	groups := c.explainRefusals(y, d)
	y.Changes = s.changesFor(w, groups)
}

// closed are the gates that hold a pod back.
func (w *Waiting) closed() (reasons []string) {
	for _, g := range w.profile.gates {
		if refusal := g.plugin.Admit(w.Pod); refusal != nil {
			reasons = append(reasons, refusal.Reasons...)
		}
	}
	return reasons
}

// lastWord is what stands in the pod's condition.
func (w *Waiting) lastWord() string {
	for _, c := range w.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			return c.Message
		}
	}
	return "see the log"
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// dryCycle is a look at a pod of which nothing is kept.
func (s *Scheduler) dryCycle(p *Pod, profile *profile) *Cycle {
	s.cluster.cycle++
	return &Cycle{Cluster: s.cluster, Pod: p, profile: profile, promises: s.queue.promises, extenders: s.extenders, random: func(int) int { return 1 }, dry: true}
}

// explainPlaced scores nodes as if the pod were not there.
func (s *Scheduler) explainPlaced(y *Why, pod *corev1.Pod, profile *profile) {
	there := s.supposing()
	defer there.undo()
	there.remove(pod.UID)
	free := pod.DeepCopy()
	free.Spec.NodeName, free.Status.NominatedNodeName = "", ""
	c := s.dryCycle(newPod(free), profile)
	_, d := c.decide()
	if d != nil {
		y.Message = d.Message()
		c.explainRefusals(y, d)
		return
	}
	c.explainScores(y, pod.Spec.NodeName)
}

// explainScores scores all nodes that will do, also those that a cycle would not have come to, and tells of the others.
func (c *Cycle) explainScores(y *Why, here string) {
	var feasible []*Node
	d := c.newDiagnosis()
	nodes := c.known()
	for i := range nodes { // in the order of the cycle, for the first of equals is the best
		n := nodes[(c.start+i)%len(nodes)]
		if refusal := c.judge(n); refusal != nil {
			d.refuse(n, refusal)
		} else {
			feasible = append(feasible, n)
		}
	}
	feasible, _ = c.extenders.filter(c, feasible, d)
	c.explainRefusals(y, d)
	if len(feasible) == 0 {
		return
	}
	given := make([][]WhyPluginScore, len(feasible))
	totals := make([]int64, len(feasible))
	add := func(i int, plugin string, score, weight int64) {
		given[i] = append(given[i], WhyPluginScore{plugin, score, weight, score * weight})
		totals[i] += score * weight
	}
	for _, s := range c.profile.scorers {
		scores := make([]int64, len(feasible))
		if !s.plugin.Score(c, feasible, scores) {
			continue
		}
		for i, score := range scores {
			add(i, s.name, score, s.weight)
		}
	}
	c.extenders.score(c, feasible, func(i int, e *extender, score int64) { add(i, e.URLPrefix, score, e.worth()) })
	best := 0
	for i := range totals {
		if totals[i] > totals[best] {
			best = i
		}
	}
	y.Scores = groupedScores(feasible, given, totals, best, here)
}

// groupedScores puts nodes with the same scores together; the best, and the pod's own, stand alone.
func groupedScores(nodes []*Node, given [][]WhyPluginScore, totals []int64, best int, here string) []WhyScore {
	var all []WhyScore
	places := map[string]int{}
	for i, n := range nodes {
		key := fmt.Sprint(given[i], i == best, n.name == here)
		at, ok := places[key]
		if !ok {
			at = len(all)
			places[key] = at
			all = append(all, WhyScore{Total: totals[i], Plugins: given[i], Best: i == best, Here: n.name == here})
		}
		all[at].Nodes = append(all[at].Nodes, n.name)
	}
	slices.SortStableFunc(all, func(a, b WhyScore) int {
		if a.Total == b.Total && a.Best != b.Best {
			return map[bool]int{true: -1, false: 1}[a.Best]
		}
		return cmp.Compare(b.Total, a.Total)
	})
	return all
}

// explained is a group, with a node of it and what stands behind.
type explained struct {
	node     *Node
	refusal  *Refusal
	shortage float64
	facts    []Fact
	names    []string
}

// explainRefusals groups the nodes by what is to be said of them. It returns the groups, by ways of refusing.
func (c *Cycle) explainRefusals(y *Why, d *Diagnosis) [][]*explained {
	if d.Whole {
		facts, _ := c.behind(d.Others, nil)
		y.Refusals = []WhyRefusal{{Plugin: d.Others.Plugin, Reasons: d.Others.Reasons, Nodes: d.Nodes, Groups: []WhyGroup{{Facts: facts}}}}
		return [][]*explained{{{refusal: d.Others, facts: facts}}}
	}
	byWay, byFacts := map[string]int{}, map[string]*explained{}
	var ways [][]*explained
	for _, n := range c.known() {
		refusal := d.why(n)
		if refusal == nil {
			continue
		}
		if refusal.Plugin == "" { // not looked at, because plugins name others
			refusal = cmp.Or(c.judgeAsIs(n), refusal)
		}
		facts, shortage := c.behind(refusal, n)
		way := refusal.Plugin + "|" + strings.Join(refusal.Reasons, "|")
		key := way
		for _, f := range facts {
			key += "|" + f.Text
		}
		e := byFacts[key]
		if e == nil {
			e = &explained{node: n, refusal: refusal, facts: facts, shortage: shortage}
			byFacts[key] = e
			at, ok := byWay[way]
			if !ok {
				at = len(ways)
				byWay[way] = at
				ways = append(ways, nil)
			}
			ways[at] = append(ways[at], e)
		}
		e.names = append(e.names, n.name)
	}
	for _, way := range ways {
		y.Refusals = append(y.Refusals, refusalOf(way))
	}
	slices.SortStableFunc(y.Refusals, func(a, b WhyRefusal) int {
		return cmp.Or(cmp.Compare(b.Nodes, a.Nodes), cmp.Compare(a.Plugin, b.Plugin))
	})
	return ways
}

func refusalOf(way []*explained) WhyRefusal {
	slices.SortStableFunc(way, func(a, b *explained) int { return cmp.Compare(a.shortage, b.shortage) })
	r := WhyRefusal{Plugin: way[0].refusal.Plugin, Reasons: way[0].refusal.Reasons, Preemptible: !way[0].refusal.Hopeless}
	for _, e := range way {
		r.Nodes += len(e.names)
		r.Groups = append(r.Groups, WhyGroup{Nodes: e.names, Facts: e.facts})
	}
	return r
}

// behind is what stands behind a refusal, and how far it is from none. n is nil if the refusal is of all nodes at once.
func (c *Cycle) behind(refusal *Refusal, n *Node) (facts []Fact, shortage float64) {
	x, judge := c.explainer(refusal.Plugin)
	if x == nil || judge == nil && n != nil {
		return nil, 0
	}
	if n != nil && c.judgeAsIs(n) == nil { // it is the pods that were promised a place which are in the way
		w := c.whatIf(n)
		defer w.undo()
		for _, p := range c.promises[n.name] {
			if p.UID != c.Pod.UID {
				w.add(p.Pod)
				facts = append(facts, Fact{Text: "with " + p.key().String() + ", which is nominated for the node"})
			}
		}
		n = &w.node
	}
	facts = append(x.Facts(c, judge, n), facts...)
	for _, f := range facts {
		shortage += f.shortage
	}
	return facts, shortage
}

// explainer is the plugin of a name, if it explains itself, and the judge that it has appointed.
func (c *Cycle) explainer(plugin string) (x Explainer, judge Judge) {
	for _, f := range c.profile.filters {
		if f.name == plugin {
			x, _ = f.plugin.(Explainer)
		}
	}
	for _, j := range c.judges {
		if j.plugin == plugin {
			judge = j.Judge
		}
	}
	return x, judge
}
