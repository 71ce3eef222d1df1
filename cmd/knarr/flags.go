package main

import (
	"fmt"
	"net"
	"reflect"
	"time"

	"github.com/spf13/pflag"
)

// bindFlags makes a flag of every field of the configuration (a pointer to a struct) that has the tags "flag", its
// name, and "help". The fields' present values are the defaults.
func bindFlags(flags *pflag.FlagSet, config any) {
	v := reflect.ValueOf(config).Elem()
	for i := range v.NumField() {
		name, help := v.Type().Field(i).Tag.Get("flag"), v.Type().Field(i).Tag.Get("help")
		if name != "" {
			bindFlag(flags, v.Field(i).Addr().Interface(), name, help)
		}
	}
}

func bindFlag(flags *pflag.FlagSet, field any, name, help string) {
	switch p := field.(type) {
	case pflag.Value:
		flags.Var(p, name, help)
	case *string:
		flags.StringVar(p, name, *p, help)
	case *int:
		flags.IntVar(p, name, *p, help)
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
