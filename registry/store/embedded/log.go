package embedded

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapTo sends etcd's own warnings and errors to log. What etcd says of its healthy life is left out.
func zapTo(log *slog.Logger) *zap.Logger { return zap.New(core{log: log.With("part", "etcd")}) }

// core is a zapcore.Core on top of slog.
type core struct{ log *slog.Logger }

// quiet reports that a warning of etcd tells nothing in this process.
func quiet(message string, fields []zapcore.Field) bool {
	switch message {
	case "simple token is not cryptographically signed", // nobody logs in to an etcd without a port
		"Running http and grpc server on single port. This is not recommended for production.", // there is none
		// After a restart it tries without a pause until the log has been applied; Start tells if that never comes.
		"failed to publish local member to cluster through raft",
		"server has potential to be slow":
		return true
	}
	if strings.Contains(message, "cannot campaign") { // it stood for election before it knew itself, and does so again
		return true
	}
	return slices.ContainsFunc(fields, func(f zapcore.Field) bool {
		err, ok := f.Interface.(error)
		return ok && quietError(err.Error())
	})
}

func quietError(text string) bool {
	// A database that is being made has no version yet; etcd tries again and succeeds. What is under way when etcd is
	// closed is cancelled.
	return strings.Contains(text, "missing term information") || strings.Contains(text, "request cancelled") ||
		strings.Contains(text, "context canceled")
}

func (c core) Enabled(level zapcore.Level) bool { return level >= zapcore.WarnLevel }

func (c core) With(fields []zapcore.Field) zapcore.Core {
	return core{c.log.With(attributes(fields)...)}
}

func (c core) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

func (c core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if quiet(e.Message, fields) {
		return nil
	}
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
