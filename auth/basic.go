package auth

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/csv"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/knarr-dev/knarr/registry"
)

// Passwords are users who prove who they are by HTTP's basic authentication.
type Passwords map[string]password

type password struct {
	sum  [sha256.Size]byte // of equal length for all, so that a comparison tells nothing
	user *registry.User
}

// ParsePasswords reads lines of password, user name, user UID and, optionally, groups ("a,b" in quotes), as CSV. It has
// the form that OpenFile wants.
func ParsePasswords(path string, data []byte) (Passwords, error) {
	reader := csv.NewReader(bytes.NewReader(data))
	reader.FieldsPerRecord = -1
	users := Passwords{}
	lines, err := reader.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, withoutText(err))
	}
	for i, line := range lines {
		switch {
		case len(line) < 3:
			return nil, fmt.Errorf("%s: record %d: password, user name and user uid are needed, found %d columns", path, i+1, len(line))
		case line[0] == "" || line[1] == "":
			return nil, fmt.Errorf("%s: record %d: the password or the user name is empty", path, i+1)
		}
		user := &registry.User{Name: line[1], UID: line[2]}
		if len(line) > 3 && line[3] != "" {
			user.Groups = strings.Split(line[3], ",")
		}
		users[user.Name] = password{sha256.Sum256([]byte(line[0])), user}
	}
	return users, nil
}

// withoutText is a fault of a CSV file by its place: the text there may be a secret.
func withoutText(err error) error {
	var fault *csv.ParseError
	if errors.As(err, &fault) {
		return fmt.Errorf("line %d, column %d: %w", fault.Line, fault.Column, fault.Err)
	}
	return err
}

var errPassword = errors.New("invalid username/password combination")

// basic reads the Authorization header of the scheme Basic.
type basic struct{ passwords *File[Passwords] }

// Authenticate compares in a time that does not depend on what is wrong, user or password.
func (b basic) Authenticate(r *http.Request) (*registry.User, error) {
	name, secret, ok := r.BasicAuth()
	if !ok {
		return nil, nil
	}
	known, there := b.passwords.Get()[name]
	sum := sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare(sum[:], known.sum[:]) == 0 || !there {
		return nil, errPassword
	}
	delete(r.Header, "Authorization")
	remarksOf(r.Context()).Warn("HTTP basic authentication is deprecated: passwords in a file cannot expire. Use a client certificate or a token")
	return known.user, nil
}
