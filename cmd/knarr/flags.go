package main

import (
	"fmt"
	"net"
	"reflect"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// bindFlags makes a flag of every field of the configuration (a pointer to a struct) that has the tags "flag", its
// name, and "help". A field with the tag "prefix" is a part of the configuration, whose flags' names begin so; one with a
// method "flags" binds its own. The fields' present values are the defaults.
func bindFlags(flags *pflag.FlagSet, config any) { bindFlagsBelow(flags, config, "") }

func bindFlagsBelow(flags *pflag.FlagSet, config any, prefix string) {
	v := reflect.ValueOf(config).Elem()
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() {
			continue
		}
		tags, field := v.Type().Field(i).Tag, v.Field(i).Addr().Interface()
		if more, ok := tags.Lookup("prefix"); ok {
			bindFlagsBelow(flags, field, prefix+more)
		}
		if own, ok := field.(interface{ flags(*pflag.FlagSet) }); ok {
			own.flags(flags)
		}
		if name := tags.Get("flag"); name != "" {
			bindFlag(flags, field, prefix+name, tags.Get("help"))
		}
	}
}

// shown is what the flags of configurations say, by their names.
func shown(configs ...any) map[string]any {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, c := range configs {
		bindFlags(flags, c)
	}
	all := map[string]any{}
	flags.VisitAll(func(f *pflag.Flag) { all[f.Name] = f.Value.String() })
	return all
}

// showByTopic makes the help of a command with many flags one to read: in the order in which they were bound, which
// keeps together what belongs together and begins with what everybody needs, and in lines that end.
func showByTopic(c *cobra.Command) {
	c.Flags().SortFlags = false
	c.SetUsageTemplate(strings.ReplaceAll(c.UsageTemplate(), ".FlagUsages ", ".FlagUsagesWrapped 120 "))
}

func bindFlag(flags *pflag.FlagSet, field any, name, help string) {
	switch p := field.(type) {
	case pflag.Value:
		flags.Var(p, name, help)
	case *string:
		flags.StringVar(p, name, *p, help)
	case *int:
		flags.IntVar(p, name, *p, help)
	case *int64:
		flags.Int64Var(p, name, *p, help)
	case *float32:
		flags.Float32Var(p, name, *p, help)
	case *bool:
		flags.BoolVar(p, name, *p, help)
	case *time.Duration:
		flags.DurationVar(p, name, *p, help)
	case *net.IP:
		flags.IPVar(p, name, *p, help)
	case *[]string:
		flags.StringSliceVar(p, name, *p, help)
	case *map[string]string:
		flags.StringToStringVar(p, name, *p, help)
	default:
		panic(fmt.Sprintf("flag --%s: no flags of type %T", name, field))
	}
}
