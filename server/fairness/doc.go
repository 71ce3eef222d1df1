// Package fairness divides the server's attention among those who want it: API priority and fairness as Kubernetes
// defines it (KEP-1040).
//
// A request is classified by the first FlowSchema that matches it (match.go), which leads to a priority level. A level
// has a number of seats; a request takes one or more of them, by the work that it is expected to be (work.go), and gives
// them back when it is done. Levels are isolated from each other: one that is full makes its own requests wait, and
// nobody else's. Every ten seconds levels lend the seats that they do not need (borrow.go).
//
//	request -> Gate.Classify -> Schema -> Gate.Enter -> level.arrive: a seat, a place in a queue, or no
//	                                                        ^
//	answer  -> Gate.Leave  ---------------------------> level.leave: the next request from the queue whose turn it is
//
// Within a level fairness is among flows: a schema's requests with the same user, or namespace. A flow is dealt a hand
// of the level's queues, and each of its requests joins the one of them with the least work (shuffle.go). A flow that
// floods its queues leaves those of others alone, as two flows seldom have all queues in common. Which queue is next is
// found by fair queuing: each queue has a meter that runs by the seconds that its requests hold seats, and the one that
// would finish first by its meter has the next turn (level.go).
//
// The core is pure: levels are told the time, start nothing and wait for nothing. Gate is the shell around it that has a
// clock, lets goroutines wait, and swaps configurations. A request that finds seats free costs one lock of its level for
// some hundred nanoseconds on the way in and one on the way out, and no memory: its Ticket is part of what the server
// keeps of a request anyway.
//
// Invariants, of a level whose limits stand:
//   - Seats in use never exceed the limit, but for a request that alone is wider than it.
//   - Every ticket is served, refused or given up, once; a ticket that was served gives its seats back once.
//   - Nobody waits while the request whose turn it is would find room.
package fairness
