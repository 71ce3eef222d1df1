package gold

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Show prints the requests and recorded answers of the cases whose id contains id.
func Show(w io.Writer, f *File, id string) error {
	seeds := map[string]any{}
	for name, raw := range f.Header.Seeds {
		var seed any
		if err := decode(raw, &seed); err != nil {
			return fmt.Errorf("seed %s: %w", name, err)
		}
		seeds[name] = seed
	}
	for _, e := range f.Entries {
		if strings.Contains(e.Case.ID, id) {
			show(w, f, e, seeds)
		}
	}
	return nil
}

func show(w io.Writer, f *File, e *Entry, seeds map[string]any) {
	c := e.Case
	fmt.Fprintf(w, "=== %s/%s %s\n%s %s  user=%s headers=%v\n", f.Header.Suite, f.Header.File, c.ID, c.Method, c.Path, c.User, c.Headers)
	switch {
	case c.Seed != "":
		body, err := seeded(seeds, c)
		if err != nil {
			fmt.Fprintln(w, err)
		}
		fmt.Fprintf(w, "%s\n", encode(body))
	case c.Raw != nil:
		fmt.Fprintln(w, *c.Raw)
	case len(c.Body) > 0:
		fmt.Fprintf(w, "%s\n", c.Body)
	}
	if e.Resp == nil {
		fmt.Fprintln(w, "--- (a step that is not scored)")
		return
	}
	answer, err := json.MarshalIndent(e.Resp, "", " ")
	if err != nil {
		fmt.Fprintln(w, err)
	}
	fmt.Fprintf(w, "--- answer\n%s\n", answer)
}
