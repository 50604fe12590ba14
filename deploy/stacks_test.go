package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// settled is an account whose services run the settings of the core stack, with an image that was deployed since.
func settled(t *testing.T) *account {
	a := running(t, serving)
	core := a.Stacks["vectorstore-core"]
	core.Parameters = map[string]string{"ImageTag": "202501010101", "Project": "vectorstore"}
	for resource, name := range map[string]string{"ServerTask": "server", "IndexerTask": "indexer"} {
		family := "vectorstore-" + name
		core.Resources[resource] = a.add(stackDefinition(family, name, "202501010101", ""))
		arn := a.add(stackDefinition(family, name, oldTag, ""))
		*a.Services[family] = service{Definition: arn, First: arn, Desired: map[string]int{"server": 3, "indexer": 1}[name]}
	}
	return a
}

func (a *account) desired() map[string]int {
	out := map[string]int{}
	for name, s := range a.Services {
		out[name] = s.Desired
	}
	return out
}

func both(v string) map[string]string {
	return map[string]string{"vectorstore-server": v, "vectorstore-indexer": v}
}

func TestAnUpdateThatChangesNothingTouchesNothing(t *testing.T) {
	t.Parallel()
	a := settled(t)
	before := a.runs()
	_, log, code := script(t, a, "stack.sh", "--params", params(t, nil), "core")
	if d := cmp.Diff(before, a.runs()); code != 0 || d != "" || slices.Contains(a.mutations(), "ecs update-service") {
		t.Errorf("exit %d, %v %s: %s", code, a.mutations(), d, log)
	}
	if got := overrides(t, a); got["Creating"] != "no" || got["ImageTag"] != oldTag {
		t.Errorf("%v", got)
	}
}

func TestSettingsReachTheServicesWithTheImageThatRuns(t *testing.T) {
	t.Parallel()
	a := settled(t)
	desired := a.desired()
	_, log, code := script(t, a, "stack.sh", "--params", params(t, map[string]string{"AllowedOrigins": "https://page.example.com"}), "core")
	if code != 0 || !strings.Contains(log, "https://page.example.com") {
		t.Fatalf("exit %d: %s", code, log)
	}
	if d := cmp.Diff(both(oldTag), a.images(t)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(desired, a.desired()); d != "" {
		t.Error(d)
	}
	for name, s := range a.Services {
		if got := dig(t, a.Definitions[s.Definition], "containerDefinitions", 0, "environment", 0).(map[string]any)["value"]; got != "https://page.example.com" {
			t.Errorf("%s has %v", name, got)
		}
	}
	if a.lock(t).Until != 0 {
		t.Errorf("the lock was kept: %+v", a.lock(t))
	}
}

// After releases by deploy.sh, CloudFormation knows only the revision of its own last update, and puts that one back.
func TestAnUpdateThatFailsLeavesTheImageOfToday(t *testing.T) {
	t.Parallel()
	a := settled(t)
	ancient := map[string]string{}
	for name := range a.Services {
		_, short, _ := strings.Cut(name, "-")
		ancient[name] = a.add(stackDefinition(name, short, "202501010101", ""))
	}
	desired := a.desired()
	a.StackFails = &aftermath{Definitions: ancient, Desired: map[string]int{"vectorstore-server": 0, "vectorstore-indexer": 0}}
	_, log, code := script(t, a, "stack.sh", "--params", params(t, nil), "core", "ServerMax=9")
	if code != 1 || !strings.Contains(log, "was not deployed") || !strings.Contains(log, "is told to run 3 again") {
		t.Errorf("exit %d: %s", code, log)
	}
	if d := cmp.Diff(both(oldTag), a.images(t)); d != "" {
		t.Errorf("%s: %s", d, log)
	}
	if d := cmp.Diff(desired, a.desired()); d != "" {
		t.Error(d)
	}
}

// withSettings is a parameters file with Settings.
func withSettings(t *testing.T, settings string, more map[string]string) string {
	t.Helper()
	path := params(t, more)
	text := strings.Replace(readFile(t, path), `"Settings":{}`, `"Settings":`+settings, 1)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil || !strings.Contains(text, settings) {
		t.Fatalf("%v %s", err, text)
	}
	return path
}

func TestSettingsWithoutAParameterComeFromTheBucket(t *testing.T) {
	t.Parallel()
	a := settled(t)
	file := withSettings(t, `{"RECORD_NAME":"会社名,name","DEFAULT_MODE":"semantic","OTEL_SERVICE_NAME":"x=y"}`, nil)
	if _, log, code := script(t, a, "stack.sh", "--params", file, "core"); code != 0 {
		t.Fatal(log)
	}
	key := overrides(t, a)["SettingsFile"]
	if o := a.Objects[key]; !strings.HasPrefix(key, "deploy/vectorstore/settings/") || o == nil || o.Body != "DEFAULT_MODE=semantic\nOTEL_SERVICE_NAME=x=y\nRECORD_NAME=会社名,name\n" {
		t.Fatalf("%s: %+v", key, o)
	}
	// Another content is another file, and the first one stays for a revision that is put back.
	if _, log, code := script(t, a, "stack.sh", "--params", withSettings(t, `{"DEFAULT_MODE":"lexical"}`, nil), "core"); code != 0 {
		t.Fatal(log)
	}
	if other := overrides(t, a)["SettingsFile"]; other == key || a.Objects[key].Writes != 1 || a.Objects[other].Body != "DEFAULT_MODE=lexical\n" {
		t.Errorf("%s %+v", other, a.Objects)
	}
	if _, log, code := script(t, a, "stack.sh", "--params", file, "core"); code != 0 || a.Objects[key].Writes != 1 {
		t.Errorf("written again: %s", log)
	}
	if _, log, code := script(t, a, "stack.sh", "--params", params(t, nil), "core"); code != 0 || overrides(t, a)["SettingsFile"] != "" {
		t.Errorf("settings that were taken away stay: %s", log)
	}
}

func TestSettingsThatWouldBeOfNoUseAreRefused(t *testing.T) {
	t.Parallel()
	for settings, want := range map[string]string{
		`{"DUPLICATE_ID":"last"}`:          "no program has a setting DUPLICATE_ID",
		`{"VECTORSTORE_S3_PREFIX":"x"}`:    "VECTORSTORE_S3_PREFIX is set by",
		`{"OPENAI_API_KEY":"k"}`:           "OPENAI_API_KEY is a secret",
		`{"OTEL_X Y":"k"}`:                 "is no name of a variable",
		`{"DEFAULT_MODE":"a\nAPI_KEYS=b"}`: "one line of text each",
		`{"MAX_QUEUE":7}`:                  "one line of text each",
		`["DEFAULT_MODE"]`:                 "one line of text each",
	} {
		a := settled(t)
		_, log, code := script(t, a, "stack.sh", "--params", withSettings(t, settings, nil), "core")
		if code != 1 || !strings.Contains(log, want) || len(a.mutations()) > 0 {
			t.Errorf("%s: exit %d, %v: %s", settings, code, a.mutations(), log)
		}
	}
}

func TestTwoImagesAreKeptAndSaid(t *testing.T) {
	t.Parallel()
	a := settled(t)
	arn := a.add(stackDefinition("vectorstore-indexer", "indexer", newTag, ""))
	a.Services["vectorstore-indexer"].Definition, a.Services["vectorstore-indexer"].First = arn, arn
	_, log, code := script(t, a, "stack.sh", "--params", params(t, map[string]string{"AllowedOrigins": "https://x"}), "core")
	want := map[string]string{"vectorstore-server": oldTag, "vectorstore-indexer": newTag}
	if d := cmp.Diff(want, a.images(t)); code != 0 || d != "" || !strings.Contains(log, "run different images, and keep them") {
		t.Errorf("exit %d %s: %s", code, d, log)
	}
}

func TestSettingsThatDoNotBecomeHealthyAreRolledBack(t *testing.T) {
	t.Parallel()
	a := settled(t)
	desired := a.desired()
	a.NeverStable = "vectorstore-server"
	_, log, code := script(t, a, "stack.sh", "--params", params(t, map[string]string{"AllowedOrigins": "bad"}), "core")
	rolledBack(t, a, log, code)
	if d := cmp.Diff(desired, a.desired()); d != "" {
		t.Error(d)
	}
}

// Were the number of tasks in the template of the first real update, its failure would put zero back.
func TestTheCoreStackIsMadeWithoutATask(t *testing.T) {
	t.Parallel()
	a := running(t, serving)
	a.Services, a.Stacks = nil, map[string]*stack{}
	_, log, code := script(t, a, "stack.sh", "--params", params(t, nil), "core")
	if code != 0 {
		t.Fatal(log)
	}
	var creating []string
	for _, c := range a.Calls {
		for _, arg := range c[slices.Index(c, "--parameter-overrides")+1:] {
			if v, ok := strings.CutPrefix(arg, "Creating="); ok {
				creating = append(creating, v)
			}
		}
	}
	if d := cmp.Diff([]string{"yes", "no"}, creating); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]int{"vectorstore-server": 0, "vectorstore-indexer": 0}, a.desired()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(both("none"), a.images(t)); d != "" {
		t.Error(d)
	}
}

func TestAStackThatCannotBeUpdatedSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]string{
		"ROLLBACK_COMPLETE":           "aws cloudformation delete-stack",
		"DELETE_FAILED":               "aws cloudformation delete-stack",
		"UPDATE_ROLLBACK_FAILED":      "aws cloudformation continue-update-rollback",
		"UPDATE_IN_PROGRESS":          "somebody is at work on it",
		"UPDATE_ROLLBACK_IN_PROGRESS": "somebody is at work on it",
		"SOMETHING_NEW":               "somebody is at work on it",
	} {
		a := settled(t)
		a.Stacks["vectorstore-core"].Status = status
		_, log, code := script(t, a, "stack.sh", "--params", params(t, nil), "core")
		if code != 1 || len(a.mutations()) > 0 || !strings.Contains(log, want) {
			t.Errorf("%s: exit %d, %v: %s", status, code, a.mutations(), log)
		}
	}
	a := running(t, serving)
	a.Services, a.Stacks = nil, map[string]*stack{"vectorstore-core": {Status: "REVIEW_IN_PROGRESS", Resources: map[string]string{}}}
	if _, log, code := script(t, a, "stack.sh", "--params", params(t, nil), "core"); code != 0 {
		t.Errorf("after a dry run: exit %d: %s", code, log)
	}
}

func TestAStackUpdateCountsAsADeploy(t *testing.T) {
	t.Parallel()
	a := settled(t)
	a.Objects = held(t, time.Now().Unix()+900).Objects
	_, log, code := script(t, a, "stack.sh", "--params", params(t, nil), "core")
	if code != 4 || len(a.mutations()) > 0 || !strings.Contains(log, "This run gives way") {
		t.Errorf("exit %d, %v: %s", code, a.mutations(), log)
	}
	a = settled(t)
	a.Errors = map[string]string{"s3api put-object": "\nAn error occurred (NoSuchBucket) when calling the PutObject operation: The specified bucket does not exist"}
	_, log, code = script(t, a, "stack.sh", "--params", params(t, nil), "core")
	if code != 1 || len(a.mutations()) > 0 || !strings.Contains(log, "make the data stack first") {
		t.Errorf("exit %d, %v: %s", code, a.mutations(), log)
	}
}

// CloudFormation goes on without the terminal: nobody may deploy into it.
func TestAnInterruptedUpdateKeepsTheLock(t *testing.T) {
	t.Parallel()
	a := settled(t)
	a.Events = []happening{{"cloudformation deploy", 1, "signal 1"}}
	_, log, code := script(t, a, "stack.sh", "--params", params(t, nil), "core")
	if code != 1 || a.lock(t).Until == 0 || !strings.Contains(log, "goes on in AWS") {
		t.Errorf("exit %d, %+v: %s", code, a.lock(t), log)
	}
}

const onePiece = "testdata/core-in-one.yaml"

// Every resource of the stack in one piece is in exactly one of the three, as it was, in every scenario. What differs is
// listed.
func TestTheSplitLosesNothing(t *testing.T) {
	changed := map[string]string{
		"BucketPolicy":   "the lock, and a deletion policy",
		"BedrockPolicy":  "more models",
		"HttpListener":   "the redirect waits for HTTPS",
		"HttpRule":       "the redirect waits for HTTPS",
		"ServerTask":     "",
		"IndexerTask":    "",
		"ServerService":  "family instead of revision, no number of tasks, grace period",
		"IndexerService": "family instead of revision, no number of tasks",

		"AlarmTopicPolicy": "no condition for EventBridge",
		"Bucket":           "old versions of the copies expire",
		"ExecutionRole":    "settings from the bucket",
		"TaskStopped":      "what health checks stop",
	}
	// Made since, in the stack that holds no state.
	since := []string{
		"AtMaximumAlarm", "BuildFailed", "CandidateHeldAlarm", "EventsNotDeliveredAlarm", "HeldPasses", "NotificationsLost", "NotificationsLostAlarm",
		"PipelineFailed", "ReplicaBehind", "ReplicaBehindAlarm", "SearchSlowAlarm",
	}
	for _, id := range since {
		if load(t, monitoringPath, nil).section("Resources")[id] == nil {
			t.Errorf("no %s", id)
		}
	}
	for name, given := range scenarios {
		if slices.Contains([]string{"on an existing listener with HTTPS", "while it is made", "with all that is somebody's own", "with keys in the secret"}, name) {
			continue // were not possible
		}
		got := map[string]map[string]any{}
		for _, path := range []string{dataPath, corePath, monitoringPath} {
			for id, r := range load(t, path, given).resources() {
				if got[id] != nil {
					t.Errorf("%s: %s is in two stacks", name, id)
				}
				got[id] = r
			}
		}
		for id, was := range load(t, onePiece, given).resources() {
			now, ok := got[id]
			if !ok {
				t.Errorf("%s: %s is lost", name, id)
				continue
			}
			delete(got, id)
			if _, meant := changed[id]; meant {
				for _, key := range []string{"ServiceName", "Family", "Bucket", "BucketName", "Name", "ListenerArn", "LoadBalancerArn"} {
					a, b := was["Properties"].(map[string]any)[key], now["Properties"].(map[string]any)[key]
					if d := cmp.Diff(a, b); d != "" {
						t.Errorf("%s: %s would be another one: %s", name, id, d)
					}
				}
				continue
			}
			if d := cmp.Diff(imports(t, was), imports(t, now)); d != "" {
				t.Errorf("%s: %s differs (-one piece +split): %s", name, id, d)
			}
		}
		delete(got, "Anchor")
		for _, id := range since {
			delete(got, id)
		}
		if len(got) > 0 {
			t.Errorf("%s: new: %v", name, slices.Sorted(maps.Keys(got)))
		}
	}
}

// imports writes references to another stack as the references within one that they were.
func imports(t *testing.T, r map[string]any) string {
	t.Helper()
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	const service = "arn:aws:ecs:ap-northeast-1:111122223333:service/vectorstore/vectorstore-"
	return strings.NewReplacer(
		`\u003cimport vectorstore-alarm-topic\u003e`, `\u003cAlarmTopic\u003e`,
		`\u003cimport vectorstore-target-group\u003e`, `\u003cTargetGroup.TargetGroupFullName\u003e`,
		`\u003cimport vectorstore-load-balancer\u003e`, `BALANCER`, `\u003cLoadBalancer\u003e`, `BALANCER`, `app/old/0123456789abcdef`, `BALANCER`,
		`/ecs/vectorstore/server`, `\u003cServerLogs\u003e`, `/ecs/vectorstore/indexer`, `\u003cIndexerLogs\u003e`,
		service+"server", `\u003cServerService\u003e`, service+"indexer", `\u003cIndexerService\u003e`,
	).Replace(string(b))
}

// beforeTheSplit is an account with a core stack in one piece.
func beforeTheSplit(t *testing.T) *account {
	a := settled(t)
	core := a.Stacks["vectorstore-core"]
	core.Template = readFile(t, onePiece)
	for _, id := range []string{"Bucket", "BucketPolicy", "Repository"} {
		core.Resources[id] = "bkt"
	}
	core.Changes = []any{object{"ResourceChange": object{"Action": "Modify", "Replacement": "False", "LogicalResourceId": "BucketPolicy", "ResourceType": "AWS::S3::BucketPolicy"}}}
	return a
}

// The move, as change sets; none was executed on AWS.
func TestTheMoveOfAnExistingStack(t *testing.T) {
	t.Parallel()
	file := params(t, nil)
	a := beforeTheSplit(t)
	step := func(want int, name string, args ...string) string {
		t.Helper()
		out, log, code := script(t, a, name, append([]string{"--params", file}, args...)...)
		if code != want {
			t.Fatalf("%s %v: exit %d: %s%s", name, args, code, out, log)
		}
		return out + log
	}
	// The new template would take the bucket's policy away.
	if log := step(1, "stack.sh", "core"); !strings.Contains(log, "deploy/split.sh") || len(a.mutations()) > 0 {
		t.Error(log)
	}
	// Looking leaves nothing behind.
	if log := step(0, "split.sh"); !strings.Contains(log, "repeat with --execute") || a.ChangeSets[0]["executed"] != nil {
		t.Error(log)
	}
	step(0, "split.sh", "--execute")
	kept := a.ChangeSets[1]
	if kept["type"] != "UPDATE" || kept["stack"] != "vectorstore-core" || len(kept["template"].(string)) > 51_200 {
		t.Errorf("%v, %v, %d bytes", kept["type"], kept["stack"], len(kept["template"].(string)))
	}
	for _, p := range kept["parameters"].([]any) {
		if p.(map[string]any)["UsePreviousValue"] != true {
			t.Errorf("parameter %v would change", p)
		}
	}
	was, now := templateOf(t, readFile(t, onePiece)), templateOf(t, kept["template"].(string))
	policy := dig(t, now, "Resources", "BucketPolicy").(map[string]any)
	if policy["DeletionPolicy"] != "Retain" {
		t.Errorf("the policy would go: %v", policy)
	}
	delete(policy, "DeletionPolicy")
	delete(policy, "Metadata")
	if d := cmp.Diff(was, now); d != "" {
		t.Errorf("more than that: %s", d)
	}
	for _, id := range []string{"Bucket", "Repository"} {
		if got := dig(t, was, "Resources", id, "DeletionPolicy"); got != "RetainExceptOnCreate" {
			t.Errorf("%s would go: %v", id, got)
		}
	}
	step(0, "split.sh")         // says what is next
	step(0, "stack.sh", "core") // lets go
	for _, id := range []string{"Bucket", "BucketPolicy", "Repository"} {
		delete(a.Stacks["vectorstore-core"].Resources, id)
	}
	step(0, "split.sh", "--execute")
	taken := a.ChangeSets[len(a.ChangeSets)-1]
	if taken["type"] != "IMPORT" || taken["stack"] != "vectorstore-data" || taken["executed"] != true {
		t.Errorf("%v of %v", taken["type"], taken["stack"])
	}
	wantItems := []any{
		object{"ResourceType": "AWS::S3::Bucket", "LogicalResourceId": "Bucket", "ResourceIdentifier": object{"BucketName": "bkt"}},
		object{"ResourceType": "AWS::S3::BucketPolicy", "LogicalResourceId": "BucketPolicy", "ResourceIdentifier": object{"Bucket": "bkt"}},
		object{"ResourceType": "AWS::ECR::Repository", "LogicalResourceId": "Repository", "ResourceIdentifier": object{"RepositoryName": "vectorstore"}},
	}
	if d := cmp.Diff(wantItems, taken["resources-to-import"]); d != "" {
		t.Error(d)
	}
	// An import may hold nothing but what it imports, each with a deletion policy, and no outputs.
	imported := templateOf(t, taken["template"].(string))
	if imported["Outputs"] != nil || len(imported["Resources"].(map[string]any)) != 3 {
		t.Errorf("%v", slices.Collect(maps.Keys(imported)))
	}
	data := loadYAML(t, dataPath)
	for id, r := range imported["Resources"].(map[string]any) {
		if r.(map[string]any)["DeletionPolicy"] == nil {
			t.Errorf("%s has no deletion policy", id)
		}
		if d := cmp.Diff(dig(t, data, "Resources", id), r); d != "" {
			t.Errorf("%s: %s", id, d)
		}
	}
	var given []string
	for _, p := range taken["parameters"].([]any) {
		given = append(given, fmt.Sprint(p.(map[string]any)["ParameterKey"]))
	}
	slices.Sort(given)
	if d := cmp.Diff([]string{"BucketName", "CreateBucket", "CreateRepository", "Prefix", "Project", "RepositoryName"}, given); d != "" {
		t.Errorf("parameters: %s", d)
	}
	if log := step(0, "split.sh"); !strings.Contains(log, "nothing to move") {
		t.Error(log)
	}
}

// A change set that would do more than move is thrown away, whatever was asked.
func TestAMoveThatWouldDoMoreIsNotMade(t *testing.T) {
	t.Parallel()
	for _, change := range []object{
		{"Action": "Remove", "LogicalResourceId": "Bucket"},
		{"Action": "Modify", "LogicalResourceId": "BucketPolicy", "Replacement": "True"},
		{"Action": "Modify", "LogicalResourceId": "ServerService", "Replacement": "False"},
	} {
		a := beforeTheSplit(t)
		core := a.Stacks["vectorstore-core"]
		core.Changes = append(core.Changes, object{"ResourceChange": change})
		out, log, code := script(t, a, "split.sh", "--params", params(t, nil), "--execute")
		if code != 1 || !strings.Contains(log, "more than move") || slices.Contains(a.mutations(), "cloudformation execute-change-set") {
			t.Errorf("%v: exit %d: %s%s", change, code, out, log)
		}
	}
}

func templateOf(t *testing.T, text string) map[string]any {
	t.Helper()
	path := filepath.Join(t.TempDir(), "template.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return loadYAML(t, path)
}

// The scripts are for any machine with bash: the one of macOS is 3.2, and knows no tables.
func TestScriptsKeepToOldBash(t *testing.T) {
	files, err := filepath.Glob("*.sh")
	if err != nil || len(files) < 7 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		text := readFile(t, f)
		for _, young := range []string{"declare -A", "local -A", "mapfile", "readarray", "declare -n", "local -n", "${1^^}", "&>>", "|&", "wait -n", "printf '%(", "${BASH_SOURCE@", "coproc"} {
			if strings.Contains(text, young) {
				t.Errorf("%s has %q", f, young)
			}
		}
		if out, err := exec.Command("bash", "-n", f).CombinedOutput(); err != nil {
			t.Errorf("%s: %s", f, out)
		}
	}
	check, err := exec.LookPath("shellcheck")
	if err != nil {
		t.Fatal("shellcheck is needed: apt-get install shellcheck")
	}
	if out, err := exec.Command(check, append([]string{"--external-sources", "--exclude=SC1091"}, files...)...).CombinedOutput(); err != nil {
		t.Errorf("%s", out)
	}
}
