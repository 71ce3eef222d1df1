package fairness

import "hash/maphash"

// A flow's requests go to a few of its level's queues, its hand: cards dealt from a deck of all queues by a hash of the
// flow's name. Flows seldom have their whole hands in common, so that one that fills the queues of its own leaves
// others a queue with room. The hash has a seed of this process: nobody can choose names that share somebody's hand.

// maxHand bounds hands. The API allows those only that 60 bits can tell apart: at most 15 cards, of 16.
const maxHand = 16

// hand is what a flow was dealt.
type hand [maxHand]int

// deal draws size different cards out of a deck, by the value alone. Each card is drawn from those that are left: the
// value, in the mixed base of what is left, is a list of places, and a place counts over the cards that are gone.
func (h *hand) deal(value uint64, deck, size int) []int {
	for i := range size {
		left := uint64(deck - i)
		h[i], value = int(value%left), value/left
	}
	// Backwards, each card learns of those drawn before it, and later ones still hold their places.
	for i := size - 1; i > 0; i-- {
		for j := i - 1; j >= 0; j-- {
			if h[i] >= h[j] {
				h[i]++
			}
		}
	}
	return h[:size]
}

// flowHash returns a hash that is the same for all requests of a flow.
func flowHash() func(schema, flow string) uint64 {
	seed := maphash.MakeSeed()
	return func(schema, flow string) uint64 { return maphash.String(seed, schema)*31 + maphash.String(seed, flow) }
}
