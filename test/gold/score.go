package gold

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// Run replays files against a server, jobs at a time. Exclusive files run first, one by one. keep leaves the objects.
func Run(s Server, files []*File, jobs int, keep bool) ([]Result, error) {
	c, err := s.client()
	if err != nil {
		return nil, err
	}
	if _, err := c.send(message{method: "GET", path: "/livez"}); err != nil {
		return nil, fmt.Errorf("server %s is unreachable: %w", s.URL, err)
	}
	run := fmt.Sprintf("%05x", rand.N(1<<20))
	answers, errs := make([][]*Answer, len(files)), make([]error, len(files))
	var shared []int
	for i, f := range files {
		if !f.Header.Exclusive {
			shared = append(shared, i)
			continue
		}
		if answers[i], err = replay(c, f, run, keep); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(shared, func(a, b int) int { return cmp.Compare(files[b].weight(), files[a].weight()) })
	next := make(chan int)
	var workers sync.WaitGroup
	for range jobs {
		workers.Go(func() {
			for i := range next {
				answers[i], errs[i] = replay(c, files[i], run, keep)
			}
		})
	}
	for _, i := range shared {
		next <- i
	}
	close(next)
	workers.Wait()
	var results []Result
	for i, f := range files {
		if errs[i] != nil {
			return nil, errs[i]
		}
		results = append(results, compareFile(f, answers[i])...)
	}
	return results, nil
}

// weight is how long a file takes: watches take a second each. Long files go first.
func (f *File) weight() int {
	n := len(f.Entries)
	for _, e := range f.Entries {
		if e.Case.Watch {
			n += 100
		}
	}
	return n
}

// Score is how many of a suite's results reach each level.
type Score struct {
	Suite string `json:"suite"`
	Total int    `json:"total"`
	Level [4]int `json:"levels"` // Level[n] results reach level n
}

func (s *Score) add(level int) {
	s.Total++
	for i := 0; i <= level; i++ {
		s.Level[i]++
	}
}

// Percent is the share of results that reach a level.
func (s Score) Percent(level int) float64 {
	return 100 * float64(s.Level[level]) / float64(max(s.Total, 1))
}

// Scores are the scores of all suites, in alphabetical order.
func Scores(results []Result) []Score {
	by := map[string]*Score{}
	for _, r := range results {
		if by[r.Suite] == nil {
			by[r.Suite] = &Score{Suite: r.Suite}
		}
		by[r.Suite].add(r.Level)
	}
	var scores []Score
	for _, suite := range slices.Sorted(maps.Keys(by)) {
		scores = append(scores, *by[suite])
	}
	return scores
}

// PrintScores prints a table.
func PrintScores(w io.Writer, scores []Score, took time.Duration) {
	fmt.Fprintf(w, "%-12s %7s  %-16s  %-16s  %-16s\n", "suite", "total", "level1 code", "level2 body", "level3 managed")
	all := Score{Suite: "total"}
	for _, s := range scores {
		printScore(w, s)
		all.Total += s.Total
		for i := range s.Level {
			all.Level[i] += s.Level[i]
		}
	}
	printScore(w, all)
	fmt.Fprintf(w, "in %.1fs\n", took.Seconds())
}

func printScore(w io.Writer, s Score) {
	fmt.Fprintf(w, "%-12s %7d", s.Suite, s.Total)
	for level := 1; level <= 3; level++ {
		fmt.Fprintf(w, "  %6d (%5.1f%%) ", s.Level[level], s.Percent(level))
	}
	fmt.Fprintln(w)
}

// PrintFailures prints the results below a level.
func PrintFailures(w io.Writer, results []Result, level int) {
	for _, r := range results {
		if r.Level >= level {
			continue
		}
		fmt.Fprintf(w, "FAIL %s/%s %s  (level %d; status want %d got %d)\n     %s\n", r.Suite, r.File, r.ID, r.Level, r.Expected, r.Got, r.Request)
		if r.Body != "" {
			fmt.Fprintf(w, "     %s\n", r.Body)
		}
		for _, line := range r.Diff {
			fmt.Fprintf(w, "     | %s\n", strings.TrimRight(line, "\n"))
		}
	}
}
