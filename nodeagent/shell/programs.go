package shell

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// call is one call of a program.
type call struct {
	args []string
	env  []string
	dir  string
	in   io.Reader
	out  io.Writer
}

// program is one of those that there are. One that is called in another way than this says is not known.
type program struct {
	name    string
	options []string // that it takes
	least   int      // operands
	most    int
	run     func(ctx context.Context, c *Command, x *call) int
}

// many is more operands than there are.
const many = 1 << 20

func programs() []program {
	return []program{
		{"awk", nil, 1, many, awk},
		{"cat", nil, 0, many, cat},
		{"date", nil, 0, 0, date},
		{"echo", []string{"-n"}, 0, many, echo},
		{"env", nil, 0, 0, env},
		{"expr", nil, 3, 3, expr},
		{"false", nil, 0, many, func(context.Context, *Command, *call) int { return 1 }},
		{"hostname", nil, 0, 0, hostname},
		{"ls", nil, 0, many, ls},
		{"mkdir", []string{"-p"}, 1, many, mkdir},
		{"printenv", nil, 0, many, env},
		{"rm", []string{"-f", "-r", "-rf", "-fr"}, 1, many, rm},
		{"seq", nil, 1, 2, seq},
		{"sleep", nil, 1, many, sleep},
		{"tail", []string{"-f", "-F"}, 0, many, tail},
		{"touch", nil, 1, many, touch},
		{"true", nil, 0, many, func(context.Context, *Command, *call) int { return 0 }},
		{"wc", []string{"-l", "-w", "-c"}, 0, many, wc},
	}
}

// programNamed is a program by its name, wherever it is said to be.
func programNamed(name string) (program, bool) {
	all := programs()
	i := slices.IndexFunc(all, func(p program) bool { return p.name == path.Base(name) })
	if i < 0 {
		return program{}, false
	}
	return all[i], true
}

// takes reports whether a program can be called with these words. What is not known before it runs is taken for an operand.
func (p program) takes(words []string) bool {
	operands := 0
	for _, word := range words {
		if len(word) < 2 || word[0] != '-' {
			operands++
		} else if !slices.Contains(p.options, word) && p.name != "echo" && p.name != "expr" || word == "-e" && p.name == "echo" {
			return false
		}
	}
	_, prints := awkField(words)
	return operands >= p.least && operands <= p.most && (p.name != "awk" || prints)
}

func (c *Command) program(ctx context.Context, x *call) int {
	p, ok := programNamed(x.args[0])
	if !ok {
		fmt.Fprintf(x.out, "sh: %s: not found\n", x.args[0])
		return notFound
	}
	return p.run(ctx, c, x)
}

func hostname(_ context.Context, c *Command, x *call) int {
	fmt.Fprintln(x.out, c.Hostname)
	return 0
}

func date(_ context.Context, c *Command, x *call) int {
	fmt.Fprintln(x.out, c.Clock.Now().UTC().Format(time.UnixDate))
	return 0
}

// complain says what a program cannot do.
func (x *call) complain(format string, args ...any) int {
	fmt.Fprintf(x.out, path.Base(x.args[0])+": "+format+"\n", args...)
	return 1
}

// operands are the arguments that are no options, and whether some option is among the arguments.
func (x *call) operands(options ...string) (names []string, given bool) {
	for _, arg := range x.args[1:] {
		switch {
		case slices.Contains(options, arg):
			given = true
		case !strings.HasPrefix(arg, "-") || arg == "-":
			names = append(names, arg)
		}
	}
	return names, given
}

func echo(_ context.Context, _ *Command, x *call) int {
	words, end := x.args[1:], "\n"
	if len(words) > 0 && words[0] == "-n" {
		words, end = words[1:], ""
	}
	fmt.Fprint(x.out, strings.Join(words, " ")+end)
	return 0
}

// input is what a program reads: the files that it names, or what comes in.
func (x *call) input(c *Command, names []string) ([]byte, int) {
	if len(names) == 0 {
		names = []string{"-"}
	}
	var all bytes.Buffer
	code := 0
	for _, name := range names {
		if name == "-" {
			io.Copy(&all, x.in)
			continue
		}
		file, err := c.Files.Open(within(x.dir, name), os.O_RDONLY)
		if err != nil {
			code = x.complain("can't open '%s': No such file or directory", name)
			continue
		}
		io.Copy(&all, file)
	}
	return all.Bytes(), code
}

func cat(_ context.Context, c *Command, x *call) int {
	names, _ := x.operands()
	text, code := x.input(c, names)
	x.out.Write(text)
	return code
}

func touch(_ context.Context, c *Command, x *call) (code int) {
	names, _ := x.operands()
	for _, name := range names {
		if _, err := c.Files.Open(within(x.dir, name), os.O_WRONLY|os.O_CREATE); err != nil {
			code = x.complain("%s: No such file or directory", name)
		}
	}
	return code
}

func rm(_ context.Context, c *Command, x *call) (code int) {
	names, force := x.operands("-f", "-rf", "-fr")
	for _, name := range names {
		if err := c.Files.remove(within(x.dir, name)); err != nil && !force {
			code = x.complain("can't remove '%s': No such file or directory", name)
		}
	}
	return code
}

func mkdir(_ context.Context, c *Command, x *call) (code int) {
	names, parents := x.operands("-p")
	for _, name := range names {
		f, p, readOnly := c.Files.resolve(within(x.dir, name))
		_, err := c.Files.Stat(within(x.dir, name))
		_, above := c.Files.Stat(path.Dir(within(x.dir, name)))
		if readOnly || !parents && (err == nil || above != nil) {
			code = x.complain("can't create directory '%s'", name)
			continue
		}
		f.MakeFolder(p)
	}
	return code
}

func ls(_ context.Context, c *Command, x *call) (code int) {
	names, _ := x.operands()
	if len(names) == 0 {
		names = []string{"."}
	}
	for _, name := range names {
		at := within(x.dir, name)
		what, err := c.Files.Stat(at)
		if err != nil {
			code = x.complain("%s: No such file or directory", name)
			continue
		}
		if !what.IsDir() {
			fmt.Fprintln(x.out, name)
			continue
		}
		list, _ := c.Files.ReadDir(at) // it is a folder
		for _, entry := range list {
			fmt.Fprintln(x.out, entry.Name())
		}
	}
	return code
}

func sleep(ctx context.Context, c *Command, x *call) int {
	var whole time.Duration
	for _, text := range x.args[1:] {
		if text != "" && text[len(text)-1] >= '0' && text[len(text)-1] <= '9' {
			text += "s"
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			return x.complain("invalid number '%s'", text)
		}
		whole += d
	}
	if Pass(ctx, c.Clock, whole) != nil {
		return killed
	}
	return 0
}

// expr computes A op B of two numbers.
func expr(_ context.Context, _ *Command, x *call) int {
	if len(x.args) != 4 {
		return x.complain("syntax error")
	}
	a, err := strconv.Atoi(x.args[1])
	b, wrong := strconv.Atoi(x.args[3])
	op := x.args[2]
	if err != nil || wrong != nil || b == 0 && (op == "/" || op == "%") {
		return x.complain("non-integer argument") + 1
	}
	results := map[string]func() int{"+": func() int { return a + b }, "-": func() int { return a - b }, "*": func() int { return a * b },
		"/": func() int { return a / b }, "%": func() int { return a % b }}
	compute := results[op]
	if compute == nil {
		return x.complain("syntax error") + 1
	}
	result := compute()
	fmt.Fprintln(x.out, result)
	if result == 0 {
		return 1
	}
	return 0
}

// wc counts lines, words or bytes.
func wc(_ context.Context, c *Command, x *call) int {
	names, lines := x.operands("-l")
	_, words := x.operands("-w")
	_, size := x.operands("-c")
	text, code := x.input(c, names)
	var counts []string
	all := !lines && !words && !size
	for _, count := range []struct {
		asked bool
		n     int
	}{{lines, bytes.Count(text, []byte("\n"))}, {words, len(bytes.Fields(text))}, {size, len(text)}} {
		if count.asked || all {
			counts = append(counts, strconv.Itoa(count.n))
		}
	}
	fmt.Fprintln(x.out, strings.Join(append(counts, names...), " "))
	return code
}

// awkField is the field that a program for awk prints, if it is of the form {print $2} and does nothing else.
func awkField(words []string) (n int, ok bool) {
	if len(words) == 0 {
		return 0, false
	}
	text := strings.TrimSpace(words[0])
	inner, opened := strings.CutPrefix(text, "{")
	inner, closed := strings.CutSuffix(inner, "}")
	which, prints := strings.CutPrefix(strings.Join(strings.Fields(inner), " "), "print $")
	n, err := strconv.Atoi(which)
	return n, opened && closed && prints && err == nil && n >= 0
}

// awk prints a field of each line.
func awk(_ context.Context, c *Command, x *call) int {
	n, ok := awkField(x.args[1:])
	if !ok {
		return x.complain("only {print $N} is simulated") + 1
	}
	text, code := x.input(c, x.args[2:])
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		fields := append([]string{lines.Text()}, strings.Fields(lines.Text())...)
		if n >= len(fields) {
			fields = append(fields, "")
		}
		fmt.Fprintln(x.out, fields[min(n, len(fields)-1)])
	}
	return code
}

func seq(_ context.Context, _ *Command, x *call) int {
	bounds := []int{1, 1}
	for i, text := range x.args[1:] {
		n, err := strconv.Atoi(text)
		if err != nil || i > 1 {
			return x.complain("invalid number '%s'", text)
		}
		if bounds[1] = n; len(x.args) == 3 {
			bounds[i] = n
		}
	}
	for n := bounds[0]; n <= min(bounds[1], bounds[0]+mostBytes); n++ {
		fmt.Fprintln(x.out, n)
	}
	return 0
}

// tail shows the last ten lines, and with -f waits for more that never come.
func tail(ctx context.Context, c *Command, x *call) int {
	names, follow := x.operands("-f", "-F")
	text, code := x.input(c, names)
	lines := bytes.SplitAfter(text, []byte("\n"))
	x.out.Write(bytes.Join(lines[max(0, len(lines)-11):], nil))
	if follow {
		<-ctx.Done()
		return killed
	}
	return code
}

func env(_ context.Context, _ *Command, x *call) int {
	names, _ := x.operands()
	code := 0
	if len(names) > 0 {
		code = 1
	}
	for _, v := range x.env {
		name, value, _ := strings.Cut(v, "=")
		switch {
		case len(names) == 0:
			fmt.Fprintln(x.out, v)
		case slices.Contains(names, name):
			fmt.Fprintln(x.out, value)
			code = 0
		}
	}
	return code
}
