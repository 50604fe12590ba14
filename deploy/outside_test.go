package deploy

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Programs that come from Python's registry and are therefore not on every machine: the tests above carry the weight.
func optional(t *testing.T, name, works string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil || exec.Command(path, works).Run() != nil {
		t.Skipf("%s is not installed here", name)
	}
	return path
}

func TestCfnLintFindsNothing(t *testing.T) {
	t.Parallel()
	lint := optional(t, "cfn-lint", "--version")
	readFile(t, corePath)
	readFile(t, pipelinePath)
	if out, err := exec.Command(lint, corePath, pipelinePath).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// emulator is a running moto server with the scripts beside a core template reduced to what it models: it has no
// models of Cloud Map services, alarms, filters, dashboards and some attributes.
type emulator struct {
	t   *testing.T
	dir string // a copy of this folder
	env []string
}

func startEmulator(t *testing.T) *emulator {
	server := optional(t, "moto_server", "--help")
	optional(t, "aws", "--version")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	cmd := exec.Command(server, "-H", "127.0.0.1", "-p", port)
	cmd.Env = append(os.Environ(), "MOTO_ECS_SERVICE_RUNNING=2") // of every service, whatever it wants
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	url := "http://127.0.0.1:" + port
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if resp, err := http.Get(url + "/moto-api/"); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	e := &emulator{t: t, dir: t.TempDir()}
	bin := filepath.Join(e.dir, "bin")
	e.write("bin/sleep", "#!/bin/sh\n")
	e.write("bin/curl", "#!/bin/sh\necho '"+serving+"'\n")
	e.env = append(os.Environ(), "AWS_ENDPOINT_URL="+url, "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_DEFAULT_REGION=ap-northeast-1",
		"DEPLOY_POLL=1", "DEPLOY_TIMEOUT=1", "HEALTH_TIMEOUT=3", "PATH="+bin+":"+os.Getenv("PATH"), "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
	for _, f := range []string{"aws.sh", "stack.sh", "deploy.sh", "adopt.sh", "lifecycle.sh", pipelinePath} {
		e.write(f, readFile(t, f))
	}
	core := readFile(t, corePath)
	before, rest, _ := strings.Cut(core, "  # ---------------------------------------------------------------- what the logs say")
	_, outputs, _ := strings.Cut(rest, "\nOutputs:\n")
	core = before + "\nOutputs:\n" + outputs
	for _, drop := range []string{
		`(?m)^  (Server|Indexer)Discovery:\n(?:    .*\n|\n)*`, `      ServiceRegistries:\n        - RegistryArn:.*\n`, `(?m)^  AlarmTopicArn:\n    .*\n`,
	} {
		core = regexp.MustCompile(drop).ReplaceAllString(core, "")
	}
	e.write(corePath, core)
	return e
}

func (e *emulator) write(name, content string) {
	e.t.Helper()
	path := filepath.Join(e.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		e.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
		e.t.Fatal(err)
	}
}

// run returns what the command prints on both streams.
func (e *emulator) run(want int, name string, args ...string) string {
	e.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = e.dir, e.env
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != want {
		e.t.Fatalf("%s %v: exit %d, want %d\n%s", name, args, got, want, out)
	}
	return string(out)
}

func (e *emulator) aws(args ...string) string {
	e.t.Helper()
	return strings.TrimSpace(e.run(0, "aws", append(args, "--output", "text")...))
}

// The way of docs/DEPLOY.md from nothing to a second release, on an emulated account.
func TestFromNothingToTheSecondReleaseOnAnEmulatedAccount(t *testing.T) {
	t.Parallel()
	e := startEmulator(t)
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

	if out := e.run(0, "./adopt.sh", "--params", "p.json"); !strings.Contains(out, "info     bucket                       not there; the stack makes it") {
		t.Error(out)
	}
	// The emulator cannot update a stack, so the step without an image is left out.
	e.run(0, "./stack.sh", "--params", "p.json", "core", "ImageTag="+oldTag)
	for svc, want := range map[string]string{"server": "2", "indexer": "1"} {
		if got := e.aws("ecs", "describe-services", "--cluster", "vectorstore", "--services", "vectorstore-"+svc, "--query", "services[0].desiredCount"); got != want {
			t.Errorf("%s wants %s tasks", svc, got)
		}
	}

	for _, tag := range []string{oldTag, newTag} {
		manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"digest":"sha256:%064s"},"layers":[]}`, tag)
		e.aws("ecr", "put-image", "--repository-name", "vectorstore", "--image-tag", tag, "--image-manifest", manifest)
	}
	if out := e.run(1, "./deploy.sh", "--params", "p.json", "209901010000"); !strings.Contains(out, "is not in repository vectorstore") {
		t.Error(out)
	}
	image := func() string {
		arn := e.aws("ecs", "describe-services", "--cluster", "vectorstore", "--services", "vectorstore-server", "--query", "services[0].taskDefinition")
		return e.aws("ecs", "describe-task-definition", "--task-definition", arn, "--query", "taskDefinition.containerDefinitions[0].image")
	}
	// Two tasks run where the indexer wants one: it never gets stable, and both services are put back.
	out := e.run(1, "./deploy.sh", "--params", "p.json")
	if !strings.Contains(out, "vectorstore-indexer: not stable after") || !strings.Contains(out, "rolling back vectorstore-server") || !strings.HasSuffix(image(), ":"+oldTag) {
		t.Errorf("the service has %s:\n%s", image(), out)
	}
	e.aws("ecs", "update-service", "--cluster", "vectorstore", "--service", "vectorstore-indexer", "--desired-count", "1")
	out = e.run(0, "./deploy.sh", "--params", "p.json")
	if !strings.Contains(out, "done: both services run "+newTag) || !strings.HasSuffix(image(), ":"+newTag) {
		t.Errorf("the service has %s:\n%s", image(), out)
	}
	if out = e.run(0, "./deploy.sh", "--params", "p.json", newTag); !strings.Contains(out, "nothing to do") {
		t.Error(out)
	}
}
