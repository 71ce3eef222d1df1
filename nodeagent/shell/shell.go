// Package shell runs commands where there are no processes: scripts for a shell, and some small programs, over a file system
// in memory. A simulated container does with it what its command says.
//
//	command -> Knows: is every program that it names one of these? -> Run: interpret, write, wait, exit code
//
// A command that names any other program is not run in part: it is not known, and its owner decides what becomes of it.
// Nothing here touches a file, a process or an address of the machine; a script that never waits is made to.
package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// Command is a command to run.
type Command struct {
	Args     []string // the program and its arguments
	Env      []string // NAME=value
	Dir      string   // where it starts; the root if it is empty
	Hostname string
	Files    *View
	Output   io.Writer // what it writes, to either stream
	Clock    clock.WithDelayedExecution
}

// Exit codes, as shells have them.
const (
	badSyntax = 2
	notFound  = 127
	killed    = 137 // its context ended
)

// builtins are what scripts may use of the shell itself. What would look at the machine's own files is not among it.
func builtins() []string {
	return []string{":", "true", "false", "exit", "set", "shift", "unset", "echo", "printf", "break", "continue", "pwd", "wait",
		"trap", "test", "[", "exec", "return", "read", "getopts"}
}

// script is the text that a command has a shell run; empty if it is no such command. A test is one, for the shell knows how to.
func script(args []string) string {
	switch path.Base(args[0]) {
	case "sh", "bash", "ash", "dash":
		if len(args) >= 3 && args[1] == "-c" {
			return args[2]
		}
	case "test", "[":
		return quoted(args)
	}
	return ""
}

// quoted is a command as a shell reads it; empty if it cannot.
func quoted(args []string) string {
	words := make([]string, len(args))
	for i, arg := range args {
		word, err := syntax.Quote(arg, syntax.LangBash)
		if err != nil {
			return ""
		}
		words[i] = word
	}
	words[0] = path.Base(args[0]) // not quoted: it is the shell's own
	return strings.Join(words, " ")
}

// parse reads a script, and writes tests of what may be done with a file as tests of its presence: there are no rights here.
func parse(text string) (*syntax.File, error) {
	file, err := syntax.NewParser().Parse(strings.NewReader(text), "")
	if err != nil {
		return nil, err
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		if test, ok := n.(*syntax.UnaryTest); ok && slices.Contains([]syntax.UnTestOperator{syntax.TsRead, syntax.TsWrite, syntax.TsExec}, test.Op) {
			test.Op = syntax.TsExists
		}
		return true
	})
	return file, nil
}

// Knows reports whether a command can be run: it is one of the programs, or a script that names no others.
func Knows(args []string) bool {
	if len(args) == 0 {
		return false
	}
	text := script(args)
	if text == "" {
		p, ok := programNamed(args[0])
		return ok && p.takes(args[1:])
	}
	file, err := parse(text)
	if err != nil {
		return true // so does the shell: it says what is wrong
	}
	functions, known := map[string]bool{}, true
	syntax.Walk(file, func(n syntax.Node) bool {
		if f, ok := n.(*syntax.FuncDecl); ok {
			functions[f.Name.Value] = true
		}
		return true
	})
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.ProcSubst, *syntax.CoprocClause:
			known = false
		case *syntax.CallExpr:
			known = known && knowsCall(n.Args, functions)
		}
		return known
	})
	return known
}

// knowsCall reports whether a call in a script is of one of the functions, of a builtin, or of a program.
func knowsCall(words []*syntax.Word, functions map[string]bool) bool {
	if len(words) > 1 && words[0].Lit() == "exec" {
		words = words[1:]
	}
	if len(words) == 0 || functions[words[0].Lit()] || slices.Contains(builtins(), words[0].Lit()) {
		return true
	}
	p, ok := programNamed(words[0].Lit())
	if !ok {
		return false
	}
	args := make([]string, len(words)-1)
	for i, word := range words[1:] {
		args[i] = literal(word)
	}
	return p.takes(args)
}

// literal is the text of a word, save for what is known only when the script runs.
func literal(w *syntax.Word) string {
	var b strings.Builder
	for _, part := range w.Parts {
		switch part := part.(type) {
		case *syntax.Lit:
			b.WriteString(part.Value)
		case *syntax.SglQuoted:
			b.WriteString(part.Value)
		case *syntax.DblQuoted:
			b.WriteString(literal(&syntax.Word{Parts: part.Parts}))
		}
	}
	return b.String()
}

// Run runs a command that is known, and returns its exit code; that of a killed one if ctx ends before.
func (c *Command) Run(ctx context.Context) int {
	if script(c.Args) == "" {
		return c.program(ctx, &call{c.Args, c.Env, c.Dir, strings.NewReader(""), c.Output})
	}
	file, err := parse(script(c.Args))
	if err != nil {
		fmt.Fprintf(c.Output, "%s: %v\n", c.Args[0], err)
		return badSyntax
	}
	spent := &budget{}
	spent.left.Store(busyCalls)
	runner, err := interp.New(interp.StdIO(nil, c.Output, c.Output), interp.Env(expand.ListEnviron(c.Env...)), interp.Dir("/"),
		interp.Params(append([]string{"--"}, c.Args[min(4, len(c.Args)):]...)...), interp.OpenHandler(c.open), interp.StatHandler(c.stat), interp.ReadDirHandler2(c.readDir),
		interp.CallHandler(func(ctx context.Context, args []string) ([]string, error) {
			return plainTest(args), spent.wait(ctx, c.Clock)
		}),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return c.exec }))
	if err != nil {
		fmt.Fprintf(c.Output, "%s: %v\n", c.Args[0], err)
		return badSyntax
	}
	runner.Dir = within(c.Dir, "") // not as an option: it would be looked for on the machine
	err = runner.Run(ctx, file)
	var code interp.ExitStatus
	switch {
	case ctx.Err() != nil:
		return killed
	case errors.As(err, &code):
		return int(code)
	case err != nil:
		fmt.Fprintf(c.Output, "%s: %v\n", c.Args[0], err)
		return badSyntax
	}
	return 0
}

// budget makes a script that never waits wait: nobody's simulated loop may keep a processor busy. The sides of a pipe spend it
// together.
type budget struct{ left atomic.Int64 }

const (
	busyCalls = 1000
	busyPause = time.Second
)

func (b *budget) wait(ctx context.Context, c clock.WithDelayedExecution) error {
	if b.left.Add(-1) > 0 {
		return ctx.Err()
	}
	b.left.Store(busyCalls)
	return Pass(ctx, c, busyPause)
}

// plainTest is a call of test with tests of rights as tests of presence.
func plainTest(args []string) []string {
	if args[0] != "test" && args[0] != "[" {
		return args
	}
	args = slices.Clone(args)
	for i, arg := range args {
		if arg == "-r" || arg == "-w" || arg == "-x" {
			args[i] = "-e"
		}
	}
	return args
}

func (c *Command) open(ctx context.Context, name string, flag int, _ os.FileMode) (io.ReadWriteCloser, error) {
	h := interp.HandlerCtx(ctx)
	switch p := within(h.Dir, name); p {
	case "/dev/stdout", "/dev/stderr":
		return &stream{h.Stdout}, nil
	default:
		return c.Files.Open(p, flag)
	}
}

func (c *Command) stat(_ context.Context, name string, _ bool) (os.FileInfo, error) {
	return c.Files.Stat(within(c.Dir, name))
}

func (c *Command) readDir(_ context.Context, name string) ([]os.DirEntry, error) {
	return c.Files.ReadDir(within(c.Dir, name))
}

func (c *Command) exec(ctx context.Context, args []string) error {
	h := interp.HandlerCtx(ctx)
	var env []string
	h.Env.Each(func(name string, v expand.Variable) bool {
		if v.Exported && v.Kind == expand.String {
			env = append(env, name+"="+v.Str)
		}
		return true
	})
	in := h.Stdin
	if in == nil {
		in = strings.NewReader("")
	}
	if code := c.program(ctx, &call{args, env, h.Dir, in, h.Stdout}); code != 0 {
		return interp.ExitStatus(code)
	}
	return ctx.Err()
}

// within is a path as seen from a folder.
func within(dir, name string) string {
	if !path.IsAbs(name) {
		name = path.Join("/", dir, name)
	}
	return path.Clean(name)
}

// Pass waits for a while; it returns the context's error if that ends first.
func Pass(ctx context.Context, c clock.WithDelayedExecution, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	done := make(chan struct{})
	timer := c.AfterFunc(d, func() { close(done) })
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
