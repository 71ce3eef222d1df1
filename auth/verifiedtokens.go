package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"hash"
	"sync"
	"time"
)

// verifiedTokens remembers tokens whose signature was found good, since to verify one takes longer than most requests
// take to serve. What is remembered is what the token says, never that it is good: whether it has expired, and whether
// what it is bound to still lives, is looked up each time. So nothing has to be forgotten in a hurry when a token dies.
//
// Tokens are known by a keyed digest, which keeps them out of memory and their collisions out of reach. There are two
// generations: what is used moves to the young one; the old one is dropped when the young one has become old, be it
// full or of age.
type verifiedTokens struct {
	digests sync.Pool // of hash.Hash, with one random key

	mu         sync.Mutex // guards the fields below
	young, old map[[sha256.Size]byte]*verifiedToken
	began      time.Time // of the young generation
}

const (
	maxGeneration  = 16 << 10 // tokens
	generationLife = 10 * time.Minute
)

func newVerifiedTokens() *verifiedTokens {
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails: the process would end
	return &verifiedTokens{
		digests: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }},
		young:   map[[sha256.Size]byte]*verifiedToken{},
	}
}

// find returns what a token that was verified before says; nil for others. The digest is for remember.
func (v *verifiedTokens) find(token string, now time.Time) (digest [sha256.Size]byte, known *verifiedToken) {
	h := v.digests.Get().(hash.Hash)
	h.Reset()
	h.Write([]byte(token))
	h.Sum(digest[:0])
	v.digests.Put(h)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.age(now)
	if known = v.young[digest]; known == nil {
		if known = v.old[digest]; known != nil {
			v.young[digest] = known
		}
	}
	return digest, known
}

func (v *verifiedTokens) remember(digest [sha256.Size]byte, token *verifiedToken, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.age(now)
	v.young[digest] = token
}

// age begins a new generation when it is time. v.mu is held.
func (v *verifiedTokens) age(now time.Time) {
	if len(v.young) >= maxGeneration || now.Sub(v.began) > generationLife {
		v.old, v.young, v.began = v.young, map[[sha256.Size]byte]*verifiedToken{}, now
	}
}
