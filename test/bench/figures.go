package main

import (
	"fmt"
	"io"
	"strings"
)

// results are measured figures by name.
type results map[string]float64

// figure is a line of the table.
type figure struct {
	name string
	unit string
	// least is what is wanted: so many times the reference's rate, or, where most is set, at most so much.
	least float64
	most  float64
	// atLeast is a rate that is wanted whatever the reference's is.
	atLeast float64
}

func figures() []figure {
	return []figure{
		{name: "start, empty directory", unit: "s", most: 0.4},
		{name: "start after kill -9", unit: "s", most: 1.2},
		{name: "memory, idle", unit: "MB", most: 80},
		{name: "memory, after the load", unit: "MB", most: 200},
		{name: "memory, peak of the load", unit: "MB"},
		{name: "create, 32 clients", unit: "/s", least: 3},
		{name: "get, 32 clients", unit: "/s", least: 5},
		{name: "get, RBAC, 10,000 role bindings", unit: "/s", least: 5},
		{name: "access review", unit: "/s", least: 3},
		{name: "list JSON", unit: "/s", least: 7},
		{name: "list JSON gzip", unit: "/s", least: 12},
		{name: "list protobuf", unit: "/s", least: 5},
		{name: "list protobuf gzip", unit: "/s", least: 10},
		{name: "list Table", unit: "/s", least: 5},
		{name: "list by label, 1 %", unit: "/s", least: 6},
		{name: "list by field, 1 %", unit: "/s", least: 6},
		{name: "list page of 500", unit: "/s", least: 6},
		{name: "informer start", unit: "/s", least: 8},
		{name: "informer start, peak above idle", unit: "MB", most: 30},
		{name: "watch events", unit: "/s", least: 4},
		{name: "watch events, p99", unit: "ms", most: 50},
		{name: "patch, 32 clients", unit: "/s", least: 3},
		{name: "delete, 32 clients", unit: "/s", least: 4},
		{name: "idle watch, own connection", unit: "kB", most: 100},
		{name: "idle watch, shared connection", unit: "kB", most: 20},
		{name: "scheduling over the API: basic", unit: "/s", least: 3, atLeast: 1000},
		{name: "scheduling over the API: spreading", unit: "/s", least: 8},
		{name: "scheduling over the API: preferred affinity", unit: "/s", least: 8},
		{name: "scheduling over the API: required affinity", unit: "/s", least: 8},
		{name: "scheduling over the API: required anti-affinity", unit: "/s", least: 8},
		{name: "1,000 pods on 100 nodes: Running", unit: "s", most: 4},
		{name: "1,000 pods on 100 nodes: CPU a pod", unit: "ms"},
		{name: "1,000 pods on 100 nodes: deleted", unit: "s", most: 4},
		{name: "50,000 pods on 1,000 nodes: Running", unit: "/s", atLeast: 300},
		{name: "50,000 pods on 1,000 nodes: CPU a pod", unit: "ms"},
		{name: "50,000 pods on 1,000 nodes: memory", unit: "MB", most: 1500},
		{name: "50,000 pods on 1,000 nodes: peak", unit: "MB"},
		{name: "cluster: start to nodes Ready", unit: "s", most: 0.8},
		{name: "cluster: memory, idle", unit: "MB", most: 130},
		{name: "cluster: CPU, idle", unit: "%", most: 1},
		{name: "controllers and scheduler, idle", unit: "MB", most: 25},
	}
}

func printTable(w io.Writer, reference, knarr results) {
	const row = "%-47s %12s %12s %8s   %s\n"
	fmt.Fprintf(w, row, "figure", "reference", "knarr", "ratio", "wanted")
	fmt.Fprintln(w, strings.Repeat("-", 104))
	for _, f := range figures() {
		a, measuredA := reference[f.name]
		b, measuredB := knarr[f.name]
		if !measuredA && !measuredB {
			continue // its part was not chosen
		}
		ratio := ""
		if measuredA && measuredB && a > 0 && b > 0 {
			ratio = fmt.Sprintf("%.2f", b/a)
		}
		fmt.Fprintf(w, row, f.name, f.value(a, measuredA), f.value(b, measuredB), ratio, f.verdict(a, b, measuredA, measuredB))
	}
}

func (f figure) value(v float64, measured bool) string {
	switch {
	case !measured:
		return "-"
	case v < 10:
		return fmt.Sprintf("%.2f %s", v, f.unit)
	}
	return fmt.Sprintf("%.0f %s", v, f.unit)
}

// verdict says what is wanted, and whether it is met.
func (f figure) verdict(reference, knarr float64, measuredA, measuredB bool) string {
	var wanted string
	var met, known bool
	switch {
	case f.most > 0:
		wanted, met, known = fmt.Sprintf("at most %g %s", f.most, f.unit), knarr <= f.most, measuredB
	case f.least > 0 && measuredA:
		wanted, met, known = fmt.Sprintf("%g times", f.least), knarr >= f.least*reference, measuredB
	case f.least > 0:
		wanted = fmt.Sprintf("%g times", f.least)
	}
	if f.atLeast > 0 {
		wanted = strings.TrimPrefix(wanted+fmt.Sprintf(", %g %s", f.atLeast, f.unit), ", ")
		met, known = (met || !known) && knarr >= f.atLeast, measuredB
	}
	if known && !met {
		wanted += "  MISSED"
	}
	return wanted
}
