package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The guide that the team follows; its translation has the same commands and the same output (TestTranslationsKeepStep).
const guide = "../docs/DEPLOY.ja.md"

// A step is a block of commands in the guide and what the page says they print.
type step struct {
	section  int // second-level heading, counted from 0
	line     int
	commands []string
	shown    []string // nil: the page shows nothing
}

// The headings under which commands stand, in the order of the page.
const (
	sectionNeeds = iota
	sectionNothing
	sectionBeside
	sectionEveryDay
	sectionDomain
	sectionLocal
	sectionWatching
	sectionRights
	sectionSizes
	sectionEnd
	sectionMove
	sections
)

// steps of a guide. Output belongs to the commands right above it: only empty lines may stand between.
func steps(t *testing.T, path string) (out []step) {
	t.Helper()
	section, fence, adjacent := -1, "", false
	for i, raw := range strings.Split(readFile(t, path), "\n") {
		l := strings.TrimSpace(raw)
		switch kind, opens := strings.CutPrefix(l, "```"); {
		case fence == "" && opens:
			fence = kind
			switch {
			case kind == "sh":
				out = append(out, step{section: section, line: i + 1})
			case kind == "text" && adjacent:
				out[len(out)-1].shown = []string{}
			default:
				t.Errorf("%s:%d: output of no command", path, i+1)
			}
		case opens:
			adjacent, fence = fence == "sh", ""
		case fence == "sh" && l != "":
			out[len(out)-1].commands = append(out[len(out)-1].commands, l)
		case fence == "text" && l != "":
			out[len(out)-1].shown = append(out[len(out)-1].shown, spaces.ReplaceAllString(l, " "))
		case fence == "" && l != "":
			adjacent = false
			if strings.HasPrefix(raw, "## ") {
				section++
			}
		}
	}
	if section+1 != sections {
		t.Fatalf("%s has %d sections, this test knows %d", path, section+1, sections)
	}
	return out
}

// Commands that the walk does not run, by their beginning, and why. Every other command of the page is run.
var notRun = map[string]string{
	"curl -sI http://search.example.com/":  "the emulator's load balancer has no data plane and no certificates; TestHttpsAppearsWithADomain reads the listeners",
	"curl -s https://search.example.com/":  "the same",
	"docker compose ":                      "needs Docker, not AWS; TestComposeRunsWhatTheTemplatesRun reads the file",
	"curl -s --retry 30":                   "asks what Docker started",
	"curl -s localhost:8080/search -H":     "asks what Docker started",
	"aws cloudformation wait stack-delete": "the emulator forgets a deleted stack's name, which the waiter takes for a failure",
}

// Lines of the page that the emulator does not print, and why. What prints them is tested with the small account of
// awsstub_test.go instead.
var notPrinted = map[string]string{
	`^(Url|PipelineName|BuildProjectName): `: "the emulator keeps no outputs of a stack that a change set made; TestStackPrintsItsOutputs",
	`: IN_PROGRESS, \d of \d running$`:       "in the emulator a rollout is complete at once; TestTheGuideShowsWhatTheScriptsPrint",
}

// runs tells whether the walk types a command; used counts the excuses that were needed.
func runs(command string, used map[string]bool) bool {
	for prefix := range notRun {
		if strings.HasPrefix(command, prefix) {
			used[prefix] = true
			return false
		}
	}
	return true
}

// With or without an emulator: every command is either run or excused, and what it names exists.
func TestEveryCommandOfTheGuideIsKnown(t *testing.T) {
	used := map[string]bool{}
	tools := []string{"aws", "bin/indexer", "cp", "curl", "diff", "export", "promtool"}
	run := 0
	for _, s := range steps(t, guide) {
		if len(s.commands) == 0 {
			t.Errorf("%s:%d: an empty block", guide, s.line)
		}
		for _, c := range s.commands {
			if out, err := exec.Command("bash", "-n", "-c", placeholder.ReplaceAllString(c, "x")).CombinedOutput(); err != nil {
				t.Errorf("%s:%d: %s: %s", guide, s.line, c, out)
			}
			if !runs(c, used) {
				continue
			}
			run++
			name, _, _ := strings.Cut(c, " ")
			if path, ours := strings.CutPrefix(name, "deploy/"); ours {
				if info, err := os.Stat(path); err != nil || info.Mode()&0o111 == 0 {
					t.Errorf("%s:%d: %s cannot be run: %v", guide, s.line, name, err)
				}
			} else if !slices.Contains(tools, name) {
				t.Errorf("%s:%d: the page never says that %s is needed", guide, s.line, name)
			}
		}
	}
	if run < 30 {
		t.Errorf("only %d commands found: has the form of the page changed?", run)
	}
	for prefix := range notRun {
		if !used[prefix] {
			t.Errorf("%q excuses no command of the page", prefix)
		}
	}
}

// The placeholders of the page are those that the walk can fill.
func TestPlaceholdersOfTheGuideAreKnown(t *testing.T) {
	known := []string{"<bucket>", "<url>", "<cluster>", "<project>", "<old service>", "<repository>"}
	for _, s := range steps(t, guide) {
		for _, c := range s.commands {
			for _, p := range placeholder.FindAllString(c, -1) {
				if !slices.Contains(known, p) {
					t.Errorf("%s:%d: %s", guide, s.line, p)
				}
			}
		}
	}
}

// Both languages have the same steps in the same sections: the walk needs to follow only one of them.
func TestBothGuidesHaveTheSameSteps(t *testing.T) {
	plain := func(path string) (out []step) {
		for _, s := range steps(t, path) {
			s.line = 0
			out = append(out, s)
		}
		return out
	}
	if d := cmp.Diff(plain("../docs/DEPLOY.md"), plain(guide), cmp.AllowUnexported(step{})); d != "" {
		t.Errorf("(-en +ja): %s", d)
	}
}

// Options in the commands exist in the scripts' own help, and stacks are called by names that stack.sh takes.
func TestCommandsOfTheGuideAreWhatTheScriptsTake(t *testing.T) {
	for _, s := range steps(t, guide) {
		for _, c := range s.commands {
			words := strings.Fields(c)
			script, ours := strings.CutPrefix(words[0], "deploy/")
			if !ours {
				continue
			}
			text := readFile(t, script)
			for _, w := range words[1:] {
				switch {
				case w == ">":
				case strings.HasPrefix(w, "--") && !strings.Contains(text, w):
					t.Errorf("%s:%d: %s does not know %s", guide, s.line, script, w)
				case strings.HasSuffix(w, ".json") && !strings.HasPrefix(w, "/tmp/") && filepath.Base(w) != "mine.json":
					readFile(t, "../"+w)
				}
			}
			if script == "stack.sh" && !slices.ContainsFunc(templates, func(path string) bool {
				return slices.Contains(words, strings.TrimSuffix(filepath.Base(path), ".yaml"))
			}) {
				t.Errorf("%s:%d: which stack?", guide, s.line)
			}
		}
	}
}

// Columns move with the width of what stands in them.
var spaces = regexp.MustCompile(` +`)

var placeholder = regexp.MustCompile(`<[a-z ]+>`)

// What differs from one run to the next: wherever the page has one of these, the program may have another one.
var volatile = []string{
	`\d{8}T\d{6}Z-[0-9a-f]{8}`,            // a snapshot
	`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \d+ `, // an object's time and size
	`"age_seconds":[\d.]+`,                //
	`vectorstore-(?:server|indexer):\d+`,  // a revision
}

// pattern is a line of the page as an expression: … is anything.
func pattern(shown string) *regexp.Regexp {
	variable := regexp.MustCompile("…|" + strings.Join(volatile, "|"))
	var b strings.Builder
	b.WriteString(`^`)
	for shown != "" {
		at := variable.FindStringIndex(shown)
		if at == nil {
			at = []int{len(shown), len(shown)}
		}
		b.WriteString(regexp.QuoteMeta(shown[:at[0]]))
		found := shown[at[0]:at[1]]
		if found == "…" {
			b.WriteString(`.*`)
		}
		for _, v := range volatile {
			if regexp.MustCompile(`^(?:` + v + `)$`).MatchString(found) {
				b.WriteString(v)
			}
		}
		shown = shown[at[1]:]
	}
	b.WriteString(`$`)
	return regexp.MustCompile(b.String())
}

// compare what a step printed with what the page shows: the same lines in the same order, where a line … stands for any
// number of them. It returns the first line of either that has no partner, and the excuses that were needed.
func compare(shown, printed []string, used map[string]bool) (wrong string, ok bool) {
	any := false
	for _, s := range shown {
		if s == "…" {
			any = true
			continue
		}
		p := pattern(s)
		at := slices.IndexFunc(printed, p.MatchString)
		if at == 0 || at > 0 && any {
			printed, any = printed[at+1:], false
			continue
		}
		if !excused(s, used) {
			return "the page shows: " + s, false
		}
	}
	if len(printed) > 0 && !any {
		return "the page does not show: " + printed[0], false
	}
	return "", true
}

func excused(line string, used map[string]bool) bool {
	for p := range notPrinted {
		if regexp.MustCompile(p).MatchString(line) {
			used[p] = true
			return true
		}
	}
	return false
}

func TestComparingThePageWithAProgram(t *testing.T) {
	for name, c := range map[string]struct {
		shown, printed string
		want           bool
	}{
		"the same":          {"a|b", "a|b", true},
		"a line too few":    {"a|b", "a", false},
		"a line too many":   {"a", "a|b", false},
		"another order":     {"a|b", "b|a", false},
		"anything within":   {"a … c", "a b b c", true},
		"any lines":         {"a|…|d", "a|b|c|d", true},
		"no lines":          {"a|…|d", "a|d", true},
		"the end is open":   {"a|…", "a|b", true},
		"not past the end":  {"a|…|x", "a|b", false},
		"another snapshot":  {"at 20260102T031502Z-6b1f0c2e.", "at 20270102T031502Z-00000000.", true},
		"no snapshot":       {"at 20260102T031502Z-6b1f0c2e.", "at none.", false},
		"another age":       {`"age_seconds":41}`, `"age_seconds":7.5}`, true},
		"another number":    {`"vectors":92`, `"vectors":91`, false},
		"another revision":  {"updating to vectorstore-server:4", "updating to vectorstore-server:9", true},
		"not in every case": {"Url: http://x|a", "a", true},
	} {
		wrong, ok := compare(strings.Split(c.shown, "|"), strings.Split(c.printed, "|"), map[string]bool{})
		if ok != c.want {
			t.Errorf("%s: %v %s", name, ok, wrong)
		}
	}
}
