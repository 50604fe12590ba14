package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The scripts are run as they are, with this test binary on PATH under the name aws: a small account that remembers
// what was done to it. It knows the calls of deploy.sh; for the others it plays back Answers.
type account struct {
	Account     string
	Region      string
	Images      []string
	Services    map[string]*service       // by name
	Definitions map[string]map[string]any // by ARN
	Answers     map[string]any            // by "service operation", or "service operation subnet"
	Errors      map[string]string         // by "service operation": stderr of a call that fails
	NeverStable string                    // service on which a new revision stays IN_PROGRESS
	Breaker     string                    // service on which ECS gives a new revision up and rolls it back
	Events      []happening
	Fault       *fault
	StackFails  *aftermath
	ChangeSets  []object
	Stacks      map[string]*stack  // by name
	Objects     map[string]*stored // by key, of the one bucket that there is
	Calls       [][]string
}

// fault makes one call fail, or that and every later one of the same operation.
type fault struct {
	At   int // the call's number, from 0
	Kind string
	Ever bool
	Op   string // set by the first one that failed
}

// faults are the ways in which a call fails: what stands on stderr and stdout, the exit status, and whether AWS did what
// it was asked, so that only the answer is lost.
var faults = map[string]struct {
	stderr, stdout string
	code           int
	done           bool
}{
	"throttled": {stderr: "\nAn error occurred (ThrottlingException) when calling the X operation (reached max retries: 4): Rate exceeded", code: 254},
	"denied":    {stderr: "\nAn error occurred (AccessDeniedException) when calling the X operation: User: arn is not authorized to perform: x", code: 254},
	"empty":     {done: true},
	"html":      {stdout: "<html><body>Sign in to the hotel's network</body></html>\n", done: true},
	"timeout":   {stderr: "\nRead timeout on endpoint URL: \"https://x.ap-northeast-1.amazonaws.com/\"", code: 255, done: true},
}

// hits tells whether the call that was just added to Calls has to fail.
func (f *fault) hits(number int, op string) bool {
	if f == nil {
		return false
	}
	if number == f.At {
		f.Op = op
	}
	return number == f.At || f.Ever && f.Op == op && number > f.At
}

// happening is what goes on in the world at the Nth call (from 1) of an operation: the script gets a signal ("signal 15"),
// the indexer promotes a snapshot ("promote"), somebody steals the lock ("steal"), or puts a revision of his own on a service ("usurp vectorstore-server").
type happening struct {
	Op  string
	Nth int
	Do  string
}

func (a *account) happen(op string) error {
	nth := 0
	for _, c := range a.Calls {
		if c[0]+" "+c[1] == op {
			nth++
		}
	}
	for _, h := range a.Events {
		if h.Op != op || h.Nth != nth {
			continue
		}
		what, of, _ := strings.Cut(h.Do, " ")
		switch what {
		case "signal":
			pid, err := strconv.Atoi(os.Getenv("SCRIPT_PID"))
			if err != nil {
				return err
			}
			number, err := strconv.Atoi(of)
			if err != nil {
				return err
			}
			if err := syscall.Kill(pid, syscall.Signal(number)); err != nil {
				return err
			}
		case "promote":
			a.Objects["vectorstore/prod/current/manifest.json"] = &stored{Body: "{}"}
		case "steal":
			a.Objects[lockKey] = &stored{Body: `{"id": "thief", "what": "deploy of 209901010000", "who": "thief@night", "until": 9999999999}`, Writes: 1000}
		case "usurp":
			a.Services[of].Definition = "arn:aws:ecs:r:1:task-definition/" + of + ":77"
		}
	}
	return nil
}

type service struct {
	Definition string
	First      string // the revision it had at the start
	Desired    int
	Looks      int // describes left until the rollout is complete
	Failed     string
}

type stack struct {
	Status     string
	Parameters map[string]string
	Resources  map[string]string // physical ids
	Template   string
	Changes    []any // of the change set that was made last
}

// aftermath is what the services have when the update of a stack has failed.
type aftermath struct {
	Definitions map[string]string
	Desired     map[string]int
}

// stored is an object; its ETag is the number of its writes.
type stored struct {
	Body   string
	Writes int
}

func (o *stored) etag() string { return fmt.Sprintf("%q", fmt.Sprint("etag-", o.Writes)) }

// readOnly operations start with one of these.
var readOnly = []string{"describe-", "get-", "list-", "head-", "batch-get-"}

func (a *account) mutations() (out []string) {
	for _, c := range a.Calls {
		if isChange(c) {
			out = append(out, c[0]+" "+c[1])
		}
	}
	return out
}

// isRead tells a call that changes nothing from one that does.
func isRead(call []string) bool {
	return slices.ContainsFunc(readOnly, func(p string) bool { return strings.HasPrefix(call[1], p) })
}

// isLock tells the calls that take, renew and give back the lock.
func isLock(call []string) bool { return slices.Contains(call, lockKey) }

func isChange(call []string) bool { return !isRead(call) && !isLock(call) }

const lockKey = "deploy/vectorstore/lock.json"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "aws" {
		os.Exit(stubMain(os.Args[1:]))
	}
	// A signal that is caught here is on its default in the scripts; one that is ignored, as under nohup, they could not trap.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	os.Exit(m.Run())
}

// stubMain is the aws command: global options, service, operation, options.
func stubMain(args []string) int {
	path := os.Getenv("AWS_STUB")
	if slices.Contains(args, "--if-none-match") {
		meet(os.Getenv("AWS_STUB_MEETING"))
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX) // until the process ends
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 255
	}
	a := &account{}
	if err := json.Unmarshal(b, a); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 255
	}
	if slices.Contains(args, "--generate-cli-skeleton") {
		fmt.Println(os.Getenv("AWS_STUB_SKELETON"))
		return 0
	}
	var call []string
	opts := map[string]string{}
	for i := 0; i < len(args); i++ {
		if name, ok := strings.CutPrefix(args[i], "--"); ok {
			if i+1 < len(args) && !strings.HasPrefix(args[i+1], "--") {
				i++
				opts[name] = args[i]
			} else {
				opts[name] = ""
			}
			continue
		}
		call = append(call, args[i])
	}
	if len(call) < 2 {
		fmt.Fprintln(os.Stderr, "usage: aws service operation")
		return 252
	}
	a.Calls = append(a.Calls, append(call, args...))
	op := call[0] + " " + call[1]
	how := faults["none"]
	failing := a.Fault.hits(len(a.Calls)-1, op)
	if failing {
		how = faults[a.Fault.Kind]
	}
	err = a.happen(op)
	var out any
	if !failing || how.done {
		out, err = a.answer(op, opts)
	}
	if failing {
		err = nil
	}
	if b, merr := json.Marshal(a); merr == nil {
		merr = os.WriteFile(path, b, 0o600)
		err = errors.Join(err, merr)
	}
	if failing && err == nil {
		fmt.Fprint(os.Stderr, how.stderr)
		fmt.Print(how.stdout)
		return how.code
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 254
	}
	if out != nil {
		_ = json.NewEncoder(os.Stdout).Encode(out)
	}
	return 0
}

// meet waits until two scripts are in this place.
func meet(dir string) {
	if dir == "" {
		return
	}
	_ = os.WriteFile(filepath.Join(dir, os.Getenv("SCRIPT_PID")), nil, 0o600)
	for tries := 0; tries < 6000; tries++ {
		if there, _ := os.ReadDir(dir); len(there) >= 2 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

type object = map[string]any

func (a *account) answer(op string, opts map[string]string) (any, error) {
	if msg, ok := a.Errors[op]; ok {
		return nil, errors.New(msg)
	}
	if opts["region"] != a.Region {
		return nil, fmt.Errorf("called for region %q", opts["region"])
	}
	if v, ok := a.Answers[op+" "+opts["subnet-ids"]]; ok {
		return v, nil
	}
	if v, ok := a.Answers[op]; ok {
		return v, nil
	}
	switch op {
	case "s3api put-object":
		return a.put(opts)
	case "s3api head-object":
		if a.Objects[opts["key"]] == nil {
			return nil, errors.New("\nAn error occurred (404) when calling the HeadObject operation: Not Found")
		}
		return object{"ContentLength": 1}, nil
	case "s3api get-object":
		o := a.Objects[opts["key"]]
		if o == nil {
			return nil, errors.New("\nAn error occurred (NoSuchKey) when calling the GetObject operation: The specified key does not exist.")
		}
		return object{"ETag": o.etag()}, os.WriteFile(a.Calls[len(a.Calls)-1][2], []byte(o.Body), 0o600)
	case "sts get-caller-identity":
		return object{"Account": a.Account}, nil
	case "ecr describe-images":
		return a.describeImages(opts)
	case "ecs describe-services":
		return a.describeService(opts["services"])
	case "ecs describe-task-definition":
		if d := a.Definitions[opts["task-definition"]]; d != nil {
			return object{"taskDefinition": d}, nil
		}
		return nil, errors.New("An error occurred (ClientException): Unable to describe task definition.")
	case "ecs register-task-definition":
		return a.register(opts["cli-input-json"])
	case "ecs update-service":
		s := a.Services[opts["service"]]
		s.Definition, s.Looks, s.Failed = opts["task-definition"], 2, ""
		if n, ok := opts["desired-count"]; ok {
			s.Desired, _ = strconv.Atoi(n)
		}
		return object{}, nil
	case "ecs list-tasks":
		return object{"taskArns": []string{"arn:task/1"}}, nil
	case "ecs describe-tasks":
		return object{"tasks": []any{object{"stoppedReason": "Essential container in task exited", "containers": []any{object{"exitCode": 2}}}}}, nil
	case "cloudformation deploy":
		return nil, a.deployStack(opts["stack-name"])
	case "cloudformation describe-stack-resources":
		resources := []any{}
		for _, k := range slices.Sorted(maps.Keys(a.Stacks[opts["stack-name"]].Resources)) {
			resources = append(resources, object{"LogicalResourceId": k, "PhysicalResourceId": a.Stacks[opts["stack-name"]].Resources[k]})
		}
		return object{"StackResources": resources}, nil
	case "cloudformation get-template":
		return object{"TemplateBody": a.Stacks[opts["stack-name"]].Template}, nil
	case "cloudformation create-change-set", "cloudformation describe-change-set", "cloudformation execute-change-set", "cloudformation delete-change-set":
		return a.changeSet(strings.Split(op, " ")[1], opts)
	case "cloudformation describe-stacks":
		return a.describeStack(opts["stack-name"])
	}
	return nil, fmt.Errorf("An error occurred (ResourceNotFoundException) when calling %s: not found", op)
}

// put as S3 does it: the conditions are checked in the same instant.
func (a *account) put(opts map[string]string) (any, error) {
	o := a.Objects[opts["key"]]
	_, fresh := opts["if-none-match"]
	match, replace := opts["if-match"]
	if fresh && o != nil || replace && (o == nil || o.etag() != match) {
		return nil, errors.New("\nAn error occurred (PreconditionFailed) when calling the PutObject operation: At least one of the pre-conditions you specified did not hold")
	}
	b, err := os.ReadFile(opts["body"])
	if err != nil {
		return nil, err
	}
	if o == nil {
		o = &stored{}
		if a.Objects == nil {
			a.Objects = map[string]*stored{}
		}
		a.Objects[opts["key"]] = o
	}
	o.Body, o.Writes = string(b), o.Writes+1
	return object{"ETag": o.etag()}, nil
}

func (a *account) describeImages(opts map[string]string) (any, error) {
	if id, ok := opts["image-ids"]; ok {
		if tag := strings.TrimPrefix(id, "imageTag="); !slices.Contains(a.Images, tag) {
			return nil, errors.New("An error occurred (ImageNotFoundException) when calling the DescribeImages operation")
		}
	}
	var details []any
	for _, tag := range a.Images {
		details = append(details, object{"imageTags": []string{tag}})
	}
	return object{"imageDetails": details}, nil
}

func (a *account) describeService(name string) (any, error) {
	s := a.Services[name]
	if s == nil {
		return object{"services": []any{}, "failures": []any{object{"reason": "MISSING"}}}, nil
	}
	primary := object{"status": "PRIMARY", "taskDefinition": s.Definition, "rolloutState": "COMPLETED"}
	deployments := []any{primary}
	switch fresh := s.Definition != s.First; {
	case fresh && name == a.NeverStable:
		primary["rolloutState"] = "IN_PROGRESS"
	case fresh && name == a.Breaker && s.Looks == 0:
		s.Failed, s.Definition = s.Definition, s.First
		primary["taskDefinition"] = s.First
	case s.Looks > 0:
		s.Looks--
		primary["rolloutState"] = "IN_PROGRESS"
		deployments = append(deployments, object{"status": "ACTIVE", "taskDefinition": s.First, "rolloutState": "COMPLETED"})
	}
	if s.Failed != "" {
		deployments = append(deployments, object{"status": "INACTIVE", "taskDefinition": s.Failed, "rolloutState": "FAILED"})
	}
	return object{"services": []any{object{
		"status": "ACTIVE", "taskDefinition": s.Definition, "desiredCount": s.Desired, "runningCount": s.Desired,
		"deployments": deployments, "events": []any{object{"message": "(service " + name + ") was unable to place a task"}},
	}}}, nil
}

func (a *account) register(arg string) (any, error) {
	b, err := os.ReadFile(strings.TrimPrefix(arg, "file://"))
	if err != nil {
		return nil, err
	}
	var d map[string]any
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, err
	}
	for _, k := range []string{"taskDefinitionArn", "revision", "status", "requiresAttributes", "compatibilities", "registeredAt", "registeredBy"} {
		if _, ok := d[k]; ok {
			return nil, fmt.Errorf("Parameter validation failed: Unknown parameter in input: %q", k)
		}
	}
	return object{"taskDefinition": a.Definitions[a.add(d)]}, nil
}

// add registers the next revision of a family.
func (a *account) add(d object) string {
	revision := 2
	arn := func() string { return fmt.Sprintf("arn:aws:ecs:r:1:task-definition/%s:%d", d["family"], revision) }
	for a.Definitions[arn()] != nil {
		revision++
	}
	out := maps.Clone(d)
	out["taskDefinitionArn"], out["revision"], out["status"] = arn(), revision, "ACTIVE"
	a.Definitions[arn()] = out
	return arn()
}

// deployStack does to the services what CloudFormation does: the core stack registers a revision of each family from its
// parameters. While it is made, it makes the services.
func (a *account) deployStack(name string) error {
	s := a.Stacks[name]
	if s == nil {
		s = &stack{Status: "CREATE_COMPLETE", Parameters: map[string]string{}, Resources: map[string]string{}}
		if a.Stacks == nil {
			a.Stacks = map[string]*stack{}
		}
		a.Stacks[name] = s
	} else {
		s.Status = "UPDATE_COMPLETE"
	}
	if s.Parameters == nil {
		s.Parameters = map[string]string{}
	}
	call := a.Calls[len(a.Calls)-1]
	for _, kv := range call[slices.Index(call, "--parameter-overrides")+1:] {
		k, v, _ := strings.Cut(kv, "=")
		s.Parameters[k] = v
	}
	if !slices.ContainsFunc(call, func(arg string) bool { return strings.HasSuffix(arg, "/core.yaml") }) {
		return nil
	}
	if a.Services == nil {
		a.Services = map[string]*service{}
	}
	if a.Definitions == nil {
		a.Definitions = map[string]map[string]any{}
	}
	for resource, name := range map[string]string{"ServerTask": "server", "IndexerTask": "indexer"} {
		family := s.Parameters["Project"] + "-" + name
		d := stackDefinition(family, name, s.Parameters["ImageTag"], s.Parameters["AllowedOrigins"])
		arn := a.add(d)
		s.Resources[resource] = arn
		if svc := a.Services[family]; svc == nil {
			count := 1
			if s.Parameters["Creating"] == "yes" {
				count = 0
			}
			a.Services[family] = &service{Definition: arn, First: arn, Desired: count}
		}
	}
	if a.StackFails != nil {
		for service, definition := range a.StackFails.Definitions {
			a.Services[service].Definition = definition
		}
		for service, count := range a.StackFails.Desired {
			a.Services[service].Desired = count
		}
		s.Status = "UPDATE_ROLLBACK_COMPLETE"
		return errors.New("Failed to create/update the stack.")
	}
	return nil
}

// stackDefinition is what core.yaml says of a task, as far as the scripts look.
func stackDefinition(family, name, tag, origins string) object {
	return object{"family": family, "cpu": "512", "containerDefinitions": []any{object{
		"name": name, "image": "111122223333.dkr.ecr.ap-northeast-1.amazonaws.com/vectorstore:" + tag,
		"environment": []any{object{"name": "ALLOWED_ORIGINS", "value": origins}},
	}}}
}

// changeSet makes, shows, carries out or forgets the one change set of a stack.
func (a *account) changeSet(what string, opts map[string]string) (any, error) {
	s := a.Stacks[opts["stack-name"]]
	switch what {
	case "create-change-set":
		body, err := os.ReadFile(strings.TrimPrefix(opts["template-body"], "file://"))
		if err != nil {
			return nil, err
		}
		if s == nil {
			s = &stack{Status: "REVIEW_IN_PROGRESS", Resources: map[string]string{}}
			a.Stacks[opts["stack-name"]] = s
		}
		a.ChangeSets = append(a.ChangeSets, object{"stack": opts["stack-name"], "type": opts["change-set-type"], "template": string(body)})
		for _, name := range []string{"parameters", "resources-to-import"} {
			if path, ok := opts[name]; ok {
				b, err := os.ReadFile(strings.TrimPrefix(path, "file://"))
				if err != nil {
					return nil, err
				}
				var list []any
				if err := json.Unmarshal(b, &list); err != nil {
					return nil, err
				}
				a.ChangeSets[len(a.ChangeSets)-1][name] = list
				if name == "resources-to-import" {
					s.Changes = nil
					for _, r := range list {
						r := r.(object)
						s.Changes = append(s.Changes, object{"ResourceChange": object{"Action": "Import", "LogicalResourceId": r["LogicalResourceId"], "ResourceType": r["ResourceType"]}})
					}
				}
			}
		}
	case "describe-change-set":
		return object{"Status": "CREATE_COMPLETE", "Changes": s.Changes}, nil
	case "execute-change-set":
		s.Status = "UPDATE_COMPLETE"
		last := a.ChangeSets[len(a.ChangeSets)-1]
		s.Template = last["template"].(string)
		if last["type"] == "IMPORT" {
			s.Status = "IMPORT_COMPLETE"
		}
		last["executed"] = true
	}
	return object{}, nil
}

func (a *account) describeStack(name string) (any, error) {
	s := a.Stacks[name]
	if s == nil {
		return nil, errors.New(strings.ReplaceAll(stackGone, "vectorstore-core", name))
	}
	parameters := []any{}
	for _, k := range slices.Sorted(maps.Keys(s.Parameters)) {
		parameters = append(parameters, object{"ParameterKey": k, "ParameterValue": s.Parameters[k]})
	}
	return object{"Stacks": []any{object{"StackStatus": s.Status, "Outputs": []any{}, "Parameters": parameters}}}, nil
}

// script runs a script of this folder against the account (nil: none) and brings back what became of it.
func script(t *testing.T, a *account, name string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	w := newWorld(t, a)
	r := w.start(nil, name, args...)
	stdout, stderr, code = r.wait()
	w.read(a)
	return stdout, stderr, code
}

// world is where scripts run: the account as a file, and the programs that they find.
type world struct {
	t   *testing.T
	dir string
}

func newWorld(t *testing.T, a *account) *world {
	t.Helper()
	if _, err := exec.LookPath("jq"); err != nil {
		t.Fatal("jq is needed: apt-get install jq")
	}
	w := &world{t: t, dir: t.TempDir()}
	if a == nil {
		return w
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The scripts count looks, not seconds: without sleep they are as patient and much faster.
	for name, target := range map[string]string{"aws": self, "sleep": "/bin/true"} {
		if err := os.Symlink(target, filepath.Join(w.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	w.write(a)
	return w
}

func (w *world) file() string { return filepath.Join(w.dir, "account.json") }

func (w *world) write(a *account) {
	w.t.Helper()
	b, err := json.Marshal(a)
	if err == nil {
		err = os.WriteFile(w.file(), b, 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) read(a *account) {
	w.t.Helper()
	if a == nil {
		return
	}
	*a = account{}
	if err := json.Unmarshal([]byte(readFile(w.t, w.file())), a); err != nil {
		w.t.Fatal(err)
	}
}

type started struct {
	t        *testing.T
	cmd      *exec.Cmd
	out, err bytes.Buffer
}

func (w *world) start(env []string, name string, args ...string) *started {
	w.t.Helper()
	// Go's test cache knows only the files that this process reads.
	for _, f := range []string{name, "aws.sh", "lock.sh", "services.sh", "deploy.sh", "stack.sh", "split.sh", "cloudformation/data.yaml", "cloudformation/core.yaml", "cloudformation/monitoring.yaml", pipelinePath} {
		readFile(w.t, f)
	}
	r := &started{t: w.t}
	r.cmd = exec.Command("bash", append([]string{"-c", `export SCRIPT_PID=$$; exec bash "$@"`, "bash", name}, args...)...)
	r.cmd.Env = append(append(os.Environ(), "AWS_STUB="+w.file(), `AWS_STUB_SKELETON={"IfMatch": "", "IfNoneMatch": ""}`, "PATH="+w.dir+":"+os.Getenv("PATH"),
		"DEPLOY_POLL=1", "DEPLOY_TIMEOUT=6", "HEALTH_TIMEOUT=2", "FIRST_TIMEOUT=9", "no_proxy=127.0.0.1", "NO_PROXY=127.0.0.1"), env...)
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.err
	if err := r.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (r *started) wait() (stdout, stderr string, code int) {
	err := r.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	return r.out.String(), r.err.String(), r.cmd.ProcessState.ExitCode()
}

// stackGone is what the command line prints about a stack that is not there.
const stackGone = "\nAn error occurred (ValidationError) when calling the DescribeStacks operation: Stack with id vectorstore-core does not exist"
