package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
)

func TestWhichClusterIsAsked(t *testing.T) {
	const theirs = "/theirs/config"
	own := t.TempDir()
	if err := os.WriteFile(filepath.Join(own, "admin.kubeconfig"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for rule, c := range map[string]struct {
		known string // KUBECONFIG
		args  []string
		want  string // the kubeconfig that counts alone; empty: kubectl's rules do
	}{
		"a kubeconfig that is named":                       {theirs, []string{"--kubeconfig=/x", "--data-dir=" + own}, "/x"},
		"a data directory that is named":                   {theirs, []string{"--data-dir=" + own}, filepath.Join(own, "admin.kubeconfig")},
		"the user's own choice, where nothing is named":    {theirs, nil, ""},
		"a data directory that is named and not there":     {"", []string{"--data-dir=/nowhere"}, "/nowhere/admin.kubeconfig"},
		"kubectl's rules, where nobody has named anything": {"", nil, ""},
	} {
		t.Run(rule, func(t *testing.T) {
			t.Setenv("HOME", t.TempDir())
			t.Setenv("XDG_DATA_HOME", t.TempDir())
			t.Setenv("KUBECONFIG", c.known)
			var p place
			flags := pflag.NewFlagSet("", pflag.ContinueOnError)
			p.flags(flags)
			p.dataDir = t.TempDir() // the default, in which there is no cluster
			if err := flags.Parse(c.args); err != nil {
				t.Fatal(err)
			}
			if got := p.rules().ExplicitPath; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
