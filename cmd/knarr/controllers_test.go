package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/knarr-dev/knarr/controllers"
)

func TestFlagsOfControllers(t *testing.T) {
	prefixes := func(texts ...string) (all []netip.Prefix) {
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	for _, c := range []struct {
		rule, flags string
		ranges      []netip.Prefix // that nodes get some of
		ipv4, ipv6  int            // lengths of their prefixes
		workers     int            // of the deployment controller
		wrong       string
	}{
		{rule: "nodes get no ranges by default"},
		{rule: "nor if they are not to be allocated", flags: "--cluster-cidr=10.244.0.0/16"},
		{rule: "ranges of one family", flags: "--allocate-node-cidrs --cluster-cidr=10.244.1.0/16 --node-cidr-mask-size=25",
			ranges: prefixes("10.244.0.0/16"), ipv4: 25},
		{rule: "ranges of two", flags: "--allocate-node-cidrs --cluster-cidr=10.244.0.0/16,fd00::/48 --node-cidr-mask-size-ipv6=60",
			ranges: prefixes("10.244.0.0/16", "fd00::/48"), ipv6: 60},
		{rule: "more workers", flags: "--concurrent-deployment-syncs=9", workers: 9},
		{rule: "two ranges of one family", flags: "--cluster-cidr=10.0.0.0/16,10.1.0.0/16", wrong: "one of IPv4 and one of IPv6"},
		{rule: "what is no range", flags: "--cluster-cidr=10.0.0.0", wrong: "is no CIDR"},
		{rule: "one size for two families", flags: "--cluster-cidr=10.0.0.0/16,fd00::/48 --node-cidr-mask-size=60", wrong: "-ipv6"},
		{rule: "a size of nothing", flags: "--node-cidr-mask-size=24", wrong: "needs --cluster-cidr"},
		{rule: "nodes with more than the cluster has", flags: "--cluster-cidr=10.0.0.0/16 --node-cidr-mask-size=12", wrong: "use 16 to 32"},
		{rule: "more nodes than upstream can count", flags: "--cluster-cidr=10.0.0.0/8 --node-cidr-mask-size=30", wrong: "use 8 to 24"},
		{rule: "a controller that there is not", flags: "--controllers=*,-deploymnt", wrong: `controller "deploymnt" is unknown`},
		{rule: "no grace", flags: "--node-monitor-grace-period=0s", wrong: "above 0"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			o := defaultControllers()
			flags := pflag.NewFlagSet("", pflag.ContinueOnError)
			bindFlags(flags, &o)
			if err := flags.Parse(strings.Fields(c.flags)); err != nil {
				t.Fatal(err)
			}
			err := o.check()
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("%v, want %q", err, c.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got controllers.Config
			if err := o.allocate(&got); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.ClusterCIDRs, c.ranges) || got.NodeMaskIPv4 != c.ipv4 || got.NodeMaskIPv6 != c.ipv6 {
				t.Errorf("%v, /%d and /%d", got.ClusterCIDRs, got.NodeMaskIPv4, got.NodeMaskIPv6)
			}
			if n := o.Workers["deployment-controller"]; n != c.workers {
				t.Errorf("%d workers, want %d", n, c.workers)
			}
		})
	}
}

func TestWorkersWork(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	workers{}.flags(flags)
	if err := flags.Parse([]string{"--concurrent-gc-syncs=0"}); err == nil {
		t.Error("nobody works, and nobody says so")
	}
	if got := flags.Lookup("concurrent-gc-syncs").DefValue; got != "20" {
		t.Errorf("the default is %s, want that of the table", got)
	}
}
