package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

func TestBuildUsesTheFileInTheRepository(t *testing.T) {
	tp := load(t, pipelinePath, nil)
	build := tp.ofType("AWS::CodeBuild::Project")["Build"]
	if got := dig(t, build, "Source", "BuildSpec"); got != "buildspec.yml" {
		t.Errorf("build spec %v: an inline one hides every change of the file", got)
	}
	readFile(t, "../buildspec.yml")
	if dig(t, build, "Environment", "PrivilegedMode") != true {
		t.Error("docker build needs privileged mode")
	}
}

func TestPipelineStagesAndProviders(t *testing.T) {
	tp := load(t, pipelinePath, map[string]string{"Branch": "main"})
	var got []string
	for _, s := range list(tp.ofType("AWS::CodePipeline::Pipeline")["Pipeline"]["Stages"]) {
		for _, a := range list(dig(t, s, "Actions")) {
			id := dig(t, a, "ActionTypeId").(map[string]any)
			if id["Owner"] != "AWS" || id["Version"] != "1" {
				t.Errorf("action %v: %v", a.(map[string]any)["Name"], id)
			}
			conf := dig(t, a, "Configuration").(map[string]any)
			got = append(got, fmt.Sprint(dig(t, s, "Name"), " ", id["Provider"], " ", conf["ProjectName"], " ", conf["BranchName"]))
		}
	}
	want := []string{"Source CodeStarSourceConnection <nil> main", "Build CodeBuild <Build> <nil>", "Deploy CodeBuild <Deploy> <nil>"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if dig(t, load(t, corePath, scenarios["from nothing"]).root, "Outputs", "TaskRoleArns", "Export", "Name", "Fn::Sub") != "${Project}-task-roles" {
		t.Error("the pipeline imports ${Project}-task-roles")
	}
}

// Packages of Debian that were mended since the last push reach the image once a week.
func TestTheImageIsMadeAnewEveryWeek(t *testing.T) {
	tp := load(t, pipelinePath, nil)
	rule := tp.ofType("AWS::Events::Rule")["Weekly"]
	if rule["ScheduleExpression"] != "cron(0 18 ? * SUN *)" || dig(t, rule, "Targets", 0, "RoleArn") != "<WeeklyRole.Arn>" {
		t.Errorf("%v", rule)
	}
	pipeline := "arn:aws:codepipeline:ap-northeast-1:111122223333:<Pipeline>"
	if got := dig(t, rule, "Targets", 0, "Arn"); got != pipeline {
		t.Errorf("starts %v", got)
	}
	want := map[string]map[string]any{"Start": allow([]any{pipeline}, "codepipeline:StartPipelineExecution")}
	if d := cmp.Diff(want, statements(t, tp, "WeeklyRole")); d != "" {
		t.Error(d)
	}
	if got := load(t, pipelinePath, map[string]string{"WeeklyRebuild": "no"}); len(got.ofType("AWS::Events::Rule")) > 0 || got.ofType("AWS::IAM::Role")["WeeklyRole"] != nil {
		t.Error("it cannot be turned off")
	}
}

// The pipeline is one more place from which deploy.sh is run: with the same lock, and with the image that was just built.
func TestThePipelineDeploysAsPeopleDo(t *testing.T) {
	t.Parallel()
	tp := load(t, pipelinePath, map[string]string{"BucketName": "bkt"})
	deploy := tp.ofType("AWS::CodeBuild::Project")["Deploy"]
	env := []string{"AWS_REGION=ap-northeast-1", "PATH=" + os.Getenv("PATH")}
	for _, e := range list(dig(t, deploy, "Environment", "EnvironmentVariables")) {
		e := e.(map[string]any)
		env = append(env, fmt.Sprint(e["Name"], "=", e["Value"]))
	}
	action := dig(t, tp.ofType("AWS::CodePipeline::Pipeline")["Pipeline"], "Stages", 2, "Actions", 0, "Configuration", "EnvironmentVariables")
	build := dig(t, tp.ofType("AWS::CodePipeline::Pipeline")["Pipeline"], "Stages", 1, "Actions", 0, "Namespace")
	if action != `[{"name":"IMAGE_TAG","value":"#{build.IMAGE_TAG}"}]` || build != "build" || !slices.Contains(loadBuildspec(t, "../buildspec.yml").Env.Exported, "IMAGE_TAG") {
		t.Errorf("the image does not reach the deployment: %v, %v", action, build)
	}
	spec := loadBuildspec(t, "buildspec.yml")
	if got := dig(t, deploy, "Source", "BuildSpec"); got != "deploy/buildspec.yml" || len(spec.Phases.Build.Commands) != 2 {
		t.Fatalf("%v: %q", got, spec.Phases.Build.Commands)
	}
	// Its parameters are read by the script as those of a file are.
	file := filepath.Join(t.TempDir(), "params.json")
	cmd := exec.Command("bash", "-euc", strings.ReplaceAll(spec.Phases.Build.Commands[0], "/tmp/params.json", file))
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	a := held(t, 0)
	_, log, code := script(t, a, "deploy.sh", "--params", file, newTag)
	if code != 0 || a.Objects[lockKey].Writes < 9 {
		t.Errorf("exit %d, %v: %s", code, a.Objects[lockKey], log)
	}
	for ask, want := range map[string]string{"yes": "--params /tmp/params.json 1", "no": "--params /tmp/params.json --skip-health 1"} {
		line := strings.Replace(spec.Phases.Build.Commands[1], "deploy/deploy.sh", "echo", 1)
		cmd := exec.Command("bash", "-euc", line)
		cmd.Env = []string{"ASK_HEALTH=" + ask, "IMAGE_TAG=1"}
		if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%s: %v %s", ask, err, out)
		}
	}
}

// What the script calls, the role of the pipeline's deployment may do, on these two services and this one lock.
func TestTheDeployRoleHoldsWhatTheScriptNeeds(t *testing.T) {
	tp := load(t, pipelinePath, map[string]string{"BucketName": "bkt"})
	got := statements(t, tp, "DeployRole")
	services := []any{"arn:aws:ecs:ap-northeast-1:111122223333:service/vectorstore/vectorstore-server", "arn:aws:ecs:ap-northeast-1:111122223333:service/vectorstore/vectorstore-indexer"}
	want := map[string]map[string]any{
		"DeployLock":              allow([]any{inBucket + "/" + lockKey}, "s3:GetObject", "s3:PutObject"),
		"DeployTheTwoServices":    allow(services, "ecs:DescribeServices", "ecs:UpdateService"),
		"ReadTaskDefinitions":     allow([]any{"*"}, "ecs:DescribeTaskDefinition", "ecs:RegisterTaskDefinition"),
		"FindImages":              allow([]any{"arn:aws:ecr:ap-northeast-1:111122223333:repository/vectorstore"}, "ecr:DescribeImages"),
		"FindTheUrl":              allow([]any{"*"}, "elasticloadbalancing:DescribeLoadBalancers"),
		"WaitForTheFirstSnapshot": allow(keys("current/manifest.json"), "s3:GetObject"),
	}
	for sid, w := range want {
		if d := cmp.Diff(w, got[sid]); d != "" {
			t.Errorf("%s: %s", sid, d)
		}
	}
	for _, sid := range []string{"PassTaskRoles", "WatchTasks", "TellAbsent"} {
		if got[sid]["Condition"] == nil {
			t.Errorf("%s: %v", sid, got[sid])
		}
	}
	if pipe := statements(t, tp, "PipelineRole"); len(pipe) != 4 {
		t.Errorf("the pipeline itself may more than start builds: %v", pipe)
	}
}

// buildspec is decoded strictly: an unknown key, which CodeBuild would ignore, fails.
type buildspec struct {
	Version string `yaml:"version"`
	Env     struct {
		Shell    string   `yaml:"shell"`
		Exported []string `yaml:"exported-variables"`
	} `yaml:"env"`
	Phases struct {
		PreBuild  commands `yaml:"pre_build"`
		Build     commands `yaml:"build"`
		PostBuild commands `yaml:"post_build"`
	} `yaml:"phases"`
	Artifacts struct {
		Files []string `yaml:"files"`
	} `yaml:"artifacts"`
}

type commands struct {
	Commands []string `yaml:"commands"`
}

func loadBuildspec(t *testing.T, path string) buildspec {
	t.Helper()
	var b buildspec
	dec := yaml.NewDecoder(strings.NewReader(readFile(t, path)), yaml.Strict(), yaml.DisallowUnknownField())
	if err := dec.Decode(&b); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBuildspecTestsThenBuildsThenPushes(t *testing.T) {
	b := loadBuildspec(t, "../buildspec.yml")
	if b.Version != "0.2" {
		t.Errorf("version %q: older ones run every command in a new shell and lose the variables", b.Version)
	}
	all := slices.Concat(b.Phases.PreBuild.Commands, b.Phases.Build.Commands, b.Phases.PostBuild.Commands)
	at := func(part string) int {
		i := slices.IndexFunc(all, func(c string) bool { return strings.Contains(c, part) })
		if i < 0 {
			t.Errorf("no command has %q", part)
		}
		return i
	}
	order := []int{at("$(date +%Y%m%d%H%M)"), at("docker login"), at("docker pull"), at("BASE_DIGEST=$("), at("make test"), at("docker build"), at("CODEBUILD_BUILD_SUCCEEDING"), at("docker push"), at("> imagedefinitions.json")}
	if !slices.IsSorted(order) {
		t.Errorf("order %v", order)
	}
	if build := all[at("docker build")]; !strings.Contains(build, "VERSION=") || !strings.Contains(build, `"$REPO_URI:$COMMIT"`) {
		t.Errorf("version or commit is not stamped: %s", build)
	}
	// Every image that is not ours comes from the mirror that the pipeline names.
	pulled := all[at("docker pull")]
	bases := regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(readFile(t, "../Dockerfile"), -1)
	bases = append(bases, regexp.MustCompile(`(\S+) make test`).FindAllStringSubmatch(all[at("make test")], -1)...)
	for _, m := range bases {
		if !strings.Contains(pulled, " "+m[1]+" ") && !strings.Contains(pulled, " "+m[1]+";") {
			t.Errorf("%s does not come from the mirror", m[1])
		}
	}
	if len(bases) < 3 {
		t.Errorf("bases %v", bases)
	}
	for _, c := range all {
		if strings.Contains(c, "\n") || strings.Contains(c, `\ `) {
			t.Errorf("a folded command: %q", c)
		}
		if out, err := exec.Command("bash", "-n", "-c", c).CombinedOutput(); err != nil {
			t.Errorf("%s: %s", c, out)
		}
	}
}

func TestImageDefinitionsNameTheContainers(t *testing.T) {
	b := loadBuildspec(t, "../buildspec.yml")
	dir := t.TempDir()
	for _, c := range b.Phases.PostBuild.Commands {
		if !strings.Contains(c, "printf") {
			continue
		}
		cmd := exec.Command("bash", "-euc", c)
		cmd.Dir, cmd.Env = dir, []string{"REPO_URI=registry/repo", "IMAGE_TAG=202601020304"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v %s", c, err, out)
		}
	}
	containers := map[string]string{}
	for name, task := range load(t, corePath, scenarios["from nothing"]).ofType("AWS::ECS::TaskDefinition") {
		containers[strings.ToLower(strings.TrimSuffix(name, "Task"))] = dig(t, task, "ContainerDefinitions", 0, "Name").(string)
	}
	for file, want := range map[string][]string{
		"imagedefinitions.json":         {containers["server"], containers["indexer"]},
		"imagedefinitions-server.json":  {containers["server"]},
		"imagedefinitions-indexer.json": {containers["indexer"]},
	} {
		if !slices.Contains(b.Artifacts.Files, file) {
			t.Errorf("%s is not an artifact", file)
		}
		var got []struct{ Name, ImageURI string }
		dec := json.NewDecoder(strings.NewReader(readFile(t, filepath.Join(dir, file))))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&got); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var names []string
		for _, d := range got {
			names = append(names, d.Name)
			if d.ImageURI != "registry/repo:202601020304" {
				t.Errorf("%s: image %q", file, d.ImageURI)
			}
		}
		if !slices.Equal(names, want) {
			t.Errorf("%s names %v, the task definitions have %v", file, names, want)
		}
	}
}

func TestComposeRunsWhatTheTemplatesRun(t *testing.T) {
	var c struct {
		Services map[string]struct {
			Image     string
			Build     string
			Ports     []string
			Command   any
			ReadOnly  bool `yaml:"read_only"`
			Volumes   []string
			DependsOn any `yaml:"depends_on"`
		}
		Volumes map[string]any
	}
	if err := yaml.Unmarshal([]byte(readFile(t, "../compose.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"minio", "bucket", "indexer", "server1", "server2", "haproxy", "prometheus", "grafana"} {
		if _, ok := c.Services[name]; !ok {
			t.Errorf("no service %s", name)
		}
	}
	// Docker Hub's short names with a version; a registry's host name has a dot or a port before the first slash.
	pinned := regexp.MustCompile(`^(?:[a-z0-9-]+/)?[a-z0-9-]+:(?:v?\d+\.\d+(?:\.\d+)?(?:-bookworm)?|RELEASE\.\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ)$`)
	for name, s := range c.Services {
		if s.Build == "" && !pinned.MatchString(s.Image) {
			t.Errorf("service %s: image %q", name, s.Image)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s opens %s to the network, with a key that everybody knows", name, p)
			}
		}
		var after []string
		switch d := s.DependsOn.(type) {
		case map[string]any:
			after = slices.Collect(maps.Keys(d))
		case []any:
			for _, a := range d {
				after = append(after, a.(string))
			}
		}
		for _, a := range after {
			if _, ok := c.Services[a]; !ok {
				t.Errorf("%s waits for %s, which is not there", name, a)
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if rest, isFile := strings.CutPrefix(from, "./"); isFile {
				if matches, _ := filepath.Glob("../" + rest); len(matches) == 0 {
					t.Errorf("%s mounts %s, which is not there", name, from)
				}
			} else if _, named := c.Volumes[from]; !named {
				t.Errorf("%s mounts the volume %s, which is not declared", name, from)
			}
		}
		if s.Build != "" && !s.ReadOnly {
			t.Errorf("%s: the root file system is writable", name)
		}
	}
	for _, target := range regexp.MustCompile(`'?(server\d|indexer):\d+`).FindAllString(readFile(t, "prometheus/compose.yml"), -1) {
		name, _, _ := strings.Cut(strings.Trim(target, "'"), ":")
		if _, ok := c.Services[name]; !ok {
			t.Errorf("Prometheus scrapes %s, which is not there", name)
		}
	}
}

// BuildKit's parser and linter live in a module of their own, which `go test ./...` does not enter by itself. Its tests
// read files outside of it, which its test cache does not watch.
func TestDockerfileParsesLintsAndMatchesTheTemplates(t *testing.T) {
	for _, f := range []string{"../Dockerfile", "../.dockerignore", "lint/go.mod", "lint/go.sum", "lint/dockerfile_test.go"} {
		readFile(t, f)
	}
	for _, args := range [][]string{{"vet", "./..."}, {"test", "-count=1", "./..."}} {
		cmd := exec.Command("go", args...)
		cmd.Dir = "lint"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("go %v: %v\n%s", args, err, out)
		}
	}
	dockerfile := readFile(t, "../Dockerfile")
	for name, task := range load(t, corePath, scenarios["from nothing"]).ofType("AWS::ECS::TaskDefinition") {
		c := dig(t, task, "ContainerDefinitions", 0).(map[string]any)
		if !strings.Contains(dockerfile, "USER "+c["User"].(string)) {
			t.Errorf("%s runs as %v, the image is made for another user", name, c["User"])
		}
		for _, m := range list(c["MountPoints"]) {
			if path := m.(map[string]any)["ContainerPath"].(string); !strings.Contains(dockerfile, `"`+path+`"`) {
				t.Errorf("%s mounts %s, which is no volume of the image: uid 10001 could not write there", name, path)
			}
		}
	}
}
