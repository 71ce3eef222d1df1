package auth

import (
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/knarr-dev/knarr/registry"
)

func TestPasswords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.csv")
	write(t, path, "secret,joe,u1,\"a,b\"\nother:word,ann,u2\n")
	file, err := OpenFile(path, ParsePasswords)
	if err != nil {
		t.Fatal(err)
	}
	chain := Authentication{Passwords: file, Anonymous: Anonymous{Enabled: true}}.Authenticator()
	for name, c := range map[string]struct {
		user, password string
		want           *registry.User
	}{
		"user and password fit":         {"joe", "secret", &registry.User{Name: "joe", UID: "u1", Groups: []string{"a", "b", authenticatedGroup}}},
		"groups are optional":           {"ann", "other:word", &registry.User{Name: "ann", UID: "u2", Groups: []string{authenticatedGroup}}},
		"another's password is refused": {"joe", "other:word", nil},
		"no password is refused":        {"joe", "", nil},
		"an unknown user is refused":    {"eve", "secret", nil},
		"nobody is refused":             {"", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.SetBasicAuth(c.user, c.password)
			user, err := chain.Authenticate(r)
			if (err != nil) != (c.want == nil) {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, user); d != "" {
				t.Error(d)
			}
			if user != nil && r.Header.Get("Authorization") != "" {
				t.Error("the password is left in the request")
			}
		})
	}
}

func TestFaultsOfPasswordFilesAreToldWithoutThePassword(t *testing.T) {
	for text, want := range map[string]string{
		"good,a,1\nhush,b\n":           "f: record 2: password, user name and user uid are needed, found 2 columns",
		"good,a,1\n,b,2\n":             "f: record 2: the password or the user name is empty",
		"good,a,1\nhush\"hush,b,c\n":   `f: line 2, column 5: bare " in non-quoted-field`,
		"good,a,1\n\"hush\"hush,b,c\n": `f: line 2, column 6: extraneous or missing " in quoted-field`,
	} {
		_, err := ParsePasswords("f", []byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
