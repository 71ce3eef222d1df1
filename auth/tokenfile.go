package auth

import (
	"context"
	"encoding/csv"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/knarr-dev/knarr/registry"
)

// TokenFile knows the tokens of a file that was read at start.
type TokenFile map[string]*registry.User

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
		if tokens[line[0]] != nil {
			log.Warn("duplicate token: the later record counts", "file", path, "record", i+1)
		}
		user := &registry.User{Name: line[1], UID: line[2]}
		if len(line) > 3 {
			user.Groups = strings.Split(line[3], ",")
		}
		tokens[line[0]] = user
	}
	return tokens, nil
}

// AuthenticateToken looks the token up. Such tokens are good for every audience.
func (t TokenFile) AuthenticateToken(_ context.Context, token string, audiences []string) (*registry.User, []string, error) {
	return t[token], audiences, nil
}
