package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/knarr-dev/knarr/scheduler"
)

// How much of an answer is told to people; programs get the whole.
const (
	namesTold  = 3 // of nodes of which the same is to be said
	groupsTold = 4 // of such nodes, for each way of refusing
	scoresTold = 5
)

// explainPod is an answer for people: what is the matter on the first lines, why below, and what to do last.
func explainPod(y *scheduler.Why) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s/%s: %s\n", strings.ToLower(y.State), y.Namespace, y.Name, y.Summary)
	if y.Message != "" {
		fmt.Fprintf(&b, "%s\n", y.Message)
	}
	if len(y.Scores) > 0 {
		writeScores(&b, y)
	}
	if len(y.Refusals) > 0 {
		writeRefusals(&b, y)
	}
	if len(y.Changes) > 0 {
		b.WriteString("\nTo let it run, one of these is enough; each has been tried in thought:\n")
		for _, c := range y.Changes {
			fmt.Fprintf(&b, "  %s\n    it would run on %s\n", strings.Join(c.Steps, "\n  and "), c.Node)
		}
	}
	return b.String()
}

func writeScores(b *strings.Builder, y *scheduler.Why) {
	switch {
	case y.State == "Scheduled":
		b.WriteString("\nScores of nodes that would do now, as if it were not there (score x weight):\n")
	default:
		fmt.Fprintf(b, "\n%s would do now. Scores (score x weight):\n", y.Node)
	}
	untold := 0
	for i, s := range y.Scores {
		if i >= scoresTold && !s.Here {
			untold++
			continue
		}
		fmt.Fprintf(b, "  %5d  %s%s\n", s.Total, names(s.Nodes), mark(s))
		var each []string
		for _, p := range s.Plugins {
			each = append(each, fmt.Sprintf("%s %d x %d", p.Plugin, p.Score, p.Weight))
		}
		fmt.Fprintf(b, "         %s\n", strings.Join(each, ", "))
	}
	if untold > 0 {
		fmt.Fprintf(b, "         and %s with other scores\n", count(untold, "group of nodes", "groups of nodes"))
	}
}

func mark(s scheduler.WhyScore) string {
	switch {
	case s.Best && s.Here:
		return "  <- the best, and where it is"
	case s.Best:
		return "  <- the best"
	case s.Here:
		return "  <- where it is"
	}
	return ""
}

func writeRefusals(b *strings.Builder, y *scheduler.Why) {
	b.WriteString("\nRefused by:\n")
	for _, r := range y.Refusals {
		fmt.Fprintf(b, "  %s, %s: %s\n", r.Plugin, count(r.Nodes, "node", "nodes"), strings.Join(r.Reasons, ", "))
		left := r.Nodes
		for i, g := range r.Groups {
			if i == groupsTold {
				fmt.Fprintf(b, "    %s, no nearer to letting it in\n", count(left, "other node", "other nodes"))
				break
			}
			left -= len(g.Nodes)
			if len(g.Facts) == 0 && len(g.Nodes) > 0 {
				fmt.Fprintf(b, "    %s\n", names(g.Nodes))
			}
			who := names(g.Nodes)
			if who != "" {
				who += ": "
			}
			for j, f := range g.Facts {
				if j > 0 {
					who = strings.Repeat(" ", len(who))
				}
				fmt.Fprintf(b, "    %s%s\n", who, f.Text)
			}
		}
	}
}

// names are a few names, and how many more there are.
func names(list []string) string {
	if len(list) <= namesTold {
		return strings.Join(list, ", ")
	}
	return strings.Join(list[:namesTold], ", ") + " and " + thousands(len(list)-namesTold) + " more"
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// thousands writes a number with commas.
func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
