package shell

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	testingclock "k8s.io/utils/clock/testing"
)

func command(files *View, args ...string) (*Command, *bytes.Buffer) {
	out := &bytes.Buffer{}
	return &Command{Args: args, Env: []string{"INDEX=3", "NAME=web"}, Dir: "/data", Hostname: "pod", Files: files, Output: out,
		Clock: testingclock.NewFakeClock(time.Unix(0, 0))}, out
}

func newView(readOnly bool) *View {
	return &View{Root: NewFiles("/tmp", "/dev", "/data"), Binds: []Bind{{"/volume", NewFiles("/v/sub"), "v/sub", readOnly}}}
}

func TestScripts(t *testing.T) {
	for name, c := range map[string]struct {
		script, out string
		code        int
	}{
		"exit codes":                 {`exit 3`, "", 3},
		"the last command's":         {`true; false`, "", 1},
		"what comes after a failure": {`false && echo no || echo yes`, "yes\n", 0},
		"the environment":            {`echo $NAME-${INDEX}`, "web-3\n", 0},
		"arithmetic of a program":    {`if [ $(expr ${INDEX} % 2) -ne 0 ]; then exit 7; fi`, "", 7},
		"a file is not there":        {`if [[ -r /data/foo ]]; then exit 0; else touch /data/foo; exit 42; fi`, "", 42},
		"a file that was written":    {`echo ok >/tmp/a; echo more >>/tmp/a; cat /tmp/a`, "ok\nmore\n", 0},
		"a file that was removed":    {`echo ok >/tmp/a; rm -rf /tmp/a; cat /tmp/a`, "cat: can't open '/tmp/a': No such file or directory\n", 1},
		"no folder above a file":     {`echo ok >/nowhere/a && echo written`, "open /nowhere/a: file does not exist\n", 1},
		"paths from the folder":      {`echo x >a; ls; pwd; cat /data/a`, "a\n/data\nx\n", 0},
		"a volume":                   {`echo x >/volume/a; ls /volume; test -d /volume && test ! -e /v/sub/a`, "a\n", 0},
		"pipes":                      {`printf 'a b\nc d\n' | awk {'print $2'} | wc -l`, "2\n", 0},
		"counts":                     {`for i in $(seq 3); do echo $i >> f; done; wc -l f | awk '{print $1}'`, "3\n", 0},
		"functions":                  {`f() { echo "f $1"; }; f 1`, "f 1\n", 0},
		"globs":                      {`touch a1 a2 b; echo a*`, "a1 a2\n", 0},
		"what goes nowhere":          {`echo x >/dev/null; cat </dev/null; cat`, "", 0},
		"the machine's files are not there": {`cat /etc/passwd /proc/version`, "cat: can't open '/etc/passwd': No such file or directory\n" +
			"cat: can't open '/proc/version': No such file or directory\n", 1},
		"a shell's complaint": {`if`, "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			x, out := command(newView(false), "/bin/sh", "-c", c.script)
			if !Knows(x.Args) {
				t.Fatal("is not known")
			}
			if code := x.Run(t.Context()); code != c.code || c.code != badSyntax && out.String() != c.out {
				t.Errorf("exit code %d, output %q; want %d, %q", code, out, c.code, c.out)
			}
		})
	}
}

func TestReadOnlyVolume(t *testing.T) {
	x, _ := command(newView(true), "sh", "-c", "touch /volume/a")
	if code := x.Run(t.Context()); code == 0 {
		t.Error("a file was made in a volume that is mounted to be read")
	}
}

func TestWhatIsKnown(t *testing.T) {
	for text, want := range map[string]bool{
		"true": true, "/bin/true": true, "cat /tmp/health": true, "nginx": false, "/pause": false, "": false,
		"sh -c exit 0": true, "bash -c while true; do date; sleep 1; done": true,
		"sh -c migrate && exec server": false,
		"sh -c cat <(echo x)":          false, // the shell would make a pipe on the machine
		"sh -c cd /etc; ls":            false, // and look for the folder there
		"sh -c $PROGRAM":               false,
		"sh -c . /etc/profile":         false,
		"sh -c eval nginx":             false,
		"sh -c exec nginx -g x":        false,
		"sh -c exec sleep 5":           true,
		"env A=1 nginx":                false,
		"sh -c date +%s":               false,
		"sh -c tail -n 1 /f":           false,
		"sh -c awk '{s+=$1}' f":        false,
		"sh -c awk '{print $1}' f":     true,
		"sh -c rm -rf \"$DIR\"":        true,
		"sh -c echo -e 'a\\tb'":        true, // the shell's own
		"sh -c /bin/echo -e 'a\\tb'":   false,
		"sh -c f() { true; }; f":       true,
		"sh":                           false,
		"test -f /tmp/ready":           true,
		"[ -d /tmp ]":                  true,
		"python -c print(1)":           false,
	} {
		args := strings.SplitN(text, " ", 3)
		if text == "" {
			args = nil
		}
		if got := Knows(args); got != want {
			t.Errorf("%q: known %t, want %t", text, got, want)
		}
	}
}

// A script that waits does so by the clock that it is given, and ends when it is told to.
func TestTime(t *testing.T) {
	x, out := command(newView(false), "sh", "-c", "echo a; sleep 10; echo b; tail -f /dev/null")
	ctx, stop := context.WithCancel(t.Context())
	code := make(chan int)
	go func() { code <- x.Run(ctx) }()
	clock := x.Clock.(*testingclock.FakeClock)
	for !clock.HasWaiters() {
		if t.Context().Err() != nil {
			t.Fatal("it does not wait")
		}
	}
	clock.Step(10 * time.Second)
	stop()
	if got := <-code; got != killed {
		t.Errorf("exit code %d, want %d", got, killed)
	}
	if !strings.HasPrefix(out.String(), "a\n") {
		t.Errorf("output %q", out)
	}
}

// A loop that never waits is made to.
func TestBusyLoopsWait(t *testing.T) {
	x, _ := command(newView(false), "sh", "-c", "while true; do :; done")
	ctx, stop := context.WithCancel(t.Context())
	code := make(chan int)
	go func() { code <- x.Run(ctx) }()
	for !x.Clock.(*testingclock.FakeClock).HasWaiters() {
		if t.Context().Err() != nil {
			t.Fatal("it does not wait")
		}
	}
	stop()
	if got := <-code; got != killed {
		t.Errorf("exit code %d, want %d", got, killed)
	}
}
