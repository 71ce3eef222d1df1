package scheduler

import (
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/tools/events"
	configv1 "k8s.io/kube-scheduler/config/v1"
)

// profile is the plugins for pods of one scheduler name, by what they have to say.
type profile struct {
	name       string
	percentage int // of nodes to score; 0 is as many as suit the cluster's size
	sorter     Sorter
	gates      []gateOf
	filters    []filterOf
	choosers   []chooserOf
	remedies   []remedyOf
	scorers    []scorerOf
	reservers  []reserverOf
	permitters []permitterOf
	preparers  []preparerOf
	binders    []binderOf
	observers  []Observer
	wakers     map[string]Waker
	events     events.EventRecorder
	points     map[string]prometheus.Observer // times of each point that ended well
	// evaluations are counters that are wanted in every cycle.
	evaluations map[evaluation]prometheus.Counter
}

// enlisted is a plugin at one point.
type enlisted[T any] struct {
	plugin T
	name   string
}

type (
	gateOf      = enlisted[Gate]
	filterOf    = enlisted[Filter]
	chooserOf   = enlisted[Chooser]
	remedyOf    = enlisted[Remedy]
	reserverOf  = enlisted[Reserver]
	permitterOf = enlisted[Permitter]
	preparerOf  = enlisted[Preparer]
	binderOf    = enlisted[Binder]
)

type scorerOf struct {
	plugin Scorer
	name   string
	weight int64
}

// point is one of upstream's extension points: its name in a file, what people call plugins at it, which plugins have
// something to say there, and where they are put.
type point struct {
	name, kind string
	set        func(*configv1.Plugins) *configv1.PluginSet
	takes      func(plugin any) bool
	enlist     func(p *profile, name string, plugin any, weight int64)
}

// points are in the order of a pod's way. What knarr's plugins do before they look at nodes, and before they score, is
// part of filtering and scoring: of these points, the first chooses nodes, and the second is empty.
func points() []point {
	return []point{
		{"preEnqueue", "PreEnqueuePlugin", func(p *configv1.Plugins) *configv1.PluginSet { return &p.PreEnqueue }, is[Gate],
			into(func(p *profile) *[]gateOf { return &p.gates })},
		{"queueSort", "QueueSortPlugin", func(p *configv1.Plugins) *configv1.PluginSet { return &p.QueueSort }, is[Sorter],
			func(p *profile, _ string, plugin any, _ int64) { p.sorter = plugin.(Sorter) }},
		{"preFilter", "PreFilterPlugin", func(p *configv1.Plugins) *configv1.PluginSet { return &p.PreFilter }, either(is[Chooser], is[Filter]),
			into(func(p *profile) *[]chooserOf { return &p.choosers })},
		{"filter", "FilterPlugin", func(p *configv1.Plugins) *configv1.PluginSet { return &p.Filter }, is[Filter],
			into(func(p *profile) *[]filterOf { return &p.filters })},
		{"postFilter", "PostFilterPlugin", func(p *configv1.Plugins) *configv1.PluginSet { return &p.PostFilter }, is[Remedy],
			into(func(p *profile) *[]remedyOf { return &p.remedies })},
		{"preScore", "PreScorePlugin", func(p *configv1.Plugins) *configv1.PluginSet { return &p.PreScore }, is[Scorer],
			func(*profile, string, any, int64) {}},
		{"score", "ScorePlugin", func(p *configv1.Plugins) *configv1.PluginSet { return &p.Score }, is[Scorer],
			func(p *profile, name string, plugin any, weight int64) {
				p.scorers = append(p.scorers, scorerOf{plugin.(Scorer), name, weight})
			}},
		{"reserve", "ReservePlugin", func(p *configv1.Plugins) *configv1.PluginSet { return &p.Reserve }, is[Reserver],
			into(func(p *profile) *[]reserverOf { return &p.reservers })},
		{"permit", "PermitPlugin", func(p *configv1.Plugins) *configv1.PluginSet { return &p.Permit }, is[Permitter],
			into(func(p *profile) *[]permitterOf { return &p.permitters })},
		{"preBind", "PreBindPlugin", func(p *configv1.Plugins) *configv1.PluginSet { return &p.PreBind }, is[Preparer],
			into(func(p *profile) *[]preparerOf { return &p.preparers })},
		{"bind", "BindPlugin", func(p *configv1.Plugins) *configv1.PluginSet { return &p.Bind }, is[Binder],
			into(func(p *profile) *[]binderOf { return &p.binders })},
		{"postBind", "PostBindPlugin", func(p *configv1.Plugins) *configv1.PluginSet { return &p.PostBind }, is[Observer],
			func(p *profile, _ string, plugin any, _ int64) { p.observers = append(p.observers, plugin.(Observer)) }},
	}
}

func is[T any](plugin any) bool { _, ok := plugin.(T); return ok }

func either(a, b func(any) bool) func(any) bool {
	return func(plugin any) bool { return a(plugin) || b(plugin) }
}

func into[T any](list func(*profile) *[]enlisted[T]) func(*profile, string, any, int64) {
	return func(p *profile, name string, plugin any, _ int64) {
		if x, ok := plugin.(T); ok {
			*list(p) = append(*list(p), enlisted[T]{x, name})
		}
	}
}

// choice is what a profile's configuration comes to: plugins by point, in their order, and the arguments of each.
type choice struct {
	at   map[string][]configv1.Plugin // by the point's name
	args map[string]Args
}

// newProfile makes the plugins that a configuration chooses.
func newProfile(config *configv1.KubeSchedulerProfile, s *Scheduler) (*profile, error) {
	rows := s.rows()
	chosen, wrong := choose(rows, config, nil)
	if len(wrong) > 0 {
		return nil, fmt.Errorf("profile %s: %w", nameOf(config), wrong.ToAggregate())
	}
	p := &profile{name: nameOf(config), wakers: map[string]Waker{}, points: map[string]prometheus.Observer{},
		evaluations: map[evaluation]prometheus.Counter{}}
	p.events = s.config.EventsFor(p.name)
	if percentage := config.PercentageOfNodesToScore; percentage != nil {
		p.percentage = int(*percentage)
	} else {
		p.percentage = int(*s.config.Configuration.PercentageOfNodesToScore)
	}
	made := map[string]any{}
	for _, row := range rows {
		made[row.Name] = row.New(s, chosen.args[row.Name])
		if w, ok := made[row.Name].(Waker); ok {
			p.wakers[row.Name] = w
		}
	}
	for _, point := range points() {
		for _, plugin := range chosen.at[point.name] {
			point.enlist(p, plugin.Name, made[plugin.Name], int64(*plugin.Weight))
		}
	}
	return p, nil
}

// choose reads which plugins a profile has at which point. What is not said is as in the table.
func choose(rows []Row, config *configv1.KubeSchedulerProfile, at *field.Path) (choice, field.ErrorList) {
	chosen := choice{at: map[string][]configv1.Plugin{}}
	var errs field.ErrorList
	chosen.args, errs = readArgs(rows, config.PluginConfig, at.Child("pluginConfig"))
	said := config.Plugins
	if said == nil {
		said = &configv1.Plugins{}
	}
	at = at.Child("plugins")
	everywhere := merged(rows, said.MultiPoint)
	errs = append(errs, unknown(rows, said.MultiPoint.Enabled, "MultiPoint", at.Child("multiPoint"))...)
	if len(errs) > 0 {
		return chosen, errs
	}
	blanks := map[string]any{} // to see what each plugin has to say at all
	for _, row := range rows {
		blanks[row.Name] = row.Kind
	}
	for _, point := range points() {
		set := point.set(said)
		wrong := unknown(rows, set.Enabled, point.kind, at.Child(point.name))
		for i, p := range set.Enabled {
			if blank, ok := blanks[p.Name]; ok && !point.takes(blank) {
				wrong = append(wrong, field.Invalid(at.Child(point.name, "enabled").Index(i), p.Name, fmt.Sprintf("plugin %q does not extend %s plugin", p.Name, point.kind)))
			}
		}
		if errs = append(errs, wrong...); len(wrong) == 0 {
			chosen.at[point.name] = enabledAt(everywhere, set, func(name string) bool { return point.takes(blanks[name]) })
		}
	}
	if len(errs) == 0 {
		errs = chosen.check(at)
	}
	return chosen, errs
}

// check is for what a profile cannot do without, and must not overdo.
func (c *choice) check(at *field.Path) (errs field.ErrorList) {
	if n := len(c.at["queueSort"]); n > 1 {
		errs = append(errs, field.Invalid(at.Child("queueSort", "enabled"), n, "only one queue sort plugin can be enabled"))
	} else if n == 0 {
		errs = append(errs, field.Required(at.Child("queueSort"), "only one queue sort plugin required"))
	}
	if len(c.at["bind"]) == 0 {
		errs = append(errs, field.Required(at.Child("bind"), "at least one bind plugin is needed"))
	}
	for _, p := range c.at["score"] {
		if *p.Weight < 0 { // no others that can be written would be too many for an int64
			return append(errs, field.Invalid(at.Child("score"), p.Name, "total score of Score plugins could overflow"))
		}
	}
	return errs
}

// unknown are plugins that there are not, or that are named twice.
func unknown(rows []Row, enabled []configv1.Plugin, kind string, at *field.Path) (errs field.ErrorList) {
	seen := map[string]bool{}
	for i, p := range enabled {
		at := at.Child("enabled").Index(i)
		switch {
		case !slices.ContainsFunc(rows, func(r Row) bool { return r.Name == p.Name }):
			errs = append(errs, field.Invalid(at, p.Name, fmt.Sprintf("%s %q does not exist", kind, p.Name)))
		case seen[p.Name]:
			errs = append(errs, field.Invalid(at, p.Name, fmt.Sprintf("plugin %q already registered as %q", p.Name, kind)))
		}
		seen[p.Name] = true
	}
	return errs
}

// merged is the table, without what is disabled everywhere, with other weights where they are set, and with more at the end.
func merged(rows []Row, said configv1.PluginSet) []configv1.Plugin {
	var list []configv1.Plugin
	more := slices.Clone(said.Enabled)
	for _, row := range rows {
		if row.Extra || isNamed(said.Disabled, row.Name) {
			continue
		}
		p := configv1.Plugin{Name: row.Name, Weight: new(int32(row.Weight))}
		if i := indexOf(more, row.Name); i >= 0 {
			p = more[i]
			more = slices.Delete(more, i, i+1)
		}
		list = append(list, p)
	}
	return append(list, more...)
}

// enabledAt are the plugins at one point, in order: those named there that are enabled everywhere too, the others that are
// enabled everywhere, the others that are named there.
func enabledAt(everywhere []configv1.Plugin, said *configv1.PluginSet, takes func(name string) bool) []configv1.Plugin {
	var others, overriding, more []configv1.Plugin
	everyone := indexOf(said.Disabled, "*") >= 0
	for _, p := range everywhere {
		if !everyone && takes(p.Name) && !isNamed(said.Disabled, p.Name) && indexOf(said.Enabled, p.Name) < 0 {
			others = append(others, p)
		}
	}
	for _, p := range said.Enabled {
		if !everyone && indexOf(everywhere, p.Name) >= 0 && !isNamed(said.Disabled, p.Name) {
			overriding = append(overriding, p)
		} else {
			more = append(more, p)
		}
	}
	list := slices.Concat(overriding, others, more)
	for i := range list {
		if list[i].Weight == nil || *list[i].Weight == 0 {
			list[i].Weight = new(int32(1))
		}
	}
	return list
}

func indexOf(list []configv1.Plugin, name string) int {
	return slices.IndexFunc(list, func(p configv1.Plugin) bool { return p.Name == name })
}

// isNamed reports that a plugin is in a list, or that all are.
func isNamed(list []configv1.Plugin, name string) bool {
	return indexOf(list, name) >= 0 || indexOf(list, "*") >= 0
}

// wakenBy is the kinds of events that may help pods that a plugin has refused: all, if it does not say.
func (p *profile) wakenBy(plugin string) Kind {
	if w := p.wakers[plugin]; w != nil {
		return w.WakenBy()
	}
	return ^Kind(0)
}
