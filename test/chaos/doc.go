// Package chaos breaks what can break while a cluster works, and watches that nothing is lost, doubled or forgotten.
//
// Controllers, scheduler and nodes run inside the test, over wires that it has in its hands (wire_test.go): watches come late,
// requests fail, answers are lost after the write, connections end. Fifty workloads change at random meanwhile
// (workload_test.go). An observer with a watch of its own (observer_test.go) checks at every moment what must hold at every
// moment, and after each round that everything has become what it should be.
//
// What is done to whom follows from the seed that a round prints: `make chaos SEED=N ROUNDS=1` does it again. How the
// goroutines of the parts run meanwhile does not.
package chaos
