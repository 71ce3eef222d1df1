package scheduler

import (
	"log/slog"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
)

// Config is what the scheduler is given for one term.
type Config struct {
	Client kubernetes.Interface
	// Informers are shared with the other parts of the process; all are of whole resources.
	Informers informers.SharedInformerFactory
	// EventsFor takes what people are told of, under a scheduler's name.
	EventsFor func(scheduler string) events.EventRecorder
	Clock     clock.WithTicker
	// Random is a number below n: where preemption begins to look.
	Random func(n int) int
	Log    *slog.Logger
	// Configuration says which pods are scheduled how. It has its defaults and is valid (SetDefaults, Validate); nil is
	// upstream's default.
	Configuration *Configuration
	// More plugins than those of the table, for profiles to enable.
	More []Row
}
