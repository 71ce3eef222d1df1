package auth

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/knarr-dev/knarr/registry"
)

// tokenCache remembers for a short while what is dear to find out: a call elsewhere, or a signature. Requests that come
// with one token at the same time wait for one answer.
type tokenCache struct {
	next           registry.TokenAuthenticator
	known, unknown time.Duration // how long tokens are remembered as somebody's and as nobody's

	calls singleflight.Group
	mu    sync.Mutex // guards kept
	kept  map[tokenKey]tokenAnswer
}

// tokenKey stands for a token and the audiences asked for, so that tokens do not lie about in memory.
type tokenKey [sha256.Size]byte

type tokenAnswer struct {
	user  *registry.User // shared, never changed
	fit   []string
	until time.Time
}

// maxTokens bounds what is remembered: tokens may be made up without end.
const maxTokens = 16 << 10

func rememberTokens(next registry.TokenAuthenticator, known, unknown time.Duration) *tokenCache {
	return &tokenCache{next: next, known: known, unknown: unknown, kept: map[tokenKey]tokenAnswer{}}
}

func keyOfToken(token string, audiences []string) (key tokenKey) {
	h := sha256.New()
	for _, part := range append([]string{token}, audiences...) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write([]byte(part))
	}
	return tokenKey(h.Sum(key[:0]))
}

// AuthenticateToken answers from memory, or asks. Errors are not remembered. A question outlives the request that
// brought it up, for others may wait for its answer.
func (c *tokenCache) AuthenticateToken(ctx context.Context, token string, audiences []string) (*registry.User, []string, error) {
	key := keyOfToken(token, audiences)
	if answer, ok := c.recall(key); ok {
		return answer.user, answer.fit, nil
	}
	asked := c.calls.DoChan(string(key[:]), func() (answer any, err error) {
		defer func() {
			if what := recover(); what != nil { // in a goroutine of its own it would end the process
				err = fmt.Errorf("panic while a token was looked at: %v", what)
			}
		}()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), webhookPatience)
		defer cancel()
		user, fit, err := c.next.AuthenticateToken(ctx, token, audiences)
		if err != nil {
			return nil, err
		}
		return c.remember(key, user, fit), nil
	})
	select {
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case r := <-asked:
		if r.Err != nil {
			return nil, nil, r.Err
		}
		answer := r.Val.(tokenAnswer)
		return answer.user, answer.fit, nil
	}
}

func (c *tokenCache) recall(key tokenKey) (tokenAnswer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	answer, ok := c.kept[key]
	return answer, ok && time.Now().Before(answer.until)
}

func (c *tokenCache) remember(key tokenKey, user *registry.User, fit []string) tokenAnswer {
	life := c.known
	if user == nil {
		life = c.unknown
	}
	now := time.Now()
	answer := tokenAnswer{user, fit, now.Add(life)}
	if life <= 0 {
		return answer
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.kept) >= maxTokens {
		c.makeRoom(now)
	}
	c.kept[key] = answer
	return answer
}

// makeRoom drops what has expired, and everything if that is not much.
func (c *tokenCache) makeRoom(now time.Time) {
	for key, answer := range c.kept {
		if now.After(answer.until) {
			delete(c.kept, key)
		}
	}
	if len(c.kept) > maxTokens/2 {
		clear(c.kept)
	}
}
