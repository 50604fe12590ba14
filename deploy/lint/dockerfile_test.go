package lint

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

const path = "../../Dockerfile"

// load parses the Dockerfile; every finding of the linter fails the test.
func load(t *testing.T) (stages []instructions.Stage, args []instructions.ArgCommand) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := parser.Parse(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range tree.Warnings {
		t.Errorf("%s %s", w.Short, w.URL)
	}
	l := linter.New(&linter.Config{Warn: func(rule, _, _, msg string, at []parser.Range) {
		t.Errorf("%s: %s (line %v)", rule, msg, at)
	}})
	stages, args, err = instructions.Parse(tree.AST, l)
	if err != nil {
		t.Fatal(err)
	}
	return stages, args
}

func TestDockerfileParsesAndLints(t *testing.T) {
	stages, _ := load(t)
	if len(stages) != 2 {
		t.Fatalf("%d stages", len(stages))
	}
	for _, s := range stages {
		if !strings.Contains(s.BaseName, "bookworm") || strings.Contains(s.BaseName, "latest") {
			t.Errorf("base %s", s.BaseName)
		}
	}
}

// final collects what the image will be.
type final struct {
	user, workdir string
	volumes       []string
	env           map[string]string
	labels        map[string]bool
	health, cmd   []string
	expose        []string
	runs          string
	froms         []string
}

func image(t *testing.T) final {
	stages, _ := load(t)
	f := final{env: map[string]string{}, labels: map[string]bool{}}
	for _, c := range stages[len(stages)-1].Commands {
		switch c := c.(type) {
		case *instructions.UserCommand:
			f.user = c.User
		case *instructions.WorkdirCommand:
			f.workdir = c.Path
		case *instructions.VolumeCommand:
			f.volumes = append(f.volumes, c.Volumes...)
		case *instructions.EnvCommand:
			for _, kv := range c.Env {
				f.env[kv.Key] = kv.Value
			}
		case *instructions.LabelCommand:
			for _, kv := range c.Labels {
				f.labels[strings.Trim(kv.Key, `"`)] = true
			}
		case *instructions.HealthCheckCommand:
			f.health = c.Health.Test
		case *instructions.CmdCommand:
			f.cmd = c.CmdLine
		case *instructions.ExposeCommand:
			f.expose = c.Ports
		case *instructions.RunCommand:
			f.runs += strings.Join(c.CmdLine, " ") + "\n"
		case *instructions.CopyCommand:
			f.froms = append(f.froms, c.From)
		}
	}
	return f
}

func TestImageRunsAsNobodyInParticularOnAReadOnlyRoot(t *testing.T) {
	f := image(t)
	if f.user != "10001:10001" {
		t.Errorf("user %s", f.user)
	}
	if got := strings.Join(f.volumes, " "); got != "/app/vectorstore /app/tmp" || f.env["TMPDIR"] != "/app/tmp" || f.env["VECTORSTORE_LOCAL_DIR"] != "/app/vectorstore" {
		t.Errorf("volumes %s, environment %v", got, f.env)
	}
	// A volume inherits owner and mode from the image's directory.
	if !strings.Contains(f.runs, "install -d -o 10001 -g 10001 -m 0750 /app/vectorstore /app/tmp") {
		t.Errorf("nobody gives the volumes to uid 10001:\n%s", f.runs)
	}
	if got := strings.Join(f.health, " "); got != "CMD server health" {
		t.Errorf("health check %q", got)
	}
	if strings.Join(f.cmd, " ") != "server" || strings.Join(f.expose, " ") != "8080 9090 9091" {
		t.Errorf("command %v, ports %v", f.cmd, f.expose)
	}
	for _, l := range []string{"title", "description", "source", "version", "revision"} {
		if !f.labels["org.opencontainers.image."+l] {
			t.Errorf("no label %s in %v", l, f.labels)
		}
	}
	for _, lib := range []string{"ca-certificates", "libgomp1", "libopenblas0-pthread", "libstdc++6"} {
		if !strings.Contains(f.runs, lib) {
			t.Errorf("%s is not installed", lib)
		}
	}
	for _, dev := range []string{"g++", "-dev"} {
		if strings.Contains(f.runs, dev) {
			t.Errorf("the final image installs %s", dev)
		}
	}
	if froms := slices.Compact(f.froms); len(froms) != 1 || froms[0] != "build" {
		t.Errorf("the final image copies from %v", f.froms)
	}
}

func TestNoSecretGoesIntoTheImage(t *testing.T) {
	stages, args := load(t)
	words := func(s string) {
		for _, w := range []string{"KEY", "SECRET", "TOKEN", "PASSWORD"} {
			if strings.Contains(strings.ToUpper(s), w) {
				t.Errorf("%s looks like a secret", s)
			}
		}
	}
	for _, a := range args {
		for _, kv := range a.Args {
			words(kv.Key)
		}
	}
	for _, s := range stages {
		for _, c := range s.Commands {
			switch c := c.(type) {
			case *instructions.ArgCommand:
				for _, kv := range c.Args {
					words(kv.Key)
				}
			case *instructions.EnvCommand:
				for _, kv := range c.Env {
					words(kv.Key)
				}
			}
		}
	}
}

func TestEveryRunLineIsShell(t *testing.T) {
	stages, _ := load(t)
	lex := shell.NewLex('\\')
	for _, s := range stages {
		for _, c := range s.Commands {
			run, ok := c.(*instructions.RunCommand)
			if !ok {
				continue
			}
			line := strings.Join(run.CmdLine, " ")
			if _, err := lex.ProcessWords(line, shell.EnvsFromSlice(nil)); err != nil {
				t.Errorf("%s: %v", line, err)
			}
			if out, err := exec.Command("sh", "-n", "-c", line).CombinedOutput(); err != nil {
				t.Errorf("%s: %s", line, out)
			}
		}
	}
}

// The build context is an allow-list: whatever is added to the repository stays out of the image until named.
func TestContextHoldsOnlyTheSources(t *testing.T) {
	b, err := os.ReadFile("../../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, l := range strings.Split(string(b), "\n") {
		if l != "" && !strings.HasPrefix(l, "#") {
			rules = append(rules, l)
		}
	}
	if rules[0] != "*" {
		t.Errorf("first rule %q", rules[0])
	}
	for _, r := range rules {
		name, kept := strings.CutPrefix(r, "!")
		if !kept {
			continue
		}
		if found, err := filepath.Glob("../../" + strings.TrimSuffix(name, "/")); err != nil || len(found) == 0 {
			t.Errorf("%s names nothing: %v", r, err)
		}
	}
}
