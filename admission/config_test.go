package admission

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// configOfTest is the configuration of the plugins that cannot start without one.
func configOfTest(plugin string) *PluginConfig {
	switch plugin {
	case "EventRateLimit":
		return &PluginConfig{"events.yaml", []byte("apiVersion: eventratelimit.admission.k8s.io/v1alpha1\nkind: Configuration\nlimits: [{type: User, qps: 1, burst: 2}]\n")}
	case "ImagePolicyWebhook":
		return &PluginConfig{"images.yaml", []byte("imagePolicy: {kubeConfigFile: testdata/images.kubeconfig}\n")}
	}
	return nil
}

// writeConfig writes an AdmissionConfiguration with these plugins, from line 4 on, and files beside it.
func writeConfig(t *testing.T, plugins string, beside map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range beside {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "admission.yaml")
	text := "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n" + plugins
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPluginsAreConfiguredInlineOrByPath(t *testing.T) {
	path := writeConfig(t, `- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline}
- name: EventRateLimit
  path: events.yaml
- name: PodSecurity
  path: nowhere.yaml # the first entry holds
`, map[string]string{"events.yaml": string(configOfTest("EventRateLimit").Data)})
	config, err := ReadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	pods, err := configure(Host{config: config["PodSecurity"]}, podSecurityConfig())
	if err != nil {
		t.Fatal(err)
	}
	if pods.Defaults.Enforce != "baseline" || pods.Defaults.Warn != "privileged" || pods.Defaults.EnforceVersion != "latest" {
		t.Errorf("PodSecurity: %+v", pods.Defaults)
	}
	events, err := configure(Host{config: config["EventRateLimit"]}, eventLimitConfig())
	if err != nil {
		t.Fatal(err)
	}
	if len(events.Limits) != 1 || events.Limits[0].Burst != 2 {
		t.Errorf("EventRateLimit: %+v", events.Limits)
	}
}

func TestAFaultyConfigurationIsRefusedWithItsPlace(t *testing.T) {
	for _, c := range []struct {
		rule, plugins, want string
		beside              map[string]string
	}{
		{"an unknown plugin", "- name: Nosuch\n", `admission.yaml:4: plugins[0].name: Invalid value: "Nosuch": there is no such admission plugin`, nil},
		{"an unknown field", "- nam: PodSecurity\n", `admission.yaml:4: unknown field "plugins[0].nam"`, nil},
		{"a file that is not there", "- name: PodSecurity\n  path: gone.yaml\n", "plugins[0].path: open ", nil},
		{"a fault within the file", "- name: PodSecurity\n  configuration:\n    apiVersion: pod-security.admission.config.k8s.io/v1\n    kind: PodSecurityConfiguration\n    defaults:\n      warn: strict\n",
			`admission.yaml:9: defaults.warn: Invalid value: "strict": must be one of privileged, baseline, restricted`, nil},
		{"a field that is unknown there", "- name: PodSecurity\n  configuration:\n    apiVersion: pod-security.admission.config.k8s.io/v1\n    kind: PodSecurityConfiguration\n    exempt: {}\n",
			`admission.yaml:8: unknown field "exempt"`, nil},
		{"a fault within a plugin's own file", "- name: EventRateLimit\n  path: events.yaml\n",
			"events.yaml:3: limits[0].qps: Invalid value: 0: must be positive",
			map[string]string{"events.yaml": "apiVersion: eventratelimit.admission.k8s.io/v1alpha1\nkind: Configuration\nlimits: [{type: User, burst: 2}]\n"}},
		{"another plugin's file", "- name: ResourceQuota\n  path: events.yaml\n",
			`events.yaml:2: kind is "Event": this file has to hold a ResourceQuotaConfiguration`, map[string]string{"events.yaml": "apiVersion: v1\nkind: Event\n"}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			config, err := ReadConfig(writeConfig(t, c.plugins, c.beside))
			if err == nil {
				var enable []string
				if config["EventRateLimit"] != nil {
					enable = []string{"EventRateLimit"}
				}
				_, err = New(Host{Config: config}, enable, nil)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestTheUnversionedFormOfOldIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "old.yaml")
	if err := os.WriteFile(path, []byte("podNodeSelectorPluginConfig:\n  clusterDefaultNodeSelector: zone=a\n  prod: disk=ssd\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := ReadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := configure(Host{config: config["PodNodeSelector"]}, nodeSelectorConfig())
	if err != nil || file.Selectors["prod"] != "disk=ssd" || file.Selectors[clusterSelector] != "zone=a" {
		t.Errorf("got %+v, %v", file, err)
	}
}
