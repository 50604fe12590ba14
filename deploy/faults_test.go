package deploy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// faultRuns are the ways through the scripts, in each of which every call of AWS is made to fail in turn.
func faultRuns(t *testing.T) map[string]faultRun {
	t.Helper()
	healthy := func(t *testing.T) *account { return running(t, serving) }
	settings := withSettings(t, `{"DEFAULT_MODE":"semantic"}`, map[string]string{"AllowedOrigins": "https://x"})
	return map[string]faultRun{
		"deploy": {healthy, params(t, nil), []string{"deploy.sh"}, nil},
		"first deploy": {func(t *testing.T) *account {
			a := made(t)
			a.Events = []happening{{"s3api head-object", 2, "promote"}}
			return a
		}, params(t, nil), []string{"deploy.sh"}, []string{"s3api head-object", "ecs update-service"}},
		"update of the core stack": {settled, settings, []string{"stack.sh", "core"}, nil},
		"first core stack": {func(t *testing.T) *account {
			a := running(t, serving)
			a.Services, a.Stacks = nil, map[string]*stack{}
			return a
		}, params(t, nil), []string{"stack.sh", "core"}, nil},
		"move":           {beforeTheSplit, params(t, nil), []string{"split.sh", "--execute"}, nil},
		"pipeline stack": {healthy, params(t, nil), []string{"stack.sh", "pipeline"}, nil},
		"comparison":     {present, adopted(t), []string{"adopt.sh"}, nil},
	}
}

type faultRun struct {
	account func(*testing.T) *account
	params  string
	command []string
	only    []string // the calls that no other run has
}

func (r faultRun) with(t *testing.T, f *fault) (a *account, out, log string, code int) {
	a = r.account(t)
	a.Fault = f
	out, log, code = script(t, a, r.command[0], append([]string{"--params", r.params}, r.command[1:]...)...)
	return a, out, log, code
}

// runs of both services, for a comparison.
func (a *account) runs() map[string]string {
	out := map[string]string{}
	for name, s := range a.Services {
		out[name] = s.Definition
	}
	return out
}

// One row for each call and fault. What every row asks: nothing is changed after a read that failed, unless it could be
// repeated with success; nothing that runs is left other than before or as asked for; and nobody says done who is not.
func TestEveryCallOfEveryScriptFailsInTurn(t *testing.T) {
	t.Parallel()
	kinds := slices.Sorted(maps.Keys(faults))
	rows := make(chan int, 1000)
	t.Run("rows", func(t *testing.T) {
		for name, run := range faultRuns(t) {
			clean, cleanOut, log, code := run.with(t, nil)
			if run.command[0] != "adopt.sh" && code != 0 {
				t.Fatalf("%s, without a fault: exit %d: %s", name, code, log)
			}
			seen := map[string]int{}
			for i, call := range clean.Calls {
				op := call[0] + " " + call[1]
				seen[op]++
				if run.only != nil && !slices.Contains(run.only, op) {
					continue
				}
				tried := kinds
				if !full() { // one or two of them, in turn
					tried = []string{kinds[i%len(kinds)], kinds[(i+2)%len(kinds)]}
					if run.command[0] == "adopt.sh" || seen[op] > 2 {
						tried = tried[:1]
					}
				}
				for _, kind := range tried {
					rows <- 1
					t.Run(fmt.Sprintf("%s: %s no. %d is %s", name, op, seen[op], kind), func(t *testing.T) {
						t.Parallel()
						if run.command[0] == "adopt.sh" {
							run.comparisonKnows(t, &fault{At: i, Kind: kind}, cleanOut)
							return
						}
						run.fails(t, clean, &fault{At: i, Kind: kind})
					})
				}
				// The looks of the waiting, for ever.
				if slices.ContainsFunc(clean.Calls[:i], isChange) && isRead(call) && (full() || i%4 == 0) {
					kind := kinds[i%len(kinds)]
					rows <- 1
					t.Run(fmt.Sprintf("%s: %s from no. %d on is %s", name, op, seen[op], kind), func(t *testing.T) {
						t.Parallel()
						run.blind(t, clean, &fault{At: i, Kind: kind, Ever: true})
					})
				}
			}
		}
	})
	if len(rows) < 60 {
		t.Errorf("only %d rows", len(rows))
	}
	t.Logf("%d rows", len(rows))
}

// fails makes one call fail once.
func (r faultRun) fails(t *testing.T, clean *account, f *fault) {
	a, _, log, code := r.with(t, f)
	call := clean.Calls[f.At]
	before := clean.Calls[:f.At]
	changed := slices.ContainsFunc(before, isChange)
	unchanged := r.account(t)
	lost := faults[f.Kind].done // the answer, not the change
	switch {
	case isLock(call) && changed: // giving it back
		if d := cmp.Diff(clean.runs(), a.runs()); code != 0 || d != "" || !strings.Contains(log, "was not given back") {
			t.Errorf("exit %d %s", code, d)
		}
	case isLock(call) && lost: // it is ours all the same
		if d := cmp.Diff(clean.runs(), a.runs()); code != 0 || d != "" {
			t.Errorf("exit %d %s", code, d)
		}
	case isLock(call):
		if d := cmp.Diff(unchanged.runs(), a.runs()); code != 1 || d != "" || len(a.mutations()) > 0 {
			t.Errorf("exit %d, %v %s", code, a.mutations(), d)
		}
	case isRead(call) && !changed: // what was wanted to be known first
		if code != 1 {
			t.Errorf("exit %d", code)
		}
		if got := a.mutations(); len(got) > 0 {
			t.Errorf("changed after it: %v", got)
		}
		if d := cmp.Diff(unchanged.runs(), a.runs()); d != "" {
			t.Error(d)
		}
	case isRead(call) && (call[1] == "describe-services" || call[1] == "head-object"): // a look while waiting
		if d := cmp.Diff(clean.mutations(), a.mutations()); code != 0 || d != "" {
			t.Errorf("exit %d %s", code, d)
		}
		if d := cmp.Diff(clean.runs(), a.runs()); d != "" {
			t.Error(d)
		}
	case isRead(call) && r.command[0] == "split.sh": // a look while waiting
		if code != 0 || !slices.Contains(a.mutations(), "cloudformation execute-change-set") {
			t.Errorf("exit %d %v", code, a.mutations())
		}
	case isRead(call): // what was needed next, or to be shown at the end
		for name, arn := range a.runs() {
			if arn != clean.Services[name].Definition && (unchanged.Services == nil || arn != unchanged.Services[name].Definition) {
				t.Errorf("%s runs %s", name, arn)
			}
		}
		if code != 1 {
			t.Errorf("exit %d", code)
		}
	case lost && call[1] == "deploy": // a command that prints no answer
		if d := cmp.Diff(clean.runs(), a.runs()); d != "" || code != min(faults[f.Kind].code, 1) {
			t.Errorf("exit %d %s", code, d)
		}
	case unchanged.Services == nil: // made halfway: no task runs
		for name, n := range a.desired() {
			if n != 0 {
				t.Errorf("%s wants %d tasks", name, n)
			}
		}
		if code != 1 {
			t.Errorf("exit %d", code)
		}
	default: // the change itself
		if d := cmp.Diff(unchanged.runs(), a.runs()); code != 1 || d != "" {
			t.Errorf("exit %d %s", code, d)
		}
	}
	r.saysWhatHappened(t, log, code)
}

// blind makes a read fail for ever, in the middle of the work.
func (r faultRun) blind(t *testing.T, clean *account, f *fault) {
	a, _, log, code := r.with(t, f)
	if code != 1 {
		t.Errorf("exit %d", code)
	}
	var after []string
	for _, c := range a.Calls[f.At:] {
		if isChange(c) {
			after = append(after, c[0]+" "+c[1])
		}
	}
	if len(after) > 0 {
		t.Errorf("changed without seeing: %v", after)
	}
	for name, arn := range a.runs() {
		if arn != clean.Services[name].Definition && arn != clean.Services[name].First {
			t.Errorf("%s runs %s", name, arn)
		}
	}
	if r.command[0] == "deploy.sh" && !strings.Contains(log, "was told to run") {
		t.Error("it does not say how things stand")
	}
	r.saysWhatHappened(t, log, code)
}

func (r faultRun) saysWhatHappened(t *testing.T, log string, code int) {
	t.Helper()
	for _, never := range []string{"unbound variable", "syntax error", "jq: error", "parse error", "command not found"} {
		if strings.Contains(log, never) {
			t.Errorf("the script stumbles: %s", never)
		}
	}
	if code != 0 && (!strings.Contains(log, "aws ") || strings.Contains(log, "done: both")) {
		t.Error("it does not say which call failed")
	}
	if t.Failed() {
		t.Log(log)
	}
}

// comparisonKnows: a thing that could not be looked at is never reported as absent, or as being well.
func (r faultRun) comparisonKnows(t *testing.T, f *fault, clean string) {
	a, out, log, code := r.with(t, f)
	op := a.Calls[f.At][0] + " " + a.Calls[f.At][1]
	if code != 1 || len(a.mutations()) > 0 {
		t.Errorf("exit %d, %v", code, a.mutations())
	}
	if op == "sts get-caller-identity" {
		r.saysWhatHappened(t, log, code)
		return
	}
	known := strings.Split(clean, "\n")
	fresh := 0
	for _, l := range strings.Split(out, "\n") {
		if !slices.Contains(known, l) {
			fresh++
			if !strings.Contains(l, "could not look") && !strings.Contains(l, "not allowed to look") && !strings.Contains(l, "as far as can be seen") {
				t.Errorf("%s: %s", op, l)
			}
		}
	}
	if fresh != 1 {
		t.Errorf("%s: %d new lines\n%s\n%s", op, fresh, out, log)
	}
	r.saysWhatHappened(t, "aws "+log, code)
}
