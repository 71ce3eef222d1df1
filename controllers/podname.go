package controllers

import (
	"hash/fnv"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// nameEnd is what generated names end in: so many characters out of these, none of which makes words.
	nameEnd      = 5
	nameAlphabet = "bcdfghjklmnpqrstvwxz2456789"
	nameEnds     = 27 * 27 * 27 * 27 * 27
	// longestPrefix leaves room for the end in a name that is a label, as generated ones are.
	longestPrefix = 63 - nameEnd
	// mostNumbers is far below nameEnds, so that few of the names that others have given look like numbers: one of 55. Such a one costs
	// an owner that finds it no more than the numbers below.
	mostNumbers = 1 << 18
)

// nameKey disguises the numbers of one place of an owner. Each number has a name of its own there.
type nameKey uint64

func keyOfNames(owner types.UID, place string) nameKey {
	h := fnv.New64a()
	h.Write([]byte(owner + "/"))
	h.Write([]byte(place))
	return nameKey(h.Sum64())
}

// disguise is the end of the name that a number has.
func (k nameKey) disguise(n int) string {
	x := k.shuffle(uint32(n))
	for x >= nameEnds { // what lies in the domain of the shuffling only is shuffled on
		x = k.shuffle(x)
	}
	var end [nameEnd]byte
	for i := range end {
		end[i] = nameAlphabet[x%27]
		x /= 27
	}
	return string(end[:])
}

// number is that of a pod's name, if it has one.
func (k nameKey) number(name string) (n int, ours bool) {
	if len(name) <= nameEnd {
		return 0, false
	}
	end, x := name[len(name)-nameEnd:], uint32(0)
	for i := nameEnd - 1; i >= 0; i-- {
		digit := strings.IndexByte(nameAlphabet, end[i])
		if digit < 0 {
			return 0, false
		}
		x = x*27 + uint32(digit)
	}
	x = k.unshuffle(x)
	for x >= nameEnds {
		x = k.unshuffle(x)
	}
	return int(x), 1 <= x && x <= mostNumbers
}

// shuffle is a permutation of the numbers of 24 bits: a Feistel network.
func (k nameKey) shuffle(x uint32) uint32 {
	l, r := x>>12, x&0xfff
	for round := range uint64(4) {
		l, r = r, l^k.mix(r, round)
	}
	return l<<12 | r
}

func (k nameKey) unshuffle(x uint32) uint32 {
	l, r := x>>12, x&0xfff
	for round := range uint64(4) {
		l, r = r^k.mix(l, 3-round), l
	}
	return l<<12 | r
}

func (k nameKey) mix(half uint32, round uint64) uint32 {
	x := uint64(k) ^ (uint64(half)<<2|round)*0x9e3779b97f4a7c15
	x = (x ^ x>>31) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return uint32(x>>40) & 0xfff
}
