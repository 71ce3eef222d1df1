package main

import (
	"context"
	"flag"
	"strings"
	"time"
)

// part is a part of the run that can be chosen.
type part struct {
	name string
	// measure adds to the results of each; those that are nil are not wanted.
	measure func(ctx context.Context, top string, s sizes, reference, knarr results) error
}

func parts() []part {
	return []part{{"api", apiServers}, {"scheduling", scheduling}, {"rollout", rollouts}, {"crowd", crowd}, {"idle", idleCluster}}
}

func partNames() string {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return strings.Join(names, ", ")
}

// clusterSizes are how big clusters are, and how much they do.
type clusterSizes struct {
	scheduledNodes, scheduledPods int
	rolloutNodes, rolloutPods     int
	rollouts                      int
	crowdNodes, crowdPods         int
	idle                          time.Duration
}

func (s *clusterSizes) flags() {
	flag.IntVar(&s.scheduledNodes, "scheduled-nodes", 5000, "nodes over which pods are scheduled")
	flag.IntVar(&s.scheduledPods, "scheduled-pods", 2000, "pods of each shape that are scheduled; three times as many of the basic shape")
	flag.IntVar(&s.rolloutNodes, "rollout-nodes", 100, "simulated nodes of a rollout")
	flag.IntVar(&s.rolloutPods, "rollout-pods", 1000, "pods of a rollout")
	flag.IntVar(&s.rollouts, "rollouts", 3, "rollouts, of which the median counts")
	flag.IntVar(&s.crowdNodes, "crowd-nodes", 1000, "simulated nodes of the crowd")
	flag.IntVar(&s.crowdPods, "crowd-pods", 50000, "pods of the crowd; 0 leaves it out")
	flag.DurationVar(&s.idle, "idle", time.Minute, "how long an idle cluster is watched; 5m takes in everything that it does from time to time")
}
