package auth

import (
	"context"
	"crypto/sha256"
	"encoding/csv"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/knarr-dev/knarr/registry"
)

// TokenFile knows the tokens of a file that was read at start, by their digests: how long a look-up takes tells nothing
// of the tokens.
type TokenFile map[[sha256.Size]byte]*registry.User

// ReadTokenFile reads lines of token, user name, user UID and, optionally, groups ("a,b" in quotes), as CSV.
// The last of several lines with one token counts.
func ReadTokenFile(path string, log *slog.Logger) (TokenFile, error) {
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
	tokens := TokenFile{}
	for i, line := range lines {
		if len(line) < 3 {
			return nil, fmt.Errorf("token file %s must have at least 3 columns (token, user name, user uid), found %d", path, len(line))
		}
		if line[0] == "" {
			log.Warn("empty token ignored", "file", path, "record", i+1)
			continue
		}
		digest := sha256.Sum256([]byte(line[0]))
		if tokens[digest] != nil {
			log.Warn("duplicate token: the later record counts", "file", path, "record", i+1)
		}
		user := &registry.User{Name: line[1], UID: line[2]}
		if len(line) > 3 {
			user.Groups = strings.Split(line[3], ",")
		}
		tokens[digest] = Authenticated(user) // once, not at every request
	}
	return tokens, nil
}

// AuthenticateToken looks the token up.
func (t TokenFile) AuthenticateToken(_ context.Context, token string, _ []string) (*registry.User, []string, error) {
	return t[sha256.Sum256([]byte(token))], nil, nil
}
