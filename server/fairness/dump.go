package fairness

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/knarr-dev/knarr/registry"
)

// What /debug/api_priority_and_fairness shows: three tables in upstream's columns, for people and their scripts.

// DumpLevels writes a line for each level.
func (g *Gate) DumpLevels(w io.Writer) error {
	return g.dump(w, []string{"PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests",
		"DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests"}, levelRow)
}

// DumpQueues writes a line for each queue.
func (g *Gate) DumpQueues(w io.Writer) error {
	return g.dump(w, []string{"PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR",
		"InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum"}, queueRows)
}

// DumpRequests writes a line for each request that is served or waits, with details about what it is if they are wanted.
func (g *Gate) DumpRequests(w io.Writer, details bool) error {
	head := []string{"PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher", "ArriveTime",
		"InitialSeats", "FinalSeats", "AdditionalLatency", "StartTime"}
	if details {
		head = append(head, "UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource")
	}
	return g.dump(w, head, func(l configured, row func(...string)) { requestRows(l, row, details) })
}

// dump writes a table with the rows of each level, which is locked meanwhile.
func (g *Gate) dump(w io.Writer, head []string, rows func(configured, func(...string))) error {
	table := tabwriter.NewWriter(w, 8, 0, 1, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(table, strings.Join(cells, ",\t")) }
	row(head...)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.current.Load().levels {
		l.mu.Lock()
		rows(l, row)
		l.mu.Unlock()
	}
	return table.Flush()
}

func levelRow(l configured, row func(...string)) {
	active := 0
	for _, q := range l.queues {
		if q.waiting.length > 0 {
			active++
		}
	}
	n := strconv.Itoa
	row(l.name, n(active), strconv.FormatBool(l.serving == 0 && l.waiting == 0), strconv.FormatBool(l.retiring), n(l.waiting), n(l.serving),
		n(l.fate.served), n(l.fate.refused), n(l.fate.timedOut), n(l.fate.cancelled))
}

func queueRows(l configured, row func(...string)) {
	n := strconv.Itoa
	for i, q := range l.queues {
		seats := 0
		for t := q.waiting.first; t != nil; t = t.next {
			seats += t.work.Seats
		}
		row(l.name, n(i), n(q.waiting.length), n(q.serving.length), n(q.inUse), seatSeconds(q.next), n(seats), n(q.wanted), seatSeconds(q.work))
	}
}

func seatSeconds(s float64) string { return fmt.Sprintf("%.8fss", s) }

func requestRows(l configured, row func(...string), details bool) {
	show := func(queue, index int, t *Ticket) {
		cells := []string{l.name, t.schema.name, strconv.Itoa(queue), strconv.Itoa(index), t.flow, stamp(t.arrived), strconv.Itoa(t.work.Seats),
			strconv.Itoa(t.work.Final), t.work.Linger.String(), stamp(t.started)}
		if details {
			cells = append(cells, requestCells(t.request)...)
		}
		row(cells...)
	}
	for i, q := range l.queues {
		index := 0
		for t := q.waiting.first; t != nil; t = t.next {
			show(i, index, t)
			index++
		}
		for t := q.serving.first; t != nil; t = t.next {
			show(i, -1, t)
		}
	}
	for t := l.hall.serving.first; t != nil; t = t.next {
		show(-1, -1, t)
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func requestCells(r *registry.Attributes) []string {
	version := r.Version
	if r.Group != "" {
		version = r.Group + "/" + r.Version
	}
	return []string{r.User.Name, r.Verb, r.Path, r.Namespace, r.Name, version, r.Resource, r.Subresource}
}
