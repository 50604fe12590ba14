package model_test

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// checked are the systems that are searched completely: no schedule of theirs breaks what must hold.
var checked = []struct {
	name string
	defs string
	soak bool // more than ten million states
}{
	{"a server beside passes", "-DSRV -DPASSES=2 -DPOLLS=2", false},
	{"heartbeats that expire during a load", "-DSRV -DEXPIRY -DPASSES=2 -DPOLLS=2", false},
	{"rival leaders", "-DNIDX=2", false},
	{"rival leaders and a server", "-DNIDX=2 -DSRV", false},
	{"an operator who pins, and a server", "-DPASSES=2 -DOP -DSRV", false},
	{"an operator who promotes without a pin", "-DPASSES=2 -DOP -DNOPIN", false},
	{"two operators at once", "-DOP -DOP2", false},
	{"two operators who unpin afterwards", "-DOP -DOP2 -DUNPIN", false},
	{"a pointer deleted or put back", "-DADMIN -DPASSES=2", false},
	{"a pointer deleted or put back under a server", "-DADMIN -DSRV -DPASSES=2", false},
	{"an erasure and a pin", "-DERASE -DPASSES=2 -DOP", false},
	{"an erasure under a server", "-DERASE -DSRV -DPASSES=2", false},

	{"rival leaders and an operator", "-DNIDX=2 -DOP", true},
	{"a pointer put back between rival leaders", "-DADMIN -DNIDX=2", true},
	{"a pointer put back beside an operator", "-DADMIN -DOP -DPASSES=2", true},
	{"three passes and an operator without a pin", "-DPASSES=3 -DOP -DNOPIN", true},
	{"two operators and two passes", "-DOP -DOP2 -DPASSES=2", true},
	{"an erasure, a pin and a server", "-DERASE -DPASSES=2 -DOP -DSRV", true},
	{"rival leaders with two passes each", "-DNIDX=2 -DPASSES=2", true},
}

// rules are what the protocol does, each with a system that goes wrong without it.
var rules = []struct {
	without string // the switch of protocol.pml
	rule    string
	defs    string
}{
	{"NOFENCE", "a new leader rewrites the pointer before anything else", "-DNIDX=2"},
	{"CTLFIRST", "the pointer is read before control.json", "-DPASSES=2 -DOP"},
	{"NOHOLD", "a promoter holds the snapshot in gc.json", "-DNIDX=2 -DPASSES=2"},
	{"NODELCHECK", "what is being deleted is not held", "-DNIDX=2"},
	{"NOWHOLE", "after the hold the files are looked at", "-DPASSES=2 -DOP -DNOPIN"},
	{"NOSTALEFENCE", "a stale hold falls behind a fence", "-DPASSES=2 -DOP -DNOPIN"},
	{"NOHB", "GC keeps what heartbeats name", "-DSRV -DPASSES=2"},
	{"HBAFTER", "a server announces before it downloads", "-DSRV -DPASSES=2"},
	{"NOREREAD", "a server looks again after it announced", "-DSRV -DPASSES=2"},
	{"NOOPCTL", "an operator reads control.json after the pointer", "-DOP -DOP2"},
	{"NOCONFIRM", "success is said only while the intent stands", "-DOP -DOP2"},
	{"NOMEMORY", "a pointer that is gone is restored from memory", "-DADMIN -DSRV -DPASSES=2"},
	{"NOABOVE", "a pointer is repaired above what is remembered", "-DADMIN -DNIDX=2"},
	{"NOGCMEMORY", "GC does not go by a pointer below what is remembered", "-DADMIN -DNIDX=2"},
	{"NOERASECHECK", "a pin on what is being erased is refused", "-DERASE -DPASSES=2 -DOP"},
	{"NOERASEUSE", "an erasure waits for what replicas use", "-DERASE -DSRV -DPASSES=2"},
}

func TestEverySchedule(t *testing.T) {
	for _, c := range checked {
		if c.soak && os.Getenv("VECTORSTORE_SOAK") == "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			r := search(t, "-O2", c.defs)
			if r.errors != 0 || !r.complete {
				t.Errorf("spin %s: %d errors, complete %v\n%s", c.defs, r.errors, r.complete, r.said)
			}
			t.Logf("%.0f states", r.states)
		})
	}
}

func TestEachRuleIsNeeded(t *testing.T) {
	source := read(t)
	for _, c := range rules {
		t.Run(c.without, func(t *testing.T) {
			if !strings.Contains(source, "def "+c.without+"\n") && !strings.Contains(source, "defined("+c.without+")") {
				t.Fatalf("protocol.pml has no switch %s", c.without)
			}
			if r := search(t, "-O0", c.defs+" -D"+c.without); r.errors == 0 {
				t.Errorf("without the rule %q nothing goes wrong in %.0f states", c.rule, r.states)
			}
		})
	}
}

type result struct {
	errors   int
	states   float64
	complete bool
	said     string
}

var (
	foundErrors = regexp.MustCompile(`errors: (\d+)`)
	foundStates = regexp.MustCompile(`(?m)^ *([0-9.e+]+) states, stored`)
)

// search compiles the model with defs and looks at every state, up to the first error. Compiling is most of the time
// where that is soon found: optimise says how well.
func search(t *testing.T, optimise, defs string) result {
	t.Helper()
	model, err := filepath.Abs("protocol.pml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("spin", append(append([]string{"-a"}, strings.Fields(defs)...), model)...)
	// MEMLIM in MiB: "two operators and two passes" needs 1.2 GB, the largest of soak 6.
	run("gcc", optimise, "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=8000", "-o", "pan", "pan.c")
	out := run("./pan", "-m100000")
	var r result
	r.said = out
	r.complete = !strings.Contains(out, "Search not completed") && !strings.Contains(out, "max search depth too small")
	if m := foundErrors.FindStringSubmatch(out); m != nil {
		r.errors, _ = strconv.Atoi(m[1])
	} else {
		t.Fatalf("spin said no number of errors:\n%s", out)
	}
	if m := foundStates.FindStringSubmatch(out); m != nil {
		r.states, _ = strconv.ParseFloat(m[1], 64)
	}
	if r.states == 0 {
		t.Fatalf("spin looked at no state:\n%s", out)
	}
	return r
}

var step = regexp.MustCompile(`@ (\w+) (?:(\w+)\.)?(\w+)`)

// The model is only worth something while its steps are those of the code.
func TestStepsNameTheCode(t *testing.T) {
	known := map[string]map[string]bool{}
	steps := step.FindAllStringSubmatch(read(t), -1)
	if len(steps) < 15 {
		t.Fatalf("%d steps name a function, expected all of them to", len(steps))
	}
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		room, name := s[1], strings.TrimPrefix(s[2]+"."+s[3], ".")
		if known[room] == nil {
			known[room] = functions(t, filepath.Join("..", "..", "internal", room))
		}
		if !known[room][name] {
			t.Errorf("protocol.pml names %s %s, which internal/%s does not have", room, name, room)
		}
		if !strings.Contains(string(page), "`"+room+"` `"+name+"`") {
			t.Errorf("README.md does not list the step `%s` `%s`", room, name)
		}
	}
}

// functions of the package in dir, methods as Type.Name.
func functions(t *testing.T, dir string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != dir:
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				names[receiver(fn)+fn.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return names
}

func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return ""
	}
	typ := fn.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if id, ok := typ.(*ast.Ident); ok {
		return id.Name + "."
	}
	return ""
}

func read(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("protocol.pml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
