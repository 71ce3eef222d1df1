package auth

import (
	"context"
	"encoding/csv"
	"fmt"
	"hash/maphash"
	"log/slog"
	"os"
	"strings"

	"github.com/knarr-dev/knarr/registry"
)

// TokenFile knows the tokens of a file that was read at start. They are found by a hash whose seed nobody knows, and only
// one of the same hash is compared: how long a look-up takes tells nothing of them.
type TokenFile struct {
	seed  maphash.Seed
	known map[uint64][]tokenOwner
}

type tokenOwner struct {
	token string
	user  *registry.User
}

func newTokenFile() *TokenFile {
	return &TokenFile{seed: maphash.MakeSeed(), known: map[uint64][]tokenOwner{}}
}

// ReadTokenFile reads lines of token, user name, user UID and, optionally, groups ("a,b" in quotes), as CSV.
// The last of several lines with one token counts.
func ReadTokenFile(path string, log *slog.Logger) (*TokenFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	reader := csv.NewReader(file)
	reader.FieldsPerRecord = -1
	lines, err := reader.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("token file %s: %w", path, err)
	}
	tokens := newTokenFile()
	for i, line := range lines {
		if len(line) < 3 {
			return nil, fmt.Errorf("token file %s must have at least 3 columns (token, user name, user uid), found %d", path, len(line))
		}
		if line[0] == "" {
			log.Warn("empty token ignored", "file", path, "record", i+1)
			continue
		}
		user := &registry.User{Name: line[1], UID: line[2]}
		if len(line) > 3 {
			user.Groups = strings.Split(line[3], ",")
		}
		if tokens.put(line[0], Authenticated(user)) { // once, not at every request
			log.Warn("duplicate token: the later record counts", "file", path, "record", i+1)
		}
	}
	return tokens, nil
}

// put adds a token and reports whether it takes another's place.
func (t *TokenFile) put(token string, user *registry.User) (replaced bool) {
	hash := maphash.String(t.seed, token)
	for i, one := range t.known[hash] {
		if one.token == token {
			t.known[hash][i].user = user
			return true
		}
	}
	t.known[hash] = append(t.known[hash], tokenOwner{token, user})
	return false
}

// AuthenticateToken looks the token up.
func (t *TokenFile) AuthenticateToken(_ context.Context, token string, _ []string) (*registry.User, []string, error) {
	for _, one := range t.known[maphash.String(t.seed, token)] {
		if one.token == token {
			return one.user, nil, nil
		}
	}
	return nil, nil, nil
}
