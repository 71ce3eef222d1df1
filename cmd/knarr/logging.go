package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
)

// logging is how much is logged, and in which form. The flags are kube-apiserver's.
type logging struct {
	format    string
	verbosity int
}

func (l *logging) flags(f *pflag.FlagSet) {
	f.StringVar(&l.format, "logging-format", "text", "form of the log on standard error: text or json")
	f.IntVarP(&l.verbosity, "v", "v", 0, "how much to log: 0 what an operator should know, 2 every change of state, 4 and more details for developers")
}

// logger makes the process's logger, and leads klog, in which libraries log, into it.
func (l *logging) logger(w io.Writer) (*slog.Logger, error) {
	level := slog.LevelInfo
	switch {
	case l.verbosity >= 4:
		level = slog.LevelDebug - 4
	case l.verbosity >= 2:
		level = slog.LevelDebug
	}
	var handler slog.Handler
	switch l.format {
	case "text":
		handler = slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})
	case "json":
		handler = slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})
	default:
		return nil, fmt.Errorf("--logging-format is %q: use text or json", l.format)
	}
	klog.SetSlogLogger(slog.New(chatter{handler}))
	return slog.New(handler), nil
}

// chatter is for the log of libraries: what they hold to be information is of interest to developers here. (klog hands
// on its warnings as information, so these go the same way.)
type chatter struct{ slog.Handler }

func (c chatter) Enabled(ctx context.Context, level slog.Level) bool {
	return c.Handler.Enabled(ctx, quieter(level))
}

func (c chatter) Handle(ctx context.Context, r slog.Record) error {
	// Nobody misses the events of a namespace that is gone, or those of an outage, and those of a burst are dropped by the
	// thousand, as meant.
	for _, lost := range []string{"Server rejected event", "Unable to write event", "Unable to record event: too many queued events"} {
		if strings.HasPrefix(r.Message, lost) {
			r.Level = slog.LevelInfo
		}
	}
	if r.Level = quieter(r.Level); !c.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return c.Handler.Handle(ctx, r)
}

func (c chatter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return chatter{c.Handler.WithAttrs(attrs)}
}
func (c chatter) WithGroup(name string) slog.Handler { return chatter{c.Handler.WithGroup(name)} }

func quieter(level slog.Level) slog.Level {
	if level < slog.LevelWarn {
		return level - 4
	}
	return level
}
