package controllers

import (
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// indexes is a set of completion indexes: spans in rising order that neither overlap nor touch. It is written as
// "1,3-5,7".
type indexes []span

// span is from first to last, both among it.
type span struct{ first, last int }

// parseIndexes reads a set, without what is beyond the number of completions. What cannot be read is left out: it stands
// in a status, where nobody could correct it.
func parseIndexes(text string, completions int) indexes {
	var read []span
	for _, part := range strings.Split(text, ",") {
		from, to, ranged := strings.Cut(part, "-")
		if !ranged {
			to = from
		}
		first, badFirst := strconv.Atoi(from)
		last, badLast := strconv.Atoi(to)
		if badFirst == nil && badLast == nil && first < completions {
			read = append(read, span{first, min(last, completions-1)})
		}
	}
	return indexes(nil).union(read)
}

func (s indexes) String() string {
	var parts []string
	for _, x := range s {
		switch x.last - x.first {
		case 0:
			parts = append(parts, strconv.Itoa(x.first))
		case 1:
			parts = append(parts, strconv.Itoa(x.first), strconv.Itoa(x.last))
		default:
			parts = append(parts, strconv.Itoa(x.first)+"-"+strconv.Itoa(x.last))
		}
	}
	return strings.Join(parts, ",")
}

func (s indexes) count() int {
	n := 0
	for _, x := range s {
		n += x.last - x.first + 1
	}
	return n
}

func (s indexes) has(index int) bool {
	_, found := slices.BinarySearchFunc(s, index, func(x span, index int) int {
		switch {
		case x.last < index:
			return -1
		case x.first > index:
			return 1
		}
		return 0
	})
	return found
}

// union is the set of what is in either.
func (s indexes) union(other []span) indexes {
	all := slices.Concat(s, other)
	slices.SortFunc(all, func(a, b span) int { return a.first - b.first })
	var out indexes
	for _, x := range all {
		if last := len(out) - 1; last >= 0 && x.first <= out[last].last+1 {
			out[last].last = max(out[last].last, x.last)
		} else {
			out = append(out, x)
		}
	}
	return out
}

// with adds single indexes.
func (s indexes) with(more ...int) indexes {
	single := make([]span, len(more))
	for i, index := range more {
		single[i] = span{index, index}
	}
	return s.union(single)
}

// common counts what is in both.
func (s indexes) common(other indexes) int { return s.count() + other.count() - s.union(other).count() }

// missing are the first n of 0 to completions-1 that are not in the set.
func (s indexes) missing(n, completions int) []int {
	var out []int
	next := 0
	for _, taken := range append(slices.Clip(s), span{completions, completions}) {
		for ; next < min(taken.first, completions) && len(out) < n; next++ {
			out = append(out, next)
		}
		next = max(next, taken.last+1)
	}
	return out
}

// noIndex is the index of a pod that has none.
const noIndex = -1

// indexOf is the completion index of a pod.
func indexOf(p *corev1.Pod) int {
	index, err := strconv.Atoi(p.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil || index < 0 {
		return noIndex
	}
	return index
}

func indexesOf(pods []*corev1.Pod) indexes {
	var found []int
	for _, p := range pods {
		if index := indexOf(p); index != noIndex {
			found = append(found, index)
		}
	}
	return indexes(nil).with(found...)
}

// indexFailures are how often pods of an index have failed before this one, as it carries along: those that count towards
// the limit, and those that the failure policy ignores.
func indexFailures(p *corev1.Pod) (counted, ignored int32) {
	if p == nil {
		return 0, 0
	}
	number := func(annotation string) int32 {
		n, err := strconv.ParseInt(p.Annotations[annotation], 10, 32)
		if err != nil {
			return 0
		}
		return int32(max(n, 0))
	}
	return number(batchv1.JobIndexFailureCountAnnotation), number(batchv1.JobIndexIgnoredFailureCountAnnotation)
}
