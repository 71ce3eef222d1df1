package scheduler

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/tools/events"
)

// Row is a plugin in the table.
type Row struct {
	Name   string
	Weight int64 // of its scores
	// New makes the plugin for a profile.
	New func(*Config, *Scheduler) any
}

// Plugins is the table, in the order in which plugins are asked.
func Plugins() []Row {
	return []Row{
		{"SchedulingGates", 0, plain[schedulingGates]},
		{"PrioritySort", 0, plain[prioritySort]},
		{"NodeUnschedulable", 0, plain[nodeUnschedulable]},
		{"NodeName", 0, plain[nodeName]},
		{"TaintToleration", 3, plain[taintToleration]},
		{"NodeAffinity", 2, plain[nodeAffinity]},
		{"NodePorts", 0, plain[nodePorts]},
		{"NodeResourcesFit", 1, newNodeResourcesFit},
		{"VolumeRestrictions", 0, newVolumeRestrictions},
		{"NodeVolumeLimits", 0, newNodeVolumeLimits},
		{"VolumeBinding", 0, newVolumeBinding},
		{"VolumeZone", 0, newVolumeZone},
		{"PodTopologySpread", 2, newPodTopologySpread},
		{"InterPodAffinity", 2, plain[interPodAffinity]},
		{"DefaultPreemption", 0, newDefaultPreemption},
		{"NodeResourcesBalancedAllocation", 1, plain[balancedAllocation]},
		{"ImageLocality", 1, plain[imageLocality]},
		{"DefaultBinder", 0, newDefaultBinder},
		{"NodeDeclaredFeatures", 0, plain[nodeDeclaredFeatures]},
	}
}

// plain makes a plugin that needs nothing.
func plain[T any](*Config, *Scheduler) any { return new(T) }

// profile is the plugins for pods of one scheduler name, by extension point.
type profile struct {
	name       string
	percentage int // of nodes to score; 0 is as many as suit the cluster's size
	sorter     Sorter
	gates      []Gate
	filters    []filterOf
	choosers   []chooserOf
	remedies   []Remedy
	scorers    []scorerOf
	reservers  []Reserver
	preparers  []preparerOf
	binder     binderOf
	wakers     map[string]Waker
	events     events.EventRecorder
	points     map[string]prometheus.Observer // times of each point that ended well
}

type filterOf struct {
	plugin Filter
	name   string
}

type chooserOf struct {
	Chooser
	name string
}

type preparerOf struct {
	Preparer
	name string
}

type binderOf struct {
	Binder
	name string
}

type scorerOf struct {
	Scorer
	name   string
	weight int64
}

// newProfile sorts the plugins of the table by what they implement.
func newProfile(name string, config *Config, s *Scheduler) *profile {
	p := &profile{name: name, percentage: config.PercentageOfNodesToScore, wakers: map[string]Waker{}, points: map[string]prometheus.Observer{}, events: config.EventsFor(name)}
	for _, row := range Plugins() {
		p.enlist(row, row.New(config, s))
	}
	return p
}

func (p *profile) enlist(row Row, plugin any) {
	if x, ok := plugin.(Gate); ok {
		p.gates = append(p.gates, x)
	}
	if x, ok := plugin.(Sorter); ok {
		p.sorter = x
	}
	if x, ok := plugin.(Filter); ok {
		p.filters = append(p.filters, filterOf{x, row.Name})
	}
	if x, ok := plugin.(Chooser); ok {
		p.choosers = append(p.choosers, chooserOf{x, row.Name})
	}
	if x, ok := plugin.(Remedy); ok {
		p.remedies = append(p.remedies, x)
	}
	if x, ok := plugin.(Scorer); ok {
		p.scorers = append(p.scorers, scorerOf{x, row.Name, row.Weight})
	}
	if x, ok := plugin.(Reserver); ok {
		p.reservers = append(p.reservers, x)
	}
	if x, ok := plugin.(Preparer); ok {
		p.preparers = append(p.preparers, preparerOf{x, row.Name})
	}
	if x, ok := plugin.(Binder); ok {
		p.binder = binderOf{x, row.Name}
	}
	if x, ok := plugin.(Waker); ok {
		p.wakers[row.Name] = x
	}
}

// wakenBy is the kinds of events that may help pods that a plugin has refused: all, if it does not say.
func (p *profile) wakenBy(plugin string) Kind {
	if w := p.wakers[plugin]; w != nil {
		return w.WakenBy()
	}
	return ^Kind(0)
}
