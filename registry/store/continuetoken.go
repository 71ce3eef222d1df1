package store

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
)

// continueToken is where a list goes on: from the path start below the list's scope (a namespace, or all), in the
// collection at revision; -1 stands for the latest revision. Its text is upstream's, so that a client may go on with a
// list at another API server.
type continueToken struct {
	start    string
	revision Revision
}

// tokenVersion is written into every token.
const tokenVersion = "meta.k8s.io/v1"

type tokenJSON struct {
	Version  string `json:"v"`
	Revision int64  `json:"rv"`
	Start    string `json:"start"`
}

func (t continueToken) String() string {
	// Two strings and a number always marshal.
	text, _ := json.Marshal(tokenJSON{tokenVersion, int64(t.revision), "/" + t.start})
	return base64.RawURLEncoding.EncodeToString(text)
}

func decodeContinue(text string) (continueToken, error) {
	const invalid = "continue key is not valid"
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return continueToken{}, fmt.Errorf("%s: %v", invalid, err)
	}
	var t tokenJSON
	if err := json.Unmarshal(data, &t); err != nil {
		return continueToken{}, fmt.Errorf("%s: %v", invalid, err)
	}
	switch {
	case t.Version != tokenVersion:
		return continueToken{}, fmt.Errorf("%s: server does not recognize this encoded version %v", invalid, t.Version)
	case t.Revision == 0:
		return continueToken{}, errors.New(invalid + ": incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
	case t.Start == "":
		return continueToken{}, errors.New(invalid + ": encoded start key empty (version meta.k8s.io/v1)")
	}
	// A start that is not clean could lead out of the list's scope.
	start := "/" + strings.TrimPrefix(t.Start, "/")
	if path.Clean(start) != start {
		return continueToken{}, fmt.Errorf("%s: %v", invalid, t.Start)
	}
	return continueToken{start[1:], Revision(t.Revision)}, nil
}
