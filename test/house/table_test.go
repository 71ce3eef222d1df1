package house

import (
	"slices"
	"strings"
	"testing"

	"github.com/knarr-dev/knarr/registry"
)

// Every row of the table of resources is complete: what has no sensible zero value is there.
func TestResourcesAreComplete(t *testing.T) {
	names, prefixes := map[string]bool{}, map[string]string{}
	for _, row := range registry.Builtin() {
		name := row.GroupResource().String()
		if names[name] {
			t.Errorf("%s: two rows", name)
		}
		names[name] = true
		for what, missing := range map[string]bool{
			"Singular": row.Singular == "", "Kind": row.Kind == "", "Versions": len(row.Versions) == 0,
			"New": row.New == nil && row.Answer == nil, "Verbs": len(row.Verbs) == 0,
			"Prefix or Answer": row.Prefix == "" && row.Answer == nil && slices.Contains(row.Verbs, "create"),
		} {
			if missing {
				t.Errorf("%s: no %s", name, what)
			}
		}
		if row.Prefix != "" {
			if other := prefixes[row.Prefix]; other != "" && !strings.HasPrefix(other, "events") {
				t.Errorf("%s: keeps its objects under %s, as %s does", name, row.Prefix, other)
			}
			prefixes[row.Prefix] = row.Plural
		}
		if row.Cells != nil && row.New != nil {
			o := row.New()
			row.Complete(o)                                                                                             // stored objects are
			if cells, columns := row.Cells(o), row.Columns; len(cells) != len(columns) && row.Plural != "ipaddresses" { // upstream shows an age without a column
				t.Errorf("%s: %d columns and %d cells", name, len(columns), len(cells))
			}
		}
		for _, sub := range row.Subresources {
			if sub.Name == "" || len(sub.Verbs) == 0 {
				t.Errorf("%s: sub-resource %q has no verbs", name, sub.Name)
			}
		}
	}
}
