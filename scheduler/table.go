package scheduler

// Row is a plugin in the table.
type Row struct {
	Name   string
	Weight int64 // of its scores
	// Kind is a nil of the plugin's type: what it has to say at all.
	Kind any
	// New makes the plugin for a profile; args are nil if it takes none.
	New func(s *Scheduler, args Args) any
	// Args is an empty set of its arguments; nil if it takes none.
	Args func() Args
	// Extra plugins are there, but not enabled unless a profile says so.
	Extra bool
}

// Plugins is the table, in the order in which plugins are asked.
func Plugins() []Row {
	return []Row{
		plain[schedulingGates]("SchedulingGates", 0),
		plain[prioritySort]("PrioritySort", 0),
		plain[nodeUnschedulable]("NodeUnschedulable", 0),
		plain[nodeName]("NodeName", 0),
		plain[taintToleration]("TaintToleration", 3),
		configured("NodeAffinity", 2, newNodeAffinity),
		plain[nodePorts]("NodePorts", 0),
		configured("NodeResourcesFit", 1, newNodeResourcesFit),
		made("VolumeRestrictions", newVolumeRestrictions),
		made("NodeVolumeLimits", newNodeVolumeLimits),
		configured("VolumeBinding", 0, newVolumeBinding),
		made("VolumeZone", newVolumeZone),
		configured("PodTopologySpread", 2, newPodTopologySpread),
		configured("InterPodAffinity", 2, newInterPodAffinity),
		configured("DynamicResources", 0, newDynamicResources),
		configured("DefaultPreemption", 0, newDefaultPreemption),
		configured("NodeResourcesBalancedAllocation", 1, newBalancedAllocation),
		plain[imageLocality]("ImageLocality", 1),
		made("DefaultBinder", newDefaultBinder),
		plain[nodeDeclaredFeatures]("NodeDeclaredFeatures", 0),
	}
}

// plain is the row of a plugin that needs nothing.
func plain[T any](name string, weight int64) Row {
	return Row{Name: name, Weight: weight, Kind: (*T)(nil), New: func(*Scheduler, Args) any { return new(T) }}
}

// made is the row of a plugin that takes no arguments.
func made[T any](name string, make func(*Scheduler) *T) Row {
	return Row{Name: name, Kind: (*T)(nil), New: func(s *Scheduler, _ Args) any { return make(s) }}
}

// configured is the row of a plugin that takes arguments.
func configured[T, A any, P interface {
	*A
	Args
}](name string, weight int64, make func(*Scheduler, P) *T) Row {
	return Row{Name: name, Weight: weight, Kind: (*T)(nil), Args: func() Args { return P(new(A)) },
		New: func(s *Scheduler, args Args) any { return make(s, args.(P)) }}
}
