package scheduler

// prioritySort puts the more important pod first, and of equals the one that has waited longer.
type prioritySort struct{}

func (*prioritySort) Before(a, b *Waiting) bool {
	if pa, pb := a.priority(), b.priority(); pa != pb {
		return pa > pb
	}
	return a.since.Before(b.since)
}
