package server

import (
	"strings"
	"testing"
)

func TestDefaultsAreValid(t *testing.T) {
	c := DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestConfigurationIsRefusedWithAWordAboutTheFlag(t *testing.T) {
	for flag, change := range map[string]func(*Config){
		"--secure-port":                        func(c *Config) { c.SecurePort = 0 },
		"--tls-cert-file":                      func(c *Config) { c.TLSCertFile = "a.crt" },
		"--etcd-cafile":                        func(c *Config) { c.EtcdCAFile = "ca.crt" },
		"--enable-priority-and-fairness=false": func(c *Config) { c.MaxInFlight, c.MaxMutating = 0, 0 },
		"--etcd-servers-overrides":             func(c *Config) { c.EtcdServersOverride = []string{"events"} },
		"--service-cluster-ip-range":           func(c *Config) { c.ServiceClusterIPRange = "10.0.0.0/16,10.1.0.0/16" },
		"--feature-gates: Sidecars":            func(c *Config) { c.FeatureGates = map[string]string{"Sidecars": "true"} },
		"--feature-gates: AllAlpha is false":   func(c *Config) { c.FeatureGates = map[string]string{"AllAlpha": "true"} },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

func TestDefaultDataDirFollowsTheUser(t *testing.T) {
	env := func(vars map[string]string) func(string) string {
		return func(name string) string { return vars[name] }
	}
	for want, got := range map[string]string{
		"/var/lib/knarr":             defaultDataDir(0, env(map[string]string{"HOME": "/root"})),
		"/home/a/.local/share/knarr": defaultDataDir(1, env(map[string]string{"HOME": "/home/a"})),
		"":                           defaultDataDir(1, env(nil)),
		"/data/knarr":                defaultDataDir(1, env(map[string]string{"HOME": "/home/a", "XDG_DATA_HOME": "/data"})),
	} {
		if got != want {
			t.Errorf("want %s, got %s", want, got)
		}
	}
}

func TestRuntimeConfigLeavesRowsOut(t *testing.T) {
	has := func(config map[string]string, group, version, plural string) bool {
		c := DefaultConfig()
		c.RuntimeConfig = config
		rows, err := c.served()
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			for _, v := range row.Versions {
				if row.Group == group && row.Plural == plural && v.Name == version && !row.Hidden {
					return true
				}
			}
		}
		return false
	}
	for name, c := range map[string]struct {
		config                 map[string]string
		group, version, plural string
		want                   bool
	}{
		"nothing is left out by default":         {nil, "apps", "v1", "deployments", true},
		"a version goes with its resources":      {map[string]string{"apps/v1": "false"}, "apps", "v1", "deployments", false},
		"other groups stay":                      {map[string]string{"apps/v1": "false"}, "batch", "v1", "jobs", true},
		"a resource goes alone":                  {map[string]string{"apps/v1/deployments": "false"}, "apps", "v1", "deployments", false},
		"its neighbours stay":                    {map[string]string{"apps/v1/deployments": "false"}, "apps", "v1", "replicasets", true},
		"the more particular key wins":           {map[string]string{"api/all": "false", "v1": "true"}, "", "v1", "pods", true},
		"a version that is not kept goes alone":  {map[string]string{"autoscaling/v1": "false"}, "autoscaling", "v1", "horizontalpodautoscalers", false},
		"the version that is kept stays with it": {map[string]string{"autoscaling/v1": "false"}, "autoscaling", "v2", "horizontalpodautoscalers", true},
	} {
		if got := has(c.config, c.group, c.version, c.plural); got != c.want {
			t.Errorf("%s: served is %v", name, got)
		}
	}
}

func TestTheVersionInWhichObjectsAreKeptIsServed(t *testing.T) {
	c := DefaultConfig()
	c.RuntimeConfig = map[string]string{"autoscaling/v2": "false"}
	if _, err := c.served(); err == nil {
		t.Error("version 2 of autoscaling was turned off alone")
	}
}
