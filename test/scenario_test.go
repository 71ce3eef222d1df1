// Package test holds what sees knarr from outside: scenario scripts run by stock kubectl, clients written with
// client-go, and round trips of every kind.
package test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/knarr-dev/knarr/test/cluster"
)

// TestScenarios runs the scripts in testdata, each in a namespace of its own ($NS), against one API server.
// No controllers run: what they would do does not happen.
func TestScenarios(t *testing.T) { runScenarios(t, "apiserver", "testdata") }

// TestControllerScenarios runs scripts about what controllers do, against a whole cluster.
func TestControllerScenarios(t *testing.T) { runScenarios(t, "up", "testdata/controllers") }

// TestNodeScenarios runs scripts about nodes on a cluster of their own: a taint is for everybody's pods.
func TestNodeScenarios(t *testing.T) { runScenarios(t, "up", "testdata/nodes") }

// TestAdmissionScenarios runs scripts about what may be stored, on a server of their own: some set defaults for the whole
// cluster, and some are about plugins that do not run by default.
func TestAdmissionScenarios(t *testing.T) {
	runScenarios(t, "apiserver", "testdata/admission", "--enable-admission-plugins=AlwaysPullImages,DenyServiceExternalIPs,ExtendedResourceToleration,LimitPodHardAntiAffinityTopology,NamespaceAutoProvision")
}

// TestSchedulerScenarios runs scripts about the scheduler on a cluster of their own, which no other pods and nodes disturb,
// with a configuration.
func TestSchedulerScenarios(t *testing.T) {
	port := cluster.FreePort(t)
	c := cluster.Start(t, "up", "--simulated-nodes=3", fmt.Sprint("--scheduler-secure-port=", port), "--scheduler-config=testdata/scheduler/config.yaml")
	runScripts(t, c, "testdata/scheduler", "SCHEDULER", fmt.Sprint("https://127.0.0.1:", port), "ADMIN", c.Kubeconfig)
}

func runScenarios(t *testing.T, part, dir string, flags ...string) {
	runScripts(t, cluster.Start(t, part, flags...), dir)
}

// runScripts runs the scripts of a folder; variables are names and values.
func runScripts(t *testing.T, c *cluster.Cluster, dir string, variables ...string) {
	bin := filepath.Dir(cluster.Binary(t, "kubectl"))
	if other := os.Getenv("KUBECTL"); other != "" { // of another version: see test/skew
		bin = filepath.Dir(other) + string(os.PathListSeparator) + bin
	}
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Setup: func(e *testscript.Env) error {
			namespace := "s-" + filepath.Base(e.WorkDir)[len("script-"):]
			e.Setenv("NS", namespace)
			e.Setenv("SERVER", c.URL)
			for i := 0; i < len(variables); i += 2 {
				e.Setenv(variables[i], variables[i+1])
			}
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			config, err := os.ReadFile(c.Kubeconfig)
			if err != nil {
				return err
			}
			kubeconfig := filepath.Join(e.WorkDir, "kubeconfig")
			e.Setenv("KUBECONFIG", kubeconfig)
			return os.WriteFile(kubeconfig, config, 0o600)
		},
	})
}
