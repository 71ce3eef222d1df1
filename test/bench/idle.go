package main

import (
	"context"
	"time"
)

// idleCluster measures a whole cluster of two simulated nodes that nobody uses: how long it takes to start, and what it
// costs to have it. Beside it stand the parts that act, alone: by how much a cluster without nodes is bigger than the API
// server, and upstream's two programs.
func idleCluster(ctx context.Context, top string, s sizes, reference, knarr results) error {
	if reference != nil {
		if err := idleUpstream(ctx, top, reference); err != nil {
			return err
		}
	}
	if knarr == nil {
		return nil
	}
	c, took, err := startCluster(ctx, top, 2)
	if err != nil {
		return err
	}
	defer c.end()
	knarr.set("cluster: start to nodes Ready", took.Seconds())
	calmDown()
	before := c.processor()
	select {
	case <-time.After(s.idle):
	case <-ctx.Done():
		return ctx.Err()
	}
	knarr.set("cluster: CPU, idle", 100*(c.processor()-before).Seconds()/s.idle.Seconds())
	now, _ := c.memory()
	knarr.set("cluster: memory, idle", now)
	c.end()

	bare, err := startBare(ctx, top)
	if err != nil {
		return err
	}
	defer bare.end()
	calmDown()
	alone, _ := bare.memory()
	bare.end()
	whole, _, err := startCluster(ctx, top, 0)
	if err != nil {
		return err
	}
	defer whole.end()
	calmDown()
	together, _ := whole.memory()
	knarr.set("controllers and scheduler, idle", together-alone)
	return nil
}

// calmDown waits until what was made for the start is forgotten and given back.
func calmDown() { time.Sleep(20 * time.Second) }

// idleUpstream measures what kube-controller-manager and kube-scheduler take together.
func idleUpstream(ctx context.Context, top string, got results) error {
	c, err := startBare(ctx, top)
	if err != nil {
		return err
	}
	defer c.end()
	for _, program := range []string{"kube-controller-manager", "kube-scheduler"} {
		if err := c.startUpstream(top, program); err != nil {
			return err
		}
	}
	both := &server{processes: c.processes[1:]}
	calmDown()
	now, _ := both.memory()
	got.set("controllers and scheduler, idle", now)
	return nil
}
