package fairness

import (
	"context"
	"errors"
	"testing"

	"github.com/knarr-dev/knarr/registry"
)

// slowShelf is objects that are followed, but cannot be read yet.
type slowShelf struct {
	registry.Objects
	told map[string]func(old, now registry.Object)
}

func (s slowShelf) Follow(_ context.Context, _, plural string, changed func(old, now registry.Object)) error {
	s.told[plural] = changed
	return errors.New("the store is away")
}

func TestWhatCannotBeReadAtTheStartIsTakenInLater(t *testing.T) {
	g, shelf := New(100), slowShelf{told: map[string]func(old, now registry.Object){}}
	if err := g.Follow(t.Context(), shelf); err == nil {
		t.Error("nobody is told")
	}
	for plural, object := range map[string]registry.Object{
		"prioritylevelconfigurations": limited("late", 10), "flowschemas": schemaFor("s", "late", "crowd", 100),
	} {
		if shelf.told[plural] == nil {
			t.Fatalf("%s are not followed", plural)
		}
		shelf.told[plural](nil, object)
	}
	if got := g.Classify(by("u", "crowd")).level.name; got != "late" {
		t.Errorf("the request is of level %s", got)
	}
}
