package server

import (
	"net/http"
	"strings"
	"testing"
)

func TestWarningsAreBoundedTogether(t *testing.T) {
	long := func(c string) string { return strings.Repeat(c, 300) }
	tests := []struct {
		name  string
		texts []string
		want  []string
	}{
		{"each text once, empty ones never", []string{"a", "", "a", "b"}, []string{"a", "b"}},
		{"within the bound a long one is whole", []string{long("é")}, []string{long("é")}},
		{"beyond the bound all are cut, the earlier ones too", []string{long("é"), strings.Repeat("x", maxWarnings)},
			[]string{strings.Repeat("é", maxWarning), strings.Repeat("x", maxWarning)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var all warnings
			h := http.Header{}
			for _, text := range test.texts {
				all.add(h, text)
			}
			var want []string
			for _, text := range test.want {
				want = append(want, `299 - "`+text+`"`)
			}
			if got := strings.Join(h["Warning"], "\n"); got != strings.Join(want, "\n") {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestCutWarningsEndWhenTheBoundIsReached(t *testing.T) {
	var all warnings
	h := http.Header{}
	for i := range 100 {
		all.add(h, strings.Repeat(string(rune('!'+i)), maxWarning))
	}
	if got, want := len(h["Warning"]), maxWarnings/maxWarning+1; got != want {
		t.Errorf("%d warnings, want %d", got, want)
	}
}
