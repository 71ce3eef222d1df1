package server

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knarr-dev/knarr/registry"
)

// served is the table as the configuration wants it: without the versions that --runtime-config turns off, the resources
// that have no other hidden, and with the life of Events that --event-ttl gives them.
func (c *Config) served() ([]*registry.Resource, error) {
	rows := registry.Builtin()
	if err := c.checkRuntime(rows); err != nil {
		return nil, err
	}
	for _, row := range rows {
		hub := row.Hub().Name
		left := slices.ContainsFunc(row.Versions, func(v registry.Version) bool { return c.serves(row, v.Name) })
		if left && !c.serves(row, hub) {
			return nil, fmt.Errorf("--runtime-config: %s of %s cannot be turned off alone: objects are kept in it", hub, row.GroupResource())
		}
	}
	for _, row := range rows {
		off := func(v registry.Version) bool { return !c.serves(row, v.Name) }
		if row.Hidden = !slices.ContainsFunc(row.Versions, func(v registry.Version) bool { return !off(v) }); !row.Hidden {
			row.Versions = slices.DeleteFunc(row.Versions, off)
		}
		if row.TimeToLive != nil && row.Kind == "Event" {
			row.TimeToLive = func(registry.Object) time.Duration { return c.EventTTL }
		}
	}
	return rows, nil
}

// serves reads --runtime-config for one version of a resource; the most specific key counts.
func (c *Config) serves(row *registry.Resource, version string) bool {
	gv := groupVersion(row.Group, version)
	for _, key := range []string{gv + "/" + row.Plural, gv, "api/ga", "api/all"} {
		if on, err := strconv.ParseBool(c.RuntimeConfig[key]); err == nil {
			return on
		}
	}
	return true
}

// checkRuntime refuses keys that name nothing that could be served.
func (c *Config) checkRuntime(rows []*registry.Resource) error {
	known := []string{"api/all", "api/ga", "api/beta", "api/alpha"}
	for _, row := range rows {
		for _, v := range row.Versions {
			gv := groupVersion(row.Group, v.Name)
			known = append(known, gv, gv+"/"+row.Plural)
		}
	}
	for key, value := range c.RuntimeConfig {
		on, err := strconv.ParseBool(value)
		switch {
		case err != nil:
			return fmt.Errorf("--runtime-config: %s=%s: use true or false", key, value)
		case on && (key == "api/beta" || key == "api/alpha"):
			return fmt.Errorf("--runtime-config: %s=true: only the versions that Kubernetes 1.36 serves by default exist here", key)
		case on && !slices.Contains(known, key):
			return fmt.Errorf("--runtime-config: %s is not served: only the versions that Kubernetes 1.36 serves by default exist here (group/version, as in apps/v1)", key)
		case !slices.Contains(known, key) && !strings.Contains(key, "/v"):
			return fmt.Errorf("--runtime-config: %s is neither a group/version nor api/all", key)
		}
	}
	return nil
}
