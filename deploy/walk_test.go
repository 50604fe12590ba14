package deploy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/e2e/harness"
	"github.com/taksuehiro/vectorstore/internal/embed/embedtest"
)

// walk is a person who types the guide's commands, in its order, into one shell, and looks whether the page told the
// truth. AWS is moto. What AWS does by itself happens in between (before): a build pushes an image, tasks start.
type walk struct {
	*emulator
	t       *testing.T
	in      io.Writer
	out     *bufio.Reader
	params  string            // the parameters file that the person edits
	values  map[string]string // placeholders of the page
	events  []event           // in the order in which they happen
	excuses map[string]bool   // entries of notPrinted that were needed
	server  *harness.Server
	indexer *harness.Indexer
	openai  string
}

// event is what happens before the next command that begins like this.
type event struct {
	command string
	do      func()
}

func (w *walk) before(command string, do func()) { w.events = append(w.events, event{command, do}) }

func connectionOf(account string) string {
	return "arn:aws:codestar-connections:ap-northeast-1:" + account + ":connection/1"
}

// startWalk needs an account as it is before the first command; vars go to moto.
func startWalk(t *testing.T, vars ...string) *walk {
	t.Helper()
	w := &walk{t: t, emulator: startEmulator(t, vars...), values: map[string]string{}, excuses: map[string]bool{}}
	fake := httptest.NewServer(embedtest.New(embedtest.Options{}))
	t.Cleanup(fake.Close)
	w.openai = fake.URL + "/v1"
	w.env = append(w.env, "OPENAI_BASE_URL="+w.openai)
	for _, f := range []string{"params/example.json", "params/vendor0919.json", "prometheus/prometheus.yml", "prometheus/rules.yml", "prometheus/rules_test.yml"} {
		w.write("deploy/"+f, readFile(t, f))
	}
	if account, ok := strings.CutPrefix(vars[0], "MOTO_ACCOUNT_ID="); ok {
		w.write("connections.json", `{"Connections": [{"ConnectionStatus": "AVAILABLE", "ConnectionArn": "`+connectionOf(account)+`"}]}`)
	}
	w.write("vendors.json", readFile(t, "../testdata/vendors.json"))
	if err := os.Symlink(harness.Binary(t, "indexer"), filepath.Join(w.dir, "bin", "indexer")); err != nil {
		t.Fatal(err)
	}
	w.shell()
	return w
}

func (w *walk) shell() {
	cmd := exec.Command("bash", "--norc")
	cmd.Dir, cmd.Env = w.dir, w.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	stop := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	timer := time.AfterFunc(25*time.Minute, stop) // a command that hangs ends with what it has printed
	w.t.Cleanup(func() { timer.Stop(); stop(); _ = cmd.Wait() })
	w.in, w.out = in, bufio.NewReader(out)
}

var done = regexp.MustCompile(`^@@ (\d+) @@$`)

// typed runs one line of the page and returns what it prints, without empty lines and overwritten progress.
func (w *walk) typed(command string) (printed []string, exit string) {
	fmt.Fprintf(w.in, "{ %s\n} </dev/null 2>&1; printf '\\n@@ %%d @@\\n' $?\n", command)
	for {
		l, err := w.out.ReadString('\n')
		if err != nil {
			w.t.Fatalf("%s: the shell ended: %v\n%s", command, err, strings.Join(printed, "\n"))
		}
		l = strings.TrimSpace(l[strings.LastIndexByte(strings.TrimRight(l, "\r\n"), '\r')+1:])
		if m := done.FindStringSubmatch(l); m != nil {
			return printed, m[1]
		}
		if l != "" && !strings.HasPrefix(l, `{"time":`) { // the log is no result
			printed = append(printed, spaces.ReplaceAllString(l, " "))
		}
	}
}

// follow the page through some of its sections.
func (w *walk) follow(which ...int) {
	wanted := map[int]bool{}
	for _, s := range which {
		wanted[s] = true
	}
	fill := func(s string) string {
		return placeholder.ReplaceAllStringFunc(s, func(p string) string {
			if v, ok := w.values[p]; ok {
				return v
			}
			return p
		})
	}
	for _, s := range steps(w.t, guide) {
		if !wanted[s.section] {
			continue
		}
		var printed, shown []string
		for _, c := range s.commands {
			if !runs(c, map[string]bool{}) {
				shown = nil
				continue
			}
			if len(w.events) > 0 && strings.HasPrefix(c, w.events[0].command) {
				do := w.events[0].do
				w.events = w.events[1:]
				do()
			}
			got, exit := w.typed(strings.ReplaceAll(fill(c), "/tmp/", w.dir+"/"))
			// diff tells by it that there are differences.
			if exit != "0" && !strings.HasPrefix(c, "diff ") {
				w.t.Fatalf("%s:%d: %s: exit %s\n%s", guide, s.line, c, exit, strings.Join(got, "\n"))
			}
			printed = append(printed, got...)
			shown = s.shown
		}
		if shown == nil {
			continue
		}
		for i := range shown {
			shown[i] = fill(shown[i])
		}
		if wrong, ok := compare(shown, printed, w.excuses); !ok {
			w.t.Errorf("%s:%d: %s\n%s", guide, s.line, wrong, strings.Join(printed, "\n"))
		}
	}
	for _, e := range w.events {
		w.t.Errorf("the page has no command %q there", e.command)
	}
}

// edit the parameters file, as a person does.
func (w *walk) edit(change func(account string, present, parameters map[string]string)) {
	w.t.Helper()
	var p struct {
		Region, AccountId, DataStack, CoreStack, MonitoringStack, PipelineStack string
		Present, Parameters                                                     map[string]string
	}
	b, err := os.ReadFile(filepath.Join(w.dir, w.params))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := json.Unmarshal(b, &p); err != nil {
		w.t.Fatal(err)
	}
	before := maps.Clone(p.Parameters)
	change(p.AccountId, p.Present, p.Parameters)
	// What is not changed stays byte for byte: the page shows a difference of two files.
	text := string(b)
	for k, v := range p.Parameters {
		if v != before[k] {
			text = regexp.MustCompile(`"`+k+`": "[^"]*"`).ReplaceAllLiteralString(text, `"`+k+`": "`+v+`"`)
		}
	}
	w.write(w.params, text)
	for placeholder, name := range map[string]string{"<bucket>": "BucketName", "<cluster>": "ClusterName", "<project>": "Project", "<repository>": "RepositoryName"} {
		w.values[placeholder] = p.Parameters[name]
	}
	w.values["<old service>"] = p.Present["Service"]
}

// network makes a VPC with two subnets in two zones, and returns their ids.
func (w *walk) network() (vpc, subnets string) {
	vpc = w.aws("ec2", "create-vpc", "--cidr-block", "10.0.0.0/16", "--query", "Vpc.VpcId")
	var ids []string
	for i, zone := range []string{"ap-northeast-1a", "ap-northeast-1c"} {
		ids = append(ids, w.aws("ec2", "create-subnet", "--vpc-id", vpc, "--availability-zone", zone,
			"--cidr-block", fmt.Sprintf("10.0.%d.0/24", i), "--query", "Subnet.SubnetId"))
	}
	return vpc, strings.Join(ids, ",")
}

// startTasks does what ECS does for a service: it runs the program with the environment of the task definition. Our own
// programs start, on this machine, and curl asks them when it is asked for the load balancer.
func (w *walk) startTasks(names ...string) {
	w.t.Helper()
	project, cluster := w.values["<project>"], w.values["<cluster>"]
	for _, name := range names {
		var containers []struct {
			Environment []struct{ Name, Value string }
		}
		arn := w.aws("ecs", "describe-services", "--cluster", cluster, "--services", project+"-"+name, "--query", "services[0].taskDefinition")
		out := w.run(0, "aws", "ecs", "describe-task-definition", "--task-definition", arn, "--query", "taskDefinition.containerDefinitions", "--output", "json")
		if err := json.Unmarshal([]byte(out), &containers); err != nil || len(containers) != 1 {
			w.t.Fatalf("%s: %v %s", arn, err, out)
		}
		env := map[string]string{}
		for _, e := range containers[0].Environment {
			env[e.Name] = e.Value
		}
		// A place of its own on this machine, and faster than in the field.
		maps.Copy(env, map[string]string{
			"LISTEN_ADDR": "127.0.0.1:0", "ADMIN_ADDR": "127.0.0.1:0", "VECTORSTORE_LOCAL_DIR": w.t.TempDir(), "DRAIN_TIME": "0s",
			"AWS_ENDPOINT_URL_S3": w.url, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "NO_PROXY": "127.0.0.1",
			"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": w.openai, "POLL_INTERVAL": "300ms", "RESYNC_INTERVAL": "500ms",
		})
		if name == "server" {
			w.server = harness.StartServer(w.t, env)
			// Whatever name the load balancer has, curl finds the server behind it.
			w.write("bin/curl", fmt.Sprintf("#!/bin/sh\nexec /usr/bin/curl --noproxy '*' --connect-to ::%s \"$@\"\n", strings.TrimPrefix(w.server.URL, "http://")))
		} else {
			w.indexer = harness.StartIndexer(w.t, env)
		}
	}
	w.server.Await(w.t, "server ready", 1)
}

// register does what CloudFormation does when the image changes. moto makes the task definitions of a new stack, but loses
// their containers and half of the wanted numbers of tasks when a stack is updated.
func (w *walk) register(tag string) {
	w.t.Helper()
	project, cluster := w.values["<project>"], w.values["<cluster>"]
	for name, tasks := range map[string]string{"server": "2", "indexer": "1"} {
		first := w.run(0, "aws", "ecs", "describe-task-definition", "--task-definition", project+"-"+name+":1", "--query",
			"taskDefinition.{family:family,containerDefinitions:containerDefinitions}", "--output", "json")
		w.write("definition.json", strings.ReplaceAll(first, ":none\"", ":"+tag+"\""))
		arn := w.aws("ecs", "register-task-definition", "--cli-input-json", "file://definition.json",
			"--requires-compatibilities", "FARGATE", "--network-mode", "awsvpc", "--cpu", "512", "--memory", "2048", "--query", "taskDefinition.taskDefinitionArn")
		w.aws("ecs", "update-service", "--cluster", cluster, "--service", project+"-"+name, "--task-definition", arn, "--desired-count", tasks, "--query", "service.status")
	}
}

// found sets <url> to the load balancer's name.
func (w *walk) found(balancer string) {
	w.values["<url>"] = "http://" + w.aws("elbv2", "describe-load-balancers", "--names", balancer, "--query", "LoadBalancers[0].DNSName")
}
