package main

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/knarr-dev/knarr/server"
)

func TestEveryFlagHasHelp(t *testing.T) {
	for _, c := range root().Commands() {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s: no help", c.Name(), f.Name)
			}
		})
	}
}

func TestFlagsFillTheConfiguration(t *testing.T) {
	config := server.DefaultConfig()
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	bindFlags(flags, &config)
	err := flags.Parse([]string{"--secure-port=7443", "--bind-address=::1", "--service-node-port-range=30000-30010",
		"--authorization-mode=RBAC,Node", "--runtime-config=apps/v1=false,api/all=true", "--event-ttl=2h"})
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case config.SecurePort != 7443, config.BindAddress.String() != "::1", config.ServiceNodePortRange.Size != 11,
		len(config.Authorization.Mode) != 2, config.RuntimeConfig["apps/v1"] != "false", config.EventTTL.Hours() != 2:
		t.Errorf("%+v", config)
	}
	if config.EtcdPrefix != "/registry" {
		t.Errorf("a default is lost: %q", config.EtcdPrefix)
	}
}

func TestHelpBeginsWithWhatEverybodyNeeds(t *testing.T) {
	help := apiserverCommand().UsageString()
	data, port, audit := strings.Index(help, "--data-dir"), strings.Index(help, "--secure-port"), strings.Index(help, "--audit-log-path")
	if data < 0 || data > port || port > audit {
		t.Errorf("--data-dir is at %d, --secure-port at %d, --audit-log-path at %d", data, port, audit)
	}
	for line := range strings.Lines(help) {
		if len(line) > 130 { // a word that is longer than its column stays whole
			t.Errorf("does not fit a screen: %s", line)
		}
	}
}
