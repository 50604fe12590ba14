package deploy

import (
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/e2e/harness"
)

// Resource types that moto has no model of. It warns and goes on, but whatever refers to one of them fails.
var unmodelled = []string{
	"AWS::ApplicationAutoScaling::ScalableTarget", "AWS::ApplicationAutoScaling::ScalingPolicy", "AWS::CertificateManager::Certificate",
	"AWS::CloudWatch::Alarm", "AWS::CodeBuild::Project", "AWS::CodePipeline::Pipeline", "AWS::Logs::MetricFilter", "AWS::S3::BucketPolicy",
	"AWS::SNS::Subscription", "AWS::SNS::TopicPolicy", "AWS::ServiceDiscovery::PrivateDnsNamespace", "AWS::ServiceDiscovery::Service",
	"AWS::CloudWatch::Dashboard", // there is one, but ours asks for a target group's full name, which moto does not know
}

// References to what is left out, and a policy that moto does not know.
var unresolved = map[string]string{
	`      ServiceRegistries:\n        - RegistryArn:.*\n`:      "",
	`(?m)^ +- !If \[(?:Sign|CanErase).*!Ref 'AWS::NoValue'\]\n`: "", // it leaves a hole in the list
	`\[!GetAtt Build\.Arn, !GetAtt Deploy\.Arn\]`:               "'*'",
	`!Split\n +- ','\n +- Fn::ImportValue: .*\n`:                "'*'\n",
	`\{'Fn::ImportValue': !Sub '[^']*'\}`:                       "!Sub 'arn:aws:sns:${AWS::Region}:${AWS::AccountId}:${Project}-alarms'",
	`(?s)\nOutputs:\n  (?:PipelineName|DashboardName):.*`:       "\n",
	`(?m)^( +DeletionPolicy: Retain)ExceptOnCreate$`:            "$1",
}

// emulator is a running moto server, with the scripts and, reduced to what moto models, the templates in deploy/ below dir.
type emulator struct {
	t   *testing.T
	dir string
	url string
	env []string
}

func startEmulator(t *testing.T, vars ...string) *emulator {
	t.Helper()
	server := harness.AWS(t, "moto_server")
	aws := harness.AWS(t, "aws")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	// The server ends when this process does, however that happens: its shell then reads the end of its input.
	cmd := exec.Command("sh", "-c", `"$@" & p=$!; read -r _; kill "$p"; wait "$p"`, "sh", server, "-H", "127.0.0.1", "-p", port)
	cmd.Env = append(os.Environ(), vars...)
	alive, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { alive.Close(); _ = cmd.Wait() })
	e := &emulator{t: t, dir: t.TempDir(), url: "http://127.0.0.1:" + port}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if resp, err := http.Get(e.url + "/moto-api/"); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	e.write("bin/sleep", "#!/bin/sh\n")
	// moto has no answer to one call of the scripts, and loses the containers of a task definition when a stack is updated:
	// those of the family's first revision stand in for them.
	e.write("bin/aws", `#!/bin/sh
case " $* " in
*' codestar-connections list-connections '*) exec cat '`+e.dir+`/connections.json' ;;
*' --query '*) ;;
*' ecs describe-task-definition '*)
	out=$('`+aws+`' "$@") || exit
	lost=$(printf '%s' "$out" | jq -r '.taskDefinition | select(.containerDefinitions[0].name == null) | .family')
	[ -z "$lost" ] || out=$('`+aws+`' --region ap-northeast-1 --output json ecs describe-task-definition --task-definition "$lost:1") || exit
	printf '%s\n' "$out"
	exit ;;
esac
exec '`+aws+`' "$@"
`)
	e.write("connections.json", `{"Connections": []}`)
	e.env = append(os.Environ(), "AWS_ENDPOINT_URL="+e.url, "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_DEFAULT_REGION=ap-northeast-1",
		"DEPLOY_POLL=1", "DEPLOY_TIMEOUT=1", "HEALTH_TIMEOUT=3", "PATH="+filepath.Join(e.dir, "bin")+":"+os.Getenv("PATH"),
		"NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1", "LC_ALL=C.UTF-8")
	for _, f := range []string{"aws.sh", "lock.sh", "services.sh", "split.sh", "stack.sh", "deploy.sh", "adopt.sh", "lifecycle.sh"} {
		e.write("deploy/"+f, readFile(t, f))
	}
	return e
}

func (e *emulator) templates(given map[string]string) {
	e.t.Helper()
	given = maps.Clone(given)
	given["WeeklyRebuild"] = "no" // its rule names the pipeline
	for _, path := range templates {
		e.template(path, load(e.t, path, given))
	}
}

// template puts a template in its place without what moto cannot make: resources of a type that it has no model of, and,
// because it cannot update a stack with one, resources whose condition does not hold.
func (e *emulator) template(path string, tp *template) {
	e.t.Helper()
	head, rest, _ := strings.Cut(readFile(e.t, path), "\nResources:\n")
	body, outputs, found := strings.Cut(rest, "\nOutputs:\n")
	if !found {
		e.t.Fatalf("%s has no outputs", path)
	}
	kept := tp.resources()
	starts := regexp.MustCompile(`(?m)^  (\w+):$`).FindAllStringSubmatchIndex(body, -1)
	var b strings.Builder
	for i, at := range starts {
		end := len(body)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		if r, ok := kept[body[at[2]:at[3]]]; ok && !slices.Contains(unmodelled, r["Type"].(string)) {
			b.WriteString(body[at[0]:end])
		}
	}
	text := head + "\nResources:\n" + b.String() + "\nOutputs:\n" + outputs
	for _, p := range slices.Sorted(maps.Keys(unresolved)) {
		text = regexp.MustCompile(p).ReplaceAllString(text, unresolved[p])
	}
	e.write("deploy/"+path, text)
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

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// run returns what the command prints on both streams.
func (e *emulator) run(want int, name string, args ...string) string {
	e.t.Helper()
	if own := filepath.Join("bin", name); !strings.Contains(name, "/") && exists(filepath.Join(e.dir, own)) {
		name = own // not as the test's own PATH has it
	}
	cmd := exec.Command(name, args...)
	if strings.Contains(name, "/") {
		cmd = exec.Command(filepath.Join(e.dir, name), args...)
	}
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

// push does what the pipeline's build does last: an image with its time and its commit as tags.
func (e *emulator) push(repository string, tags ...string) {
	e.t.Helper()
	for _, tag := range tags {
		manifest := `{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"digest":"sha256:` +
			strings.Repeat("0", 64-len(tag)) + tag + `"},"layers":[]}`
		e.aws("ecr", "put-image", "--repository-name", repository, "--image-tag", tag, "--image-manifest", manifest)
	}
}
