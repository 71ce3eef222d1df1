package scheduler

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"
)

// Configuration is what a KubeSchedulerConfiguration file says. What stands in it about leases, clients and debugging is
// for whoever runs the scheduler; parallelism is accepted and of no consequence: a cycle is arithmetic in one goroutine.
type Configuration = configv1.KubeSchedulerConfiguration

// What the file's head has to say.
const (
	ConfigurationKind    = "KubeSchedulerConfiguration"
	ConfigurationVersion = configv1.GroupName + "/v1"
)

// DefaultConfiguration is what holds without a file.
func DefaultConfiguration() *Configuration {
	c := &Configuration{}
	SetDefaults(c)
	return c
}

// SetDefaults fills in what is not said, as upstream does. Plugins and their arguments are left as they are: what a
// profile does not say about them is in the table.
func SetDefaults(c *Configuration) {
	orElse(&c.Parallelism, 16)
	orElse(&c.PercentageOfNodesToScore, 0)
	orElse(&c.PodInitialBackoffSeconds, 1)
	orElse(&c.PodMaxBackoffSeconds, 10)
	orElse(&c.EnableProfiling, true)
	orElse(&c.EnableContentionProfiling, *c.EnableProfiling)
	if len(c.Profiles) == 0 {
		c.Profiles = []configv1.KubeSchedulerProfile{{}}
	}
	if len(c.Profiles) == 1 {
		orElse(&c.Profiles[0].SchedulerName, "default-scheduler")
	}
	l := &c.LeaderElection
	orElse(&l.LeaderElect, true)
	orDefault(&l.ResourceLock, "leases")
	orDefault(&l.ResourceNamespace, configv1.SchedulerDefaultLockObjectNamespace)
	orDefault(&l.ResourceName, configv1.SchedulerDefaultLockObjectName)
	orDefault(&l.LeaseDuration, metav1.Duration{Duration: 15 * time.Second})
	orDefault(&l.RenewDeadline, metav1.Duration{Duration: 10 * time.Second})
	orDefault(&l.RetryPeriod, metav1.Duration{Duration: 2 * time.Second})
	orDefault(&c.ClientConnection.ContentType, "application/vnd.kubernetes.protobuf")
	orDefault(&c.ClientConnection.QPS, 50)
	orDefault(&c.ClientConnection.Burst, 100)
	for i := range c.Extenders {
		orDefault(&c.Extenders[i].HTTPTimeout, metav1.Duration{Duration: extenderTimeout})
	}
}

func orElse[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}

func orDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// Validate says what is wrong with a configuration that has its defaults, in upstream's words.
func Validate(c *Configuration) field.ErrorList {
	var errs field.ErrorList
	if *c.Parallelism <= 0 {
		errs = append(errs, field.Invalid(field.NewPath("parallelism"), *c.Parallelism, "should be an integer value greater than zero"))
	}
	if c.ClientConnection.Burst < 0 {
		errs = append(errs, field.Invalid(field.NewPath("clientConnection", "burst"), c.ClientConnection.Burst, "must be non-negative"))
	}
	errs = append(errs, validateElection(c)...)
	errs = append(errs, validatePercentage(field.NewPath("percentageOfNodesToScore"), c.PercentageOfNodesToScore)...)
	if *c.PodInitialBackoffSeconds <= 0 {
		errs = append(errs, field.Invalid(field.NewPath("podInitialBackoffSeconds"), *c.PodInitialBackoffSeconds, "must be greater than 0"))
	}
	if *c.PodMaxBackoffSeconds < *c.PodInitialBackoffSeconds {
		errs = append(errs, field.Invalid(field.NewPath("podMaxBackoffSeconds"), *c.PodMaxBackoffSeconds, "must be greater than or equal to PodInitialBackoffSeconds"))
	}
	errs = append(errs, validateProfiles(field.NewPath("profiles"), c.Profiles)...)
	return append(errs, validateExtenders(field.NewPath("extenders"), c.Extenders)...)
}

func validateElection(c *Configuration) (errs field.ErrorList) {
	at, l := field.NewPath("leaderElection"), &c.LeaderElection
	if !*l.LeaderElect {
		return nil
	}
	for _, d := range []struct {
		name  string
		value metav1.Duration
	}{{"leaseDuration", l.LeaseDuration}, {"renewDeadline", l.RenewDeadline}, {"retryPeriod", l.RetryPeriod}} {
		if d.value.Duration <= 0 {
			errs = append(errs, field.Invalid(at.Child(d.name), d.value, "must be greater than zero"))
		}
	}
	if l.LeaseDuration.Duration <= l.RenewDeadline.Duration {
		errs = append(errs, field.Invalid(at.Child("leaseDuration"), l.RenewDeadline, "must be greater than `RenewDeadline`"))
	}
	if l.ResourceLock != "leases" {
		errs = append(errs, field.Invalid(at.Child("resourceLock"), l.ResourceLock, `resourceLock value must be "leases"`))
	}
	return errs
}

func validatePercentage(at *field.Path, percentage *int32) field.ErrorList {
	if percentage != nil && (*percentage < 0 || *percentage > 100) {
		return field.ErrorList{field.Invalid(at, *percentage, "not in valid range [0-100]")}
	}
	return nil
}

func validateProfiles(at *field.Path, profiles []configv1.KubeSchedulerProfile) (errs field.ErrorList) {
	seen := map[string]int{}
	for i := range profiles {
		p, at := &profiles[i], at.Index(i)
		name := nameOf(p)
		if name == "" {
			errs = append(errs, field.Required(at.Child("schedulerName"), ""))
		}
		if first, ok := seen[name]; ok {
			errs = append(errs, field.Duplicate(at.Child("schedulerName"), field.NewPath("profiles").Index(first).Child("schedulerName").String()))
		}
		seen[name] = i
		errs = append(errs, validatePercentage(at.Child("percentageOfNodesToScore"), p.PercentageOfNodesToScore)...)
		_, wrong := choose(Plugins(), p, at)
		errs = append(errs, wrong...)
		errs = append(errs, validateOrder(profiles, i)...)
	}
	return errs
}

func nameOf(p *configv1.KubeSchedulerProfile) string {
	if p.SchedulerName == nil {
		return ""
	}
	return *p.SchedulerName
}

// validateOrder insists on the first profile's order of waiting pods: there is one line for all.
func validateOrder(profiles []configv1.KubeSchedulerProfile, i int) field.ErrorList {
	set := func(p *configv1.KubeSchedulerProfile) configv1.PluginSet {
		if p.Plugins == nil {
			return configv1.PluginSet{}
		}
		return p.Plugins.QueueSort
	}
	names := func(list []configv1.Plugin) sets.Set[string] {
		all := sets.New[string]()
		for _, p := range list {
			all.Insert(p.Name)
		}
		return all
	}
	first, own := set(&profiles[0]), set(&profiles[i])
	if names(first.Enabled).Equal(names(own.Enabled)) && names(first.Disabled).Equal(names(own.Disabled)) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("profiles").Index(i).Child("plugins", "queueSort"), own, "must be the same for all profiles")}
}

func validateExtenders(at *field.Path, extenders []configv1.Extender) (errs field.ErrorList) {
	binders := 0
	managed := sets.New[string]()
	for i := range extenders {
		e, at := &extenders[i], at.Index(i)
		if e.PrioritizeVerb != "" && e.Weight <= 0 {
			errs = append(errs, field.Invalid(at.Child("weight"), e.Weight, "must have a positive weight applied to it"))
		}
		if e.BindVerb != "" {
			binders++
		}
		for j, r := range e.ManagedResources {
			at := at.Child("managedResources").Index(j).Child("name")
			errs = append(errs, validateExtendedName(at, r.Name)...)
			if managed.Has(r.Name) {
				errs = append(errs, field.Invalid(at, r.Name, "duplicate extender managed resource name"))
			}
			managed.Insert(r.Name)
		}
	}
	if binders > 1 {
		errs = append(errs, field.Invalid(at, "found several extenders implementing bind", "only one extender can implement bind"))
	}
	return errs
}

func validateExtendedName(at *field.Path, name string) (errs field.ErrorList) {
	for _, message := range validation.IsQualifiedName(name) {
		errs = append(errs, field.Invalid(at, name, message))
	}
	if len(errs) == 0 && !isExtended(name) {
		errs = append(errs, field.Invalid(at, name, "is an invalid extended resource name"))
	}
	return errs
}
