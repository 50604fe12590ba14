package deploy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	oldTag = "202601020304"
	newTag = "202601030405"
)

// params writes the example parameters with their placeholders filled.
func params(t *testing.T, more map[string]string) string {
	t.Helper()
	var p map[string]any
	if err := json.Unmarshal([]byte(readFile(t, "params/example.json")), &p); err != nil {
		t.Fatal(err)
	}
	values := p["Parameters"].(map[string]any)
	for k, v := range values {
		if strings.HasPrefix(v.(string), "<") {
			values[k] = "some-" + k
		}
	}
	values["BucketName"] = "bkt"
	for k, v := range more {
		if name, ok := strings.CutPrefix(k, "Present_"); ok {
			p["Present"].(map[string]any)[name] = v
		} else {
			values[k] = v
		}
	}
	b, _ := json.Marshal(p)
	path := filepath.Join(t.TempDir(), "params.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// running is an account in which both services run oldTag and the repository has newTag too. health answers /health.
func running(t *testing.T, health string) *account {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" || r.Header.Get("X-Vectorstore-Preview") != "1" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, health)
	}))
	t.Cleanup(web.Close)
	a := &account{
		Account: "111122223333", Region: "ap-northeast-1", Images: []string{"latest", newTag, oldTag},
		Services: map[string]*service{}, Definitions: map[string]map[string]any{},
		Stacks: map[string]*stack{"vectorstore-core": {Status: "UPDATE_COMPLETE", Parameters: map[string]string{"ImageTag": oldTag}, Resources: map[string]string{
			"ServerTask": "arn:aws:ecs:r:1:task-definition/vectorstore-server:1", "IndexerTask": "arn:aws:ecs:r:1:task-definition/vectorstore-indexer:1",
		}}},
		Answers: map[string]any{"elbv2 describe-load-balancers": object{"LoadBalancers": []any{object{"DNSName": strings.TrimPrefix(web.URL, "http://")}}}},
	}
	for _, name := range []string{"server", "indexer"} {
		arn := "arn:aws:ecs:r:1:task-definition/vectorstore-" + name + ":1"
		a.Services["vectorstore-"+name] = &service{Definition: arn, First: arn, Desired: 2}
		a.Definitions[arn] = object{
			"taskDefinitionArn": arn, "revision": 1, "status": "ACTIVE", "registeredBy": "me", "family": "vectorstore-" + name, "cpu": "512",
			"containerDefinitions": []any{object{
				"name": name, "image": "111122223333.dkr.ecr.ap-northeast-1.amazonaws.com/vectorstore:" + oldTag,
				"environment": []any{object{"name": "KEEP", "value": "me"}, object{"name": "VECTORSTORE_S3_BUCKET", "value": "wrong"}},
				"secrets":     []any{object{"name": "OPENAI_API_KEY", "valueFrom": "arn:secret"}},
			}},
		}
	}
	return a
}

const serving = `{"status":"ok","vectorstore_source":"S3/current","snapshot":"20260102T030405Z-01234567","generation":3,"vectors":92}`

func TestDeployPutsTheTagOnBothServicesServersFirst(t *testing.T) {
	t.Parallel()
	a := running(t, serving)
	_, log, code := script(t, a, "deploy.sh", "--params", params(t, nil), newTag)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, log)
	}
	want := []string{"ecs register-task-definition", "ecs update-service", "ecs register-task-definition", "ecs update-service"}
	if d := cmp.Diff(want, a.mutations()); d != "" {
		t.Errorf("calls: %s", d)
	}
	for _, name := range []string{"server", "indexer"} {
		d := a.Definitions[a.Services["vectorstore-"+name].Definition]
		c := dig(t, d, "containerDefinitions", 0).(map[string]any)
		if got := c["image"]; got != "111122223333.dkr.ecr.ap-northeast-1.amazonaws.com/vectorstore:"+newTag {
			t.Errorf("%s runs %v", name, got)
		}
		if got := dig(t, c, "logConfiguration", "options", "awslogs-group"); got != "/ecs/vectorstore/"+name {
			t.Errorf("%s logs to %v", name, got)
		}
		env := []any{
			object{"name": "KEEP", "value": "me"},
			object{"name": "VECTORSTORE_S3_BUCKET", "value": "bkt"},
			object{"name": "VECTORSTORE_S3_PREFIX", "value": "vectorstore/prod"},
			object{"name": "VECTORSTORE_LOCAL_DIR", "value": "/app/vectorstore"},
		}
		if d := cmp.Diff(env, c["environment"]); d != "" {
			t.Errorf("%s environment: %s", name, d)
		}
		if d["cpu"] != "512" || c["secrets"] == nil {
			t.Errorf("%s lost settings: %v", name, d)
		}
	}
	var updated []string
	for _, c := range a.Calls {
		if c[1] == "update-service" {
			updated = append(updated, c[slices.Index(c, "--service")+1])
		}
	}
	if d := cmp.Diff([]string{"vectorstore-server", "vectorstore-indexer"}, updated); d != "" {
		t.Error(d)
	}
	if !strings.Contains(log, "20260102T030405Z-01234567") {
		t.Errorf("the served snapshot is not shown: %s", log)
	}
}

func TestDeployAgainChangesNothing(t *testing.T) {
	t.Parallel()
	a, file := running(t, serving), params(t, nil)
	if _, log, code := script(t, a, "deploy.sh", "--params", file, newTag); code != 0 {
		t.Fatal(log)
	}
	for _, s := range a.Services {
		s.First = s.Definition
	}
	a.Calls = nil
	_, log, code := script(t, a, "deploy.sh", "--params", file, newTag)
	if code != 0 || len(a.mutations()) > 0 || !strings.Contains(log, "nothing to do") {
		t.Errorf("exit %d, calls %v: %s", code, a.mutations(), log)
	}
}

func TestDeployTakesTheNewestTagByDefault(t *testing.T) {
	t.Parallel()
	a := running(t, serving)
	_, log, code := script(t, a, "deploy.sh", "--params", params(t, nil))
	if code != 0 || !strings.Contains(log, "vectorstore:"+newTag) {
		t.Errorf("exit %d: %s", code, log)
	}
}

func TestDryRunOnlyLooks(t *testing.T) {
	t.Parallel()
	a := running(t, serving)
	_, log, code := script(t, a, "deploy.sh", "--params", params(t, nil), "--dry-run", newTag)
	if code != 0 || len(a.mutations()) > 0 {
		t.Errorf("exit %d, calls %v: %s", code, a.mutations(), log)
	}
	for _, want := range []string{"-" + "      \"image\": \"111122223333.dkr.ecr.ap-northeast-1.amazonaws.com/vectorstore:" + oldTag, "vectorstore:" + newTag, "dry run"} {
		if !strings.Contains(log, want) {
			t.Errorf("the change is not shown (%s): %s", want, log)
		}
	}
}

// rolledBack checks that nothing is left of a failed deployment.
func rolledBack(t *testing.T, a *account, log string, code int) {
	t.Helper()
	if code != 1 || !strings.Contains(log, "rolled back; the services run what they ran before") {
		t.Errorf("exit %d: %s", code, log)
	}
	for name, s := range a.Services {
		if s.Definition != s.First {
			t.Errorf("%s is on %s", name, s.Definition)
		}
	}
}

func TestServiceThatNeverGetsStableIsRolledBack(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"vectorstore-server", "vectorstore-indexer"} {
		a := running(t, serving)
		a.NeverStable = name
		_, log, code := script(t, a, "deploy.sh", "--params", params(t, nil), newTag)
		rolledBack(t, a, log, code)
		for _, want := range []string{name + ": not stable after 6 s", "unable to place a task", "exit code 2"} {
			if !strings.Contains(log, want) {
				t.Errorf("no %q in: %s", want, log)
			}
		}
		if name == "vectorstore-server" && strings.Contains(log, "vectorstore-indexer: updating") {
			t.Errorf("the indexer was touched though the servers failed: %s", log)
		}
	}
}

func TestCircuitBreakerIsNoticedAtOnce(t *testing.T) {
	t.Parallel()
	a := running(t, serving)
	a.Breaker = "vectorstore-server"
	_, log, code := script(t, a, "deploy.sh", "--params", params(t, nil), newTag)
	rolledBack(t, a, log, code)
	if !strings.Contains(log, "ECS gave the deployment up") || strings.Contains(log, "not stable after") {
		t.Error(log)
	}
}

func TestInterruptedDeployIsRolledBack(t *testing.T) {
	t.Parallel()
	// Ctrl-C, a closed terminal, a build that is stopped.
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGTERM} {
		a := running(t, serving)
		a.Events = []happening{{"ecs update-service", 1, fmt.Sprintf("signal %d", signal)}}
		_, log, code := script(t, a, "deploy.sh", "--params", params(t, nil), newTag)
		rolledBack(t, a, log, code)
		if !strings.Contains(log, "interrupted") {
			t.Error(log)
		}
	}
}

func TestUnhealthyAnswerIsRolledBack(t *testing.T) {
	t.Parallel()
	for _, health := range []string{`{"status":"ok","vectorstore_source":"local-cache","snapshot":"x"}`, "<html>"} {
		a := running(t, health)
		_, log, code := script(t, a, "deploy.sh", "--params", params(t, nil), newTag)
		rolledBack(t, a, log, code)
		if !strings.Contains(log, "it said: "+health) {
			t.Errorf("%s: %s", health, log)
		}
	}
}

func TestMissingTagNamesTheNewestOnes(t *testing.T) {
	t.Parallel()
	a := running(t, serving)
	_, log, code := script(t, a, "deploy.sh", "--params", params(t, nil), "209901010000")
	if code != 1 || len(a.mutations()) > 0 || !strings.Contains(log, "tag 209901010000 is not in repository vectorstore") || !strings.Contains(log, newTag) {
		t.Errorf("exit %d, calls %v: %s", code, a.mutations(), log)
	}
}

func TestErrorsAreInPlainWords(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ op, text, want string }{
		"expired":   {"sts get-caller-identity", "An error occurred (ExpiredToken) when calling", "Sign in again"},
		"nobody":    {"sts get-caller-identity", "Unable to locate credentials", "Set AWS_PROFILE"},
		"forbidden": {"ecs describe-services", "An error occurred (AccessDeniedException): User: arn is not authorized to perform: ecs:DescribeServices", "not allowed to do this"},
		"cluster":   {"ecs describe-services", "An error occurred (ClusterNotFoundException)", "Compare ClusterName"},
		"registry":  {"ecr describe-images", "An error occurred (RepositoryNotFoundException)", "Compare RepositoryName"},
		"register":  {"ecs register-task-definition", "An error occurred (ThrottlingException): Rate exceeded", "slow down"},
		"update":    {"ecs update-service", "An error occurred (AccessDeniedException)", "vectorstore-server is on vectorstore-server:1, as before"},
	} {
		t.Run(name, func(t *testing.T) {
			a := running(t, serving)
			a.Errors = map[string]string{c.op: c.text}
			_, log, code := script(t, a, "deploy.sh", "--params", params(t, nil), newTag)
			if code != 1 || !strings.Contains(log, c.want) || !strings.Contains(log, c.text) {
				t.Errorf("exit %d: %s", code, log)
			}
			if n := strings.Count(log, "unbound variable") + strings.Count(log, "syntax error"); n > 0 {
				t.Error(log)
			}
		})
	}
}

func TestAnotherAccountIsRefused(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"deploy.sh", newTag}, {"stack.sh", "core"}, {"adopt.sh"}} {
		a := running(t, serving)
		a.Account = "999999999999"
		_, log, code := script(t, a, args[0], append([]string{"--params", params(t, nil)}, args[1:]...)...)
		if code != 1 || len(a.mutations()) > 0 || !strings.Contains(log, "you are signed in to account 999999999999") {
			t.Errorf("%s: exit %d, %v: %s", args[0], code, a.mutations(), log)
		}
	}
}

func TestWrongUsageIsExit2(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"deploy.sh"}, {"deploy.sh", "--nope"}, {"deploy.sh", "--params", "/nonexistent", "x"}, {"deploy.sh", "--params", "p", "a", "b"},
		{"deploy.sh", "--params"}, {"stack.sh", "core", "--params"}, {"adopt.sh", "--params"}, {"deploy.sh", "--params", ""},
		{"split.sh"}, {"split.sh", "x"}, {"split.sh", "--params"}, {"stack.sh"}, {"stack.sh", "--params", "params/example.json"}, {"stack.sh", "nope"}, {"adopt.sh"}, {"adopt.sh", "x"}, {"lifecycle.sh"},
	} {
		if _, log, code := script(t, nil, args[0], args[1:]...); code != 2 {
			t.Errorf("%v: exit %d: %s", args, code, log)
		}
	}
}

func TestWaitsAreWholeSecondsAboveZero(t *testing.T) {
	t.Parallel()
	for _, setting := range []string{"DEPLOY_POLL=0", "DEPLOY_POLL=0.5", "DEPLOY_TIMEOUT=-1", "DEPLOY_PATIENCE=x", "HEALTH_TIMEOUT=1e3", "DEPLOY_POLL=9999999"} {
		a := running(t, serving)
		w := newWorld(t, a)
		_, log, code := w.start([]string{setting}, "deploy.sh", "--params", params(t, nil)).wait()
		w.read(a)
		if name, _, _ := strings.Cut(setting, "="); code != 2 || len(a.Calls) > 0 || !strings.Contains(log, name) {
			t.Errorf("%s: exit %d: %s", setting, code, log)
		}
	}
}

// overrides of the last cloudformation deploy call.
func overrides(t *testing.T, a *account) map[string]string {
	t.Helper()
	for _, c := range slices.Backward(a.Calls) {
		if c[1] != "deploy" {
			continue
		}
		out := map[string]string{}
		for _, kv := range c[slices.Index(c, "--parameter-overrides")+1:] {
			k, v, _ := strings.Cut(kv, "=")
			out[k] = v
		}
		return out
	}
	t.Fatal("nothing was deployed")
	return nil
}

// made is an account as the core stack leaves it: no image, no task, nothing to serve.
func made(t *testing.T) *account {
	a := running(t, serving)
	for _, s := range a.Services {
		s.Desired = 0
		c := dig(t, a.Definitions[s.Definition], "containerDefinitions", 0).(map[string]any)
		c["image"] = strings.Replace(c["image"].(string), oldTag, "none", 1)
	}
	a.Stacks["vectorstore-core"].Parameters["ImageTag"] = "none"
	return a
}

// With no snapshot no server would become ready, and ECS would give the deployment up.
func TestTheFirstDeployStartsServersWhenThereIsASnapshot(t *testing.T) {
	t.Parallel()
	a := made(t)
	a.Events = []happening{{"s3api head-object", 3, "promote"}}
	_, log, code := script(t, a, "deploy.sh", "--params", params(t, nil), newTag)
	if code != 0 || !strings.Contains(log, "waiting for the first snapshot") {
		t.Fatalf("exit %d: %s", code, log)
	}
	var order []string
	for _, c := range a.Calls {
		if c[1] == "update-service" {
			order = append(order, c[slices.Index(c, "--service")+1]+" "+c[slices.Index(c, "--desired-count")+1])
		}
		if c[1] == "head-object" && len(order) != 1 {
			t.Errorf("looks for a snapshot after %v", order)
		}
	}
	if d := cmp.Diff([]string{"vectorstore-indexer 1", "vectorstore-server 2"}, order); d != "" {
		t.Error(d)
	}
}

func TestAFirstDeployThatFailsLeavesNoTask(t *testing.T) {
	t.Parallel()
	a := made(t) // and no snapshot, ever
	w := newWorld(t, a)
	_, log, code := w.start([]string{"FIRST_TIMEOUT=3"}, "deploy.sh", "--params", params(t, nil), newTag).wait()
	w.read(a)
	rolledBack(t, a, log, code)
	if !strings.Contains(log, "vendors.json uploaded?") {
		t.Error(log)
	}
	for name, s := range a.Services {
		if s.Desired != 0 {
			t.Errorf("%s wants %d tasks", name, s.Desired)
		}
	}
}

// Somebody scaled it down on purpose: a deploy is no reason to start it.
func TestAStoppedServiceStaysStopped(t *testing.T) {
	t.Parallel()
	a := running(t, "<html>")
	a.Services["vectorstore-server"].Desired = 0
	_, log, code := script(t, a, "deploy.sh", "--params", params(t, nil), newTag)
	if code != 0 || a.Services["vectorstore-server"].Desired != 0 || !strings.Contains(log, "told to run 0 tasks") {
		t.Errorf("exit %d: %s", code, log)
	}
}

func TestStackUpdateKeepsTheRunningImage(t *testing.T) {
	t.Parallel()
	a := running(t, serving)
	_, log, code := script(t, a, "stack.sh", "--params", params(t, nil), "core", "ServerMax=9")
	if code != 0 {
		t.Fatal(log)
	}
	got := overrides(t, a)
	if got["ImageTag"] != oldTag || got["ServerMax"] != "9" || got["BucketName"] != "bkt" {
		t.Errorf("%v", got)
	}
	// One that is not mentioned would keep its last value, and a domain could not be given up again.
	if v, passed := got["DomainName"]; !passed || v != "" {
		t.Errorf("DomainName %q, passed: %v", v, passed)
	}
	if _, passed := got["Branch"]; passed {
		t.Error("a parameter of the other template was passed")
	}
}

func TestFirstStackHasNoImage(t *testing.T) {
	t.Parallel()
	a := running(t, serving)
	a.Services, a.Stacks = nil, map[string]*stack{}
	if _, log, code := script(t, a, "stack.sh", "--params", params(t, nil), "core"); code != 0 {
		t.Fatal(log)
	}
	if got := overrides(t, a)["ImageTag"]; got != "none" {
		t.Errorf("ImageTag %q", got)
	}
}

// With the image "none" the stack would want no task and take its alarms away.
func TestAnImageThatWasThereIsNeverTakenAway(t *testing.T) {
	t.Parallel()
	a := running(t, serving)
	a.Services = nil
	_, log, code := script(t, a, "stack.sh", "--params", params(t, nil), "core")
	if code != 1 || len(a.mutations()) > 0 || !strings.Contains(log, "was told to run image "+oldTag) {
		t.Errorf("exit %d, %v: %s", code, a.mutations(), log)
	}
	if _, log, code = script(t, a, "stack.sh", "--params", params(t, nil), "core", "ImageTag="+newTag); code != 0 || overrides(t, a)["ImageTag"] != newTag {
		t.Errorf("exit %d: %s", code, log)
	}
}

func TestStackPrintsItsOutputs(t *testing.T) {
	t.Parallel()
	a := running(t, serving)
	a.Answers["cloudformation describe-stacks"] = object{"Stacks": []any{object{"StackStatus": "CREATE_COMPLETE", "Outputs": []any{
		object{"OutputKey": "PipelineName", "OutputValue": "vectorstore-pipeline"}, object{"OutputKey": "BuildProjectName", "OutputValue": "vectorstore-build"},
	}}}}
	out, log, code := script(t, a, "stack.sh", "--params", params(t, nil), "pipeline")
	if want := "PipelineName: vectorstore-pipeline\nBuildProjectName: vectorstore-build\n"; code != 0 || out != want {
		t.Errorf("exit %d: %s%s", code, out, log)
	}
}

func TestFailedStackNamesTheResource(t *testing.T) {
	t.Parallel()
	a := running(t, serving)
	a.Errors = map[string]string{"cloudformation deploy": "Failed to create/update the stack."}
	a.Answers["cloudformation describe-stack-events"] = object{"StackEvents": []any{
		object{"LogicalResourceId": "Bucket", "ResourceStatus": "CREATE_FAILED", "ResourceStatusReason": "bkt already exists"},
		object{"LogicalResourceId": "Cluster", "ResourceStatus": "CREATE_COMPLETE"},
	}}
	_, log, code := script(t, a, "stack.sh", "--params", params(t, nil), "core")
	if code != 1 || !strings.Contains(log, "Bucket: bkt already exists") || strings.Contains(log, "Cluster:") {
		t.Errorf("exit %d: %s", code, log)
	}
}

func TestStackRefusesPlaceholders(t *testing.T) {
	t.Parallel()
	a := running(t, serving)
	_, log, code := script(t, a, "stack.sh", "--params", params(t, map[string]string{"VpcId": "<the VPC>"}), "core")
	if code != 1 || len(a.mutations()) > 0 || !strings.Contains(log, "VpcId") {
		t.Errorf("exit %d: %s", code, log)
	}
}
