package embedded

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapTo sends etcd's own warnings and errors to log. What etcd says of its healthy life is left out.
func zapTo(log *slog.Logger) *zap.Logger { return zap.New(core{log: log.With("part", "etcd")}) }

// core is a zapcore.Core on top of slog.
type core struct{ log *slog.Logger }

// quiet are warnings of etcd that tell nothing in this process: they are about settings that it has on purpose.
func quiet(message string) bool {
	switch message {
	case "Running http and grpc server on single port. This is not recommended for production.",
		"simple token is not cryptographically signed",
		"flag \"v2-deprecation\" is deprecated",
		"server has potential to be slow":
		return true
	}
	return false
}

func (c core) Enabled(level zapcore.Level) bool { return level >= zapcore.WarnLevel }

func (c core) With(fields []zapcore.Field) zapcore.Core {
	return core{c.log.With(attributes(fields)...)}
}

func (c core) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) && !quiet(e.Message) {
		return checked.AddCore(e, c)
	}
	return checked
}

func (c core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelWarn
	if e.Level > zapcore.WarnLevel {
		level = slog.LevelError
	}
	c.log.Log(context.Background(), level, e.Message, attributes(fields)...)
	return nil
}

func (c core) Sync() error { return nil }

func attributes(fields []zapcore.Field) []any {
	values := zapcore.NewMapObjectEncoder()
	attrs := make([]any, 0, 2*len(fields))
	for _, f := range fields {
		f.AddTo(values)
		attrs = append(attrs, f.Key, values.Fields[f.Key])
	}
	return attrs
}
