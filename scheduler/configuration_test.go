package scheduler

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	configv1 "k8s.io/kube-scheduler/config/v1"
	sigsyaml "sigs.k8s.io/yaml"
)

// configurationOf reads a configuration, with its defaults.
func configurationOf(t *testing.T, text string) *Configuration {
	t.Helper()
	c := &Configuration{}
	if err := sigsyaml.UnmarshalStrict([]byte(text), c); err != nil {
		t.Fatal(err)
	}
	SetDefaults(c)
	return c
}

// TestProfilesChoosePlugins: what a profile says, and the names at one point in their order, with the weights of scores.
func TestProfilesChoosePlugins(t *testing.T) {
	const all = "TaintToleration=3 NodeAffinity=2 NodeResourcesFit=1 PodTopologySpread=2 InterPodAffinity=2 NodeResourcesBalancedAllocation=1 ImageLocality=1"
	for _, c := range []struct{ rule, plugins, point, want string }{
		{"nothing said is the table", ``, "score", all},
		{"one less", `{score: {disabled: [{name: ImageLocality}]}}`, "score", strings.TrimSuffix(all, " ImageLocality=1")},
		{"one less everywhere", `{multiPoint: {disabled: [{name: NodeAffinity}]}}`, "score", strings.Replace(all, "NodeAffinity=2 ", "", 1)},
		{"others stay where one is disabled elsewhere", `{filter: {disabled: [{name: NodeAffinity}]}}`, "score", all},
		{"none but those named", `{score: {disabled: [{name: "*"}], enabled: [{name: NodeResourcesFit, weight: 7}, {name: ImageLocality}]}}`, "score", "NodeResourcesFit=7 ImageLocality=1"},
		{"another weight comes first", `{score: {enabled: [{name: ImageLocality, weight: 9}]}}`, "score", "ImageLocality=9 " + strings.TrimSuffix(all, " ImageLocality=1")},
		{"another weight everywhere keeps its place", `{multiPoint: {enabled: [{name: NodeAffinity, weight: 5}]}}`, "score", strings.Replace(all, "NodeAffinity=2", "NodeAffinity=5", 1)},
		{"no weight is one", `{multiPoint: {enabled: [{name: TaintToleration}]}}`, "score", strings.Replace(all, "TaintToleration=3", "TaintToleration=1", 1)},
		{"no preemption", `{postFilter: {disabled: [{name: "*"}]}}`, "postFilter", ""},
		{"preemption", ``, "postFilter", "DynamicResources DefaultPreemption"},
		{"gates", ``, "preEnqueue", "SchedulingGates DefaultPreemption"},
		{"only one", `{multiPoint: {disabled: [{name: "*"}], enabled: [{name: PrioritySort}, {name: DefaultBinder}, {name: NodeName}]}}`, "filter", "NodeName"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			config := configurationOf(t, "profiles: [{plugins: "+c.plugins+"}]")
			if errs := Validate(config); len(errs) > 0 {
				t.Fatal(errs.ToAggregate())
			}
			chosen, _ := choose(Plugins(), &config.Profiles[0], nil)
			var names []string
			for _, p := range chosen.at[c.point] {
				if c.point == "score" {
					p.Name += fmt.Sprint("=", *p.Weight)
				}
				names = append(names, p.Name)
			}
			if got := strings.Join(names, " "); got != c.want {
				t.Errorf("%s, not %s", got, c.want)
			}
		})
	}
}

// TestConfigurationsAreValidated in upstream's words.
func TestConfigurationsAreValidated(t *testing.T) {
	args := func(plugin, args string) string {
		return "profiles: [{pluginConfig: [{name: " + plugin + ", args: " + args + "}]}]"
	}
	for _, c := range []struct{ rule, text, want string }{
		{"the default", ``, ""},
		{"no parallelism", `parallelism: 0`, "parallelism: Invalid value: 0: should be an integer value greater than zero"},
		{"a percentage", `percentageOfNodesToScore: 101`, "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]"},
		{"back-off", `podInitialBackoffSeconds: 0`, "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0"},
		{"leases", `leaderElection: {leaderElect: true, renewDeadline: 20s}`, "leaderElection.leaseDuration: Invalid value: \"20s\": must be greater than `RenewDeadline`"},
		{"a profile without a name", `profiles: [{schedulerName: a}, {}]`, "profiles[1].schedulerName: Required value"},
		{"two profiles of one name", `profiles: [{schedulerName: a}, {schedulerName: a}]`, `profiles[1].schedulerName: Duplicate value: "profiles[0].schedulerName"`},
		{"two orders", `profiles: [{schedulerName: a}, {schedulerName: b, plugins: {queueSort: {enabled: [{name: PrioritySort}]}}}]`, "profiles[1].plugins.queueSort: Invalid value"},
		{"a plugin where it has nothing to say", `profiles: [{plugins: {score: {enabled: [{name: NodeName}]}}}]`, `profiles[0].plugins.score.enabled[0]: Invalid value: "NodeName": plugin "NodeName" does not extend ScorePlugin plugin`},
		{"a plugin named twice", `profiles: [{plugins: {filter: {enabled: [{name: NodeName}, {name: NodeName}]}}}]`, `plugin "NodeName" already registered as "FilterPlugin"`},
		{"nobody who binds", `profiles: [{plugins: {bind: {disabled: [{name: "*"}]}}}]`, "profiles[0].plugins.bind: Required value: at least one bind plugin is needed"},
		{"a weight below zero", `profiles: [{plugins: {score: {enabled: [{name: ImageLocality, weight: -5}]}}}]`, `profiles[0].plugins.score: Invalid value: "ImageLocality": total score of Score plugins could overflow`},
		{"the greatest weights", `profiles: [{plugins: {score: {enabled: [{name: ImageLocality, weight: 2147483647}, {name: NodeAffinity, weight: 2147483647}]}}}]`, ""},
		{"arguments given twice", `profiles: [{pluginConfig: [{name: A}, {name: A}]}]`, `profiles[0].pluginConfig[1]: Duplicate value: "A"`},
		{"arguments of another plugin", args("NodeResourcesFit", "{kind: NodeAffinityArgs}"), "args for plugin NodeResourcesFit were not of type NodeResourcesFitArgs.kubescheduler.config.k8s.io"},
		{"a plugin of old", args("EBSLimits", "{}"), `profiles[0].pluginConfig[0]: Invalid value: "EBSLimits": was invalid in version "kubescheduler.config.k8s.io/v1"`},
		{"preemption", args("DefaultPreemption", "{minCandidateNodesPercentage: 0, minCandidateNodesAbsolute: 0}"), "cannot be zero at the same time as minCandidateNodesAbsolute"},
		{"timeouts of devices", args("DynamicResources", "{filterTimeout: -1s, bindingTimeout: 900ms}"), `args.filterTimeout: Invalid value: "-1s": must be zero or positive, profiles[0].pluginConfig[0].args.bindingTimeout: Invalid value: "900ms": must be at least 1 second`},
		{"affinity", args("InterPodAffinity", "{hardPodAffinityWeight: 101}"), "profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]"},
		{"an affinity that is added", args("NodeAffinity", "{addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Like}]}]}}}"), "args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator"},
		{"a strategy", args("NodeResourcesFit", "{scoringStrategy: {type: Best}}"), `scoringStrategy.type: Unsupported value: "Best": supported values: "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"`},
		{"a shape that is missing", args("NodeResourcesFit", "{scoringStrategy: {type: RequestedToCapacityRatio}}"), "must be specified when type is RequestedToCapacityRatio"},
		{"a shape that goes back", args("NodeResourcesFit", "{scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 5, score: 1}, {utilization: 5, score: 11}]}}}"), "values must be sorted in increasing order"},
		{"balance", args("NodeResourcesBalancedAllocation", "{resources: [{name: cpu, weight: 2}]}"), "resources[0].weight: Invalid value: 2: must be 1"},
		{"spreading", args("PodTopologySpread", "{defaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]}"), "when .defaultConstraints are not empty"},
		{"volumes", args("VolumeBinding", "{bindTimeoutSeconds: -1}"), "invalid BindTimeoutSeconds, should not be a negative value"},
		{"an extender without a weight", `extenders: [{urlPrefix: "http://x", prioritizeVerb: p}]`, "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it"},
		{"two that bind", `extenders: [{urlPrefix: "http://x", bindVerb: b}, {urlPrefix: "http://y", bindVerb: b}]`, "only one extender can implement bind"},
		{"a resource of Kubernetes' own", `extenders: [{urlPrefix: "http://x", managedResources: [{name: cpu}]}]`, "is an invalid extended resource name"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			errs := Validate(configurationOf(t, c.text))
			if got := fmt.Sprint(errs.ToAggregate()); c.want == "" && len(errs) > 0 || !strings.Contains(got, c.want) {
				t.Errorf("%s, not %s", got, c.want)
			}
		})
	}
}

func TestDefaultConstraintsOfAConfigurationAreStrict(t *testing.T) {
	s := newStand(func(config *Config) {
		config.Configuration = DefaultConfiguration()
		config.Configuration.Profiles[0].PluginConfig = []configv1.PluginConfig{{Name: "PodTopologySpread", Args: runtime.RawExtension{Raw: []byte(
			`{"defaultingType": "List", "defaultConstraints": [{"maxSkew": 1, "topologyKey": "` + zoneKey + `", "whenUnsatisfiable": "DoNotSchedule"}]}`)}}}
	})
	s.cluster.setNode(nodeOf("x", zone("1")))
	s.cluster.setNode(nodeOf("y"))
	s.serve("a")
	s.place(podOf("o", labeled("app", "a")), "x")
	s.cluster.setNode(nodeOf("z", zone("2"), allocatable("pods=0")))
	want := "0/3 nodes are available: 1 Too many pods, 1 node(s) didn't match pod topology spread constraints, 1 node(s) didn't match pod topology spread constraints (missing required label)."
	if _, message := s.decide(podOf("p", labeled("app", "a"))); message != want {
		t.Errorf("%s, not %s", message, want)
	}
}

func TestIgnoredResourcesAreNotAskedFor(t *testing.T) {
	s := newStand(withArgs("NodeResourcesFit", `{"ignoredResources": ["example.com/a"], "ignoredResourceGroups": ["other.com"]}`))
	s.cluster.setNode(nodeOf("n"))
	if node, message := s.decide(podOf("p", requests("example.com/a=1", "other.com/b=1"))); node != "n" {
		t.Error(message)
	}
	if _, message := s.decide(podOf("p", requests("example.com/c=1"))); message != "0/1 nodes are available: 1 Insufficient example.com/c." {
		t.Error(message)
	}
}

func TestEachProfileHasItsPlugins(t *testing.T) {
	config := configurationOf(t, "profiles: [{schedulerName: a}, {schedulerName: b, plugins: {filter: {disabled: [{name: NodeUnschedulable}]}}}]")
	s := newStand(func(c *Config) { c.Configuration = config })
	has := func(name string) bool {
		return slices.ContainsFunc(s.profiles[name].filters, func(f filterOf) bool { return f.name == "NodeUnschedulable" })
	}
	if !has("a") || has("b") {
		t.Errorf("%v %v", has("a"), has("b"))
	}
}
