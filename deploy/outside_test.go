package deploy

import (
	"encoding/json"
	"maps"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
)

func TestCfnLintFindsNothing(t *testing.T) {
	t.Parallel()
	lint := harness.AWS(t, "cfn-lint")
	for _, path := range templates {
		readFile(t, path)
	}
	if out, err := exec.Command(lint, templates...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The way of docs/DEPLOY.md from nothing to a second release, on an emulated account.
func TestFromNothingToTheSecondReleaseOnAnEmulatedAccount(t *testing.T) {
	t.Parallel()
	if !full() {
		t.Log("at this size scripts_test.go releases on the small account, and walked_test.go walks on the emulated one")
		return
	}
	e := startEmulator(t)
	e.templates(scenarios["from nothing"])
	e.write("bin/curl", "#!/bin/sh\necho '"+serving+"'\n")
	subnets := strings.Join(strings.Fields(e.aws("ec2", "describe-subnets", "--query", "Subnets[].SubnetId")), ",")
	var p map[string]any
	if err := json.Unmarshal([]byte(readFile(t, "params/example.json")), &p); err != nil {
		t.Fatal(err)
	}
	p["AccountId"] = e.aws("sts", "get-caller-identity", "--query", "Account")
	maps.Copy(p["Parameters"].(map[string]any), map[string]any{
		"VpcId": e.aws("ec2", "describe-vpcs", "--query", "Vpcs[0].VpcId"), "LoadBalancerSubnetIds": subnets, "TaskSubnetIds": subnets,
		"BucketName": "vectors-of-somebody",
		"SecretArn":  e.aws("secretsmanager", "create-secret", "--name", "openai", "--secret-string", `{"OPENAI_API_KEY":"k"}`, "--query", "ARN"),
	})
	b, _ := json.Marshal(p)
	e.write("p.json", string(b))

	if out := e.run(0, "deploy/adopt.sh", "--params", "p.json"); !strings.Contains(out, "info     bucket                       not there; the stack makes it") {
		t.Error(out)
	}
	e.run(0, "deploy/stack.sh", "--params", "p.json", "data")
	e.run(0, "deploy/stack.sh", "--params", "p.json", "core")
	for svc, want := range map[string]string{"server": "0", "indexer": "0"} {
		if got := e.aws("ecs", "describe-services", "--cluster", "vectorstore", "--services", "vectorstore-"+svc, "--query", "services[0].desiredCount"); got != want {
			t.Errorf("%s wants %s tasks", svc, got)
		}
	}

	e.push("vectorstore", oldTag, newTag)
	if out := e.run(1, "deploy/deploy.sh", "--params", "p.json", "209901010000"); !strings.Contains(out, "is not in repository vectorstore") {
		t.Error(out)
	}
	image := func() string {
		arn := e.aws("ecs", "describe-services", "--cluster", "vectorstore", "--services", "vectorstore-server", "--query", "services[0].taskDefinition")
		return e.aws("ecs", "describe-task-definition", "--task-definition", arn, "--query", "taskDefinition.containerDefinitions[0].image")
	}
	e.aws("s3api", "put-object", "--bucket", "vectors-of-somebody", "--key", "vectorstore/prod/current/manifest.json", "--body", filepath.Join(e.dir, "p.json"))
	out := e.run(0, "deploy/deploy.sh", "--params", "p.json", oldTag)
	if !strings.Contains(out, "waiting for the first snapshot") || !strings.Contains(out, "done: both services run "+oldTag) {
		t.Error(out)
	}
	out = e.run(0, "deploy/deploy.sh", "--params", "p.json")
	if !strings.Contains(out, "done: both services run "+newTag) || !strings.HasSuffix(image(), ":"+newTag) {
		t.Errorf("the service has %s:\n%s", image(), out)
	}
	if out = e.run(0, "deploy/deploy.sh", "--params", "p.json", newTag); !strings.Contains(out, "nothing to do") {
		t.Error(out)
	}
}
