package fairness

// backoff is what Retry-After says to those who are refused: the more a level has to refuse, the longer. It doubles when
// the last seconds (as many as it says) brought three refusals for each, and falls by one when they brought fewer than
// one for each: quickly up, slowly down, as TCP does it.
type backoff struct {
	after   int64 // seconds; 0 is the 1 of the beginning
	raised  int64 // when
	second  int64 // the current one
	history [longestBackoff + 1]int64
}

const longestBackoff = 32

// seconds is what to tell now.
func (b *backoff) seconds() int64 { return max(b.after, 1) }

// refused counts a refusal in the second now. With a new second comes a look at those before it.
func (b *backoff) refused(now int64) {
	if now != b.second {
		for s := max(b.second+1, now-longestBackoff); s <= now; s++ {
			*b.at(s) = 0
		}
		b.second = now
		b.review(now)
	}
	*b.at(now)++
}

func (b *backoff) at(second int64) *int64 { return &b.history[uint64(second)%uint64(len(b.history))] }

func (b *backoff) review(now int64) {
	after, refused := b.seconds(), int64(0)
	for s := now - after; s < now; s++ {
		refused += *b.at(s)
	}
	switch {
	case now-b.raised >= after && refused >= 3*after:
		b.after, b.raised = min(2*after, longestBackoff), now
	case refused < after && after > 1:
		b.after = after - 1
	}
}
