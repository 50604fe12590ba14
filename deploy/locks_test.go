package deploy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const thirdTag = "202601040506"

// images that the services run, by service.
func (a *account) images(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, s := range a.Services {
		_, tag, _ := strings.Cut(dig(t, a.Definitions[s.Definition], "containerDefinitions", 0, "image").(string), ":")
		out[name] = tag
	}
	return out
}

// lock is what the lock says.
func (a *account) lock(t *testing.T) (l struct {
	ID, What, Who string
	Until         int64
}) {
	t.Helper()
	if a.Objects[lockKey] == nil {
		t.Fatal("there is no lock")
	}
	if err := json.Unmarshal([]byte(a.Objects[lockKey].Body), &l); err != nil {
		t.Fatal(err)
	}
	return l
}

// held is an account whose lock somebody has until then.
func held(t *testing.T, until int64) *account {
	a := running(t, serving)
	a.Objects = map[string]*stored{lockKey: {Writes: 7, Body: fmt.Sprintf(`{"id": "x", "what": "deploy of %s", "who": "somebody@elsewhere", "until": %d}`, thirdTag, until)}}
	return a
}

// Both ask for the lock in the same moment: one of them gets it, the other says that it gave way.
func TestTwoDeploysStartedTogetherEndOnOneImage(t *testing.T) {
	t.Parallel()
	runs := 5
	if full() {
		runs = 20
	}
	won := map[string]int{}
	for i := range runs {
		a := running(t, serving)
		a.Images = append(a.Images, thirdTag)
		w := newWorld(t, a)
		meeting := []string{"AWS_STUB_MEETING=" + t.TempDir()}
		tags := []string{newTag, thirdTag}
		var both []*started
		for _, tag := range tags {
			both = append(both, w.start(meeting, "deploy.sh", "--params", params(t, nil), tag))
		}
		done := ""
		for j, r := range both {
			_, log, code := r.wait()
			switch {
			case code == 0 && strings.Contains(log, "done: both services run "+tags[j]):
				done += tags[j]
			case code == 4 && strings.Contains(log, "This run gives way; nothing was changed.") && !strings.Contains(log, "updating to"):
			default:
				t.Errorf("run %d, %s: exit %d: %s", i, tags[j], code, log)
			}
		}
		w.read(a)
		for name, tag := range a.images(t) {
			if tag != done {
				t.Errorf("run %d: %s runs %s, done is %q", i, name, tag, done)
			}
		}
		if l := a.lock(t); l.Until != 0 {
			t.Errorf("run %d: the lock was not given back: %+v", i, l)
		}
		won[done]++
	}
	t.Logf("won: %v", won)
}

func TestWhoeverHasTheLockIsLeftAlone(t *testing.T) {
	t.Parallel()
	now := time.Now().Unix()
	for name, c := range map[string]struct {
		a    *account
		args []string
		code int
		says string
	}{
		"held":               {held(t, now+900), nil, 4, "deploy of " + thirdTag + " by somebody@elsewhere is under way"},
		"run out":            {held(t, now-60), nil, 0, "done: both"},
		"free":               {held(t, 0), nil, 0, "done: both"},
		"held by a dead one": {held(t, now+900), []string{"--take-lock"}, 0, "taking the lock from: deploy of " + thirdTag},
		"damaged": {func() *account {
			a := held(t, 0)
			a.Objects[lockKey].Body = "<html>"
			return a
		}(), nil, 1, "--take-lock overwrites it"},
		"damaged, by will": {func() *account {
			a := held(t, 0)
			a.Objects[lockKey].Body = "<html>"
			return a
		}(), []string{"--take-lock"}, 0, "done: both"},
	} {
		t.Run(name, func(t *testing.T) {
			before := c.a.Objects[lockKey].Body
			_, log, code := script(t, c.a, "deploy.sh", append([]string{"--params", params(t, nil), newTag}, c.args...)...)
			if code != c.code || !strings.Contains(log, c.says) {
				t.Errorf("exit %d: %s", code, log)
			}
			if code == 0 && c.a.lock(t).Until != 0 {
				t.Errorf("kept: %+v", c.a.lock(t))
			}
			if code != 0 && (len(c.a.mutations()) > 0 || c.a.Objects[lockKey].Body != before) {
				t.Errorf("changed: %v, lock %s", c.a.mutations(), c.a.Objects[lockKey].Body)
			}
		})
	}
}

func TestLookingAndPlanningNeedNoLock(t *testing.T) {
	t.Parallel()
	a := held(t, time.Now().Unix()+900)
	if _, log, code := script(t, a, "deploy.sh", "--params", params(t, nil), "--dry-run", newTag); code != 0 {
		t.Errorf("exit %d: %s", code, log)
	}
}

// Without conditional writes two runs would both believe that they have it.
func TestAnOldCommandLineIsToldSo(t *testing.T) {
	t.Parallel()
	a := running(t, serving)
	w := newWorld(t, a)
	_, log, code := w.start([]string{`AWS_STUB_SKELETON={"Body": ""}`}, "deploy.sh", "--params", params(t, nil), newTag).wait()
	w.read(a)
	if code != 1 || len(a.mutations()) > 0 || !strings.Contains(log, "cannot write conditionally") {
		t.Errorf("exit %d: %s", code, log)
	}
}

// slowly makes every look as long as the time between two renewals.
var slowly = []string{"DEPLOY_POLL=400", "DEPLOY_TIMEOUT=4000"}

func TestTheLockIsRenewedWhileItIsNeeded(t *testing.T) {
	t.Parallel()
	a := running(t, serving)
	w := newWorld(t, a)
	_, log, code := w.start(slowly, "deploy.sh", "--params", params(t, nil), newTag).wait()
	w.read(a)
	if writes := a.Objects[lockKey].Writes; code != 0 || writes < 5 || a.lock(t).Until != 0 {
		t.Errorf("exit %d, %d writes, %+v: %s", code, writes, a.lock(t), log)
	}
	renewal, seen := 0, 0
	for i, c := range a.Calls {
		if isLock(c) {
			if seen++; seen == 2 {
				renewal = i
			}
		}
	}
	for _, kind := range []string{"throttled", "timeout"} { // one renewal is not the lock
		a = running(t, serving)
		a.Fault = &fault{Kind: kind, At: renewal}
		w = newWorld(t, a)
		_, log, code = w.start(slowly, "deploy.sh", "--params", params(t, nil), newTag).wait()
		w.read(a)
		if failed := a.Calls[renewal]; !isLock(failed) || code != 0 || a.lock(t).Until != 0 {
			t.Errorf("%s: exit %d, %v failed: %s", kind, code, failed[:2], log)
		}
	}
}

func TestWhoeverLosesTheLockPutsBackWhatIsHis(t *testing.T) {
	t.Parallel()
	a := running(t, serving)
	a.Events = []happening{{"ecs update-service", 1, "steal"}}
	w := newWorld(t, a)
	_, log, code := w.start(slowly, "deploy.sh", "--params", params(t, nil), newTag).wait()
	w.read(a)
	if code != 4 || !strings.Contains(log, "the lock was taken over: deploy of 209901010000 by thief@night") {
		t.Errorf("exit %d: %s", code, log)
	}
	for name, tag := range a.images(t) {
		if tag != oldTag {
			t.Errorf("%s runs %s", name, tag)
		}
	}
	if a.lock(t).ID != "thief" {
		t.Errorf("the thief's lock is %+v", a.lock(t))
	}
}

// theirs is the revision that an usurper puts on a service.
func theirs(name string) string { return "arn:aws:ecs:r:1:task-definition/" + name + ":77" }

func TestOnlyTheOwnRevisionIsRolledBack(t *testing.T) {
	t.Parallel()
	a := running(t, serving)
	a.NeverStable = "vectorstore-indexer"
	a.Events = []happening{{"ecs update-service", 2, "usurp vectorstore-server"}}
	_, log, code := script(t, a, "deploy.sh", "--params", params(t, nil), newTag)
	if got := a.Services["vectorstore-server"].Definition; code != 1 || got != theirs("vectorstore-server") || !strings.Contains(log, "which is not of this run") {
		t.Errorf("exit %d, the server runs %s: %s", code, got, log)
	}
	if s := a.Services["vectorstore-indexer"]; s.Definition != s.First {
		t.Errorf("the indexer runs %s", s.Definition)
	}
}

func TestDoneIsSaidOfWhatStillRuns(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"vectorstore-server", "vectorstore-indexer"} {
		a := running(t, serving)
		_, log, code := script(t, a, "deploy.sh", "--params", params(t, nil), newTag)
		looks := 0
		for _, c := range a.Calls {
			if c[1] == "describe-services" {
				looks++
			}
		}
		if code != 0 {
			t.Fatal(log)
		}
		a = running(t, serving)
		a.Events = []happening{{"ecs describe-services", looks - 1, "usurp " + name}} // the first of the two that confirm
		_, log, code = script(t, a, "deploy.sh", "--params", params(t, nil), newTag)
		if got := a.Services[name].Definition; code != 4 || got != theirs(name) || strings.Contains(log, "done: both") || !strings.Contains(log, "this run gives way") {
			t.Errorf("%s: exit %d, runs %s: %s", name, code, got, log)
		}
		for other, s := range a.Services {
			if other != name && s.Definition != s.First {
				t.Errorf("%s is left on %s beside it", other, s.Definition)
			}
		}
	}
}

// The rollback after Ctrl-C, with a network that is gone too, must not take silence for an answer.
func TestAnInterruptedRunThatCannotSeeSaysSo(t *testing.T) {
	t.Parallel()
	interrupted := func(f *fault) (*account, string, int) {
		a := running(t, serving)
		a.Fault = f
		a.Events = []happening{{"ecs update-service", 1, "signal 2"}}
		_, log, code := script(t, a, "deploy.sh", "--params", params(t, nil), newTag)
		return a, log, code
	}
	clean, _, _ := interrupted(nil)
	at := slices.IndexFunc(clean.Calls, func(c []string) bool { return c[1] == "update-service" }) + 1
	for kind := range faults {
		a, log, code := interrupted(&fault{At: at, Kind: kind, Ever: true})
		if code != 1 || !strings.Contains(log, "vectorstore-server is NOT rolled back") || strings.Contains(log, "rolled back; the services") {
			t.Errorf("%s: exit %d: %s", kind, code, log)
		}
		if got := a.mutations(); len(got) != 2 {
			t.Errorf("%s: %v", kind, got)
		}
	}
}

// The rollback of one service fails: the other one is put back all the same, and the command for the first is printed.
func TestARollbackThatFailsDoesNotStopTheNext(t *testing.T) {
	t.Parallel()
	a := running(t, serving)
	a.NeverStable = "vectorstore-indexer"
	clean := running(t, serving)
	clean.NeverStable = a.NeverStable
	if _, log, code := script(t, clean, "deploy.sh", "--params", params(t, nil), newTag); code != 1 {
		t.Fatal(log)
	}
	updates := []int{}
	for i, c := range clean.Calls {
		if c[1] == "update-service" {
			updates = append(updates, i)
		}
	}
	if len(updates) != 4 {
		t.Fatalf("%d updates", len(updates))
	}
	a.Fault = &fault{At: updates[2], Kind: "denied"}
	_, log, code := script(t, a, "deploy.sh", "--params", params(t, nil), newTag)
	if s := a.Services["vectorstore-indexer"]; code != 1 || s.Definition != s.First {
		t.Errorf("exit %d, the indexer runs %s: %s", code, s.Definition, log)
	}
	for _, want := range []string{
		"rollback of vectorstore-server FAILED. By hand: aws ecs update-service --region ap-northeast-1 --cluster vectorstore --service vectorstore-server --task-definition arn:aws:ecs:r:1:task-definition/vectorstore-server:1",
		"not everything was rolled back: server",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in: %s", want, log)
		}
	}
	if !slices.Contains(a.mutations(), "ecs update-service") || a.lock(t).Until != 0 {
		t.Errorf("lock %+v", a.lock(t))
	}
}
