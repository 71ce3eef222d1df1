package registry

import (
	"fmt"
	"strconv"
	"strings"
)

// The indexes of a job's pods as text: numbers and spans in increasing order, "1,3-5,7".

// jobIndexSpan is the indexes from first to last, both included.
type jobIndexSpan struct{ first, last int32 }

// countJobIndexes is how many indexes the text names. All have to be less than completions.
func countJobIndexes(text string, completions int32) (int32, error) {
	if text == "" {
		return 0, nil
	}
	total, previous := int32(0), int32(-1)
	for i, part := range strings.Split(text, ",") {
		span, err := parseJobIndexSpan(part, completions)
		if err != nil {
			return 0, err
		}
		if i > 0 && previous >= span.first {
			return 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", previous, span.first)
		}
		total += span.last - span.first + 1
		previous = span.last
	}
	return total, nil
}

func parseJobIndexSpan(text string, completions int32) (jobIndexSpan, error) {
	parts := strings.Split(text, "-")
	if len(parts) > 2 {
		return jobIndexSpan{}, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", text)
	}
	first, err := parseJobIndex(parts[0], completions)
	if err != nil || len(parts) == 1 {
		return jobIndexSpan{first, first}, err
	}
	last, err := parseJobIndex(parts[1], completions)
	if err == nil && first >= last {
		err = fmt.Errorf("non-increasing order, previous: %d, current: %d", first, last)
	}
	return jobIndexSpan{first, last}, err
}

func parseJobIndex(text string, completions int32) (int32, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("cannot convert string to integer for index: %q", text)
	}
	if n >= int(completions) {
		return 0, fmt.Errorf("too large index: %q", text)
	}
	return int32(n), nil
}

// jobIndexSpans are the spans in the text that can be read, in its order.
func jobIndexSpans(text string, completions int32) []jobIndexSpan {
	var spans []jobIndexSpan
	for part := range strings.SplitSeq(text, ",") {
		if span, err := parseJobIndexSpan(part, completions); err == nil {
			spans = append(spans, span)
		}
	}
	return spans
}

// checkJobIndexesApart finds the first index that both texts name. It walks both lists of spans at once.
func checkJobIndexesApart(completed, failed string, completions int32) error {
	a, b := jobIndexSpans(completed, completions), jobIndexSpans(failed, completions)
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].first <= b[0].last && b[0].first <= a[0].last:
			return fmt.Errorf("failedIndexes and completedIndexes overlap at index: %d", max(a[0].first, b[0].first))
		case a[0].first <= b[0].first:
			a = a[1:]
		default:
			b = b[1:]
		}
	}
	return nil
}
