// Command bench measures knarr beside the reference kube-apiserver: the same load, on the same machine, in one run.
//
// It builds the reference (test/reference, minutes once) and the etcd that knarr embeds, confines itself and all that it
// starts to two processors, and takes both through the steps in measure.go, in turn: start on an empty directory, memory
// when idle, idle watches, the phases of the load on 5,000 pods of 3 kB, memory afterwards, and a start over 50,000 pods
// after kill -9. At the end it prints a table of figures: reference, knarr, ratio, and the least that is wanted.
//
// The load's clients have a connection each and move frames without decoding what is in them (wire.go): they share the
// processors with the server, which is what is measured.
//
// Memory is resident memory as the kernel counts it (VmRSS, VmHWM), etcd's included.
//
// Then come whole clusters (parts.go lists the parts of the run): how fast pods are scheduled over knarr's API server by
// kube-scheduler and by knarr, rollouts on simulated nodes, and what an idle cluster costs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/knarr-dev/knarr/test/upstream"
)

// sizes are how much load there is.
type sizes struct {
	pods, writers      int
	reads              int // GETs of each pod
	lists, listers     int
	churn              int // patches a second while lists run, so that no whole answer can be kept
	informers, rounds  int
	watchers, updates  int
	idleWatches        int
	bindings           int // role bindings of the namespace in which decisions are measured
	restart            int // pods at the start after kill -9
	processors, settle int // settle: seconds before memory is read
	clusterSizes
}

func main() {
	s := sizes{reads: 4, listers: 4, churn: 20, informers: 10, rounds: 10, settle: 5}
	flag.IntVar(&s.pods, "pods", 5000, "pods of the load")
	flag.IntVar(&s.writers, "writers", 32, "concurrent clients that read and write single objects")
	flag.IntVar(&s.lists, "lists", 20, "lists of each kind")
	flag.IntVar(&s.watchers, "watchers", 200, "watches that the events of the load go to")
	flag.IntVar(&s.updates, "updates", 2000, "events that go to each of these watches")
	flag.IntVar(&s.idleWatches, "idle-watches", 500, "watches whose memory is measured")
	flag.IntVar(&s.bindings, "bindings", 10000, "role bindings under which decisions are measured")
	flag.IntVar(&s.restart, "restart-pods", 50000, "pods in the store at the start after kill -9; 0 leaves it out")
	flag.IntVar(&s.processors, "processors", 2, "processors for server and load together")
	s.clusterSizes.flags()
	only := flag.String("only", "reference,knarr", "whom to measure, separated by commas")
	chosen := flag.String("parts", "", "what to measure, separated by commas: "+partNames()+" (default: all)")
	flag.Parse()
	confine(s.processors)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, s, strings.Split(*only, ","), *chosen); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s sizes, only []string, chosen string) error {
	top, err := upstream.Repository()
	if err != nil {
		return err
	}
	for _, kind := range only {
		if kind != "reference" && kind != "knarr" {
			return fmt.Errorf("-only=%s: use reference, knarr or both", kind)
		}
	}
	var reference, knarr results
	if slices.Contains(only, "reference") {
		if err := upstream.Build(ctx, top); err != nil {
			return err
		}
		reference = results{}
	}
	if slices.Contains(only, "knarr") {
		knarr = results{}
	}
	for _, p := range parts() {
		if chosen != "" && !slices.Contains(strings.Split(chosen, ","), p.name) {
			continue
		}
		if err := p.measure(ctx, top, s, reference, knarr); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	printTable(os.Stdout, reference, knarr)
	return nil
}

// apiServers measures the two kinds of API server.
func apiServers(ctx context.Context, top string, s sizes, reference, knarr results) error {
	all := map[string]results{}
	for kind, got := range map[string]results{"reference": reference, "knarr": knarr} {
		if got != nil {
			all[kind] = got
		}
	}
	return measure(ctx, top, s, all)
}

// confine starts the program again on the first processors, where all its children stay too.
func confine(processors int) {
	var set unix.CPUSet
	for i := range processors {
		set.Set(i)
	}
	var now unix.CPUSet
	if err := unix.SchedGetaffinity(0, &now); err != nil || now == set || now.Count() <= processors {
		return
	}
	runtime.LockOSThread()
	self, err := os.Executable()
	if err == nil {
		err = errors.Join(unix.SchedSetaffinity(0, &set), syscall.Exec(self, os.Args, os.Environ()))
	}
	slog.Warn("not confined to two processors", "err", err)
}
