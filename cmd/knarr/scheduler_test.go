package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestASchedulersConfigurationIsReadStrictly(t *testing.T) {
	const head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
	for _, c := range []struct{ rule, text, want string }{
		{"a field that is not known", head + "profiles:\n- schedulerName: a\n  plugin: {}\n", `:5: unknown field "profiles[0].plugin"`},
		{"an argument that is not known", head + "profiles:\n- pluginConfig:\n  - name: NodeResourcesFit\n    args:\n      ignored: [a]\n", `:7: profiles[0].pluginConfig[0].args.ignored: Invalid value: decoding args for plugin NodeResourcesFit: strict decoding error: unknown field "ignored"`},
		{"a value that cannot be", head + "podMaxBackoffSeconds: 0\n", ":3: podMaxBackoffSeconds: Invalid value: 0: must be greater than or equal to PodInitialBackoffSeconds"},
		{"a plugin that there is not", head + "profiles:\n- plugins:\n    score:\n      enabled:\n      - name: Nobody\n", `:7: profiles[0].plugins.score.enabled[0]: Invalid value: "Nobody": ScorePlugin "Nobody" does not exist`},
		{"another kind", "apiVersion: v1\nkind: ConfigMap\n", `:2: kind is "ConfigMap": this file has to hold a KubeSchedulerConfiguration`},
	} {
		t.Run(c.rule, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := readSchedulerConfig(path)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, not %s", err, c.want)
			}
		})
	}
}

func TestASchedulersConfigurationHasDefaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	text := "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nleaderElection:\n  leaderElect: false\nprofiles:\n- percentageOfNodesToScore: 30\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := readSchedulerConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if *c.LeaderElection.LeaderElect || c.LeaderElection.LeaseDuration.Seconds() != 15 || *c.Profiles[0].SchedulerName != "default-scheduler" || *c.PodMaxBackoffSeconds != 10 {
		t.Errorf("%+v", c)
	}
}
