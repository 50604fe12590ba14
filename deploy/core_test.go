package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	corePath       = "cloudformation/core.yaml"
	dataPath       = "cloudformation/data.yaml"
	monitoringPath = "cloudformation/monitoring.yaml"
	pipelinePath   = "cloudformation/pipeline.yaml"
)

// templates in the order in which their stacks are made.
var templates = []string{dataPath, corePath, pipelinePath, monitoringPath}

// scenarios are the ways in which people use the core stack.
var scenarios = map[string]map[string]string{
	"from nothing":     {"BucketName": "bkt", "SecretArn": "arn:aws:secretsmanager:ap-northeast-1:111122223333:secret:k", "ImageTag": "202601020304"},
	"while it is made": {"BucketName": "bkt", "SecretArn": "arn:aws:secretsmanager:ap-northeast-1:111122223333:secret:k", "Creating": "yes"},
	"with a domain": {
		"BucketName": "bkt", "SecretArn": "arn:aws:secretsmanager:ap-northeast-1:111122223333:secret:k", "ImageTag": "202601020304",
		"DomainName": "search.example.com", "HostedZoneId": "Z1", "ScrapeSecurityGroupId": "sg-1", "AlarmEmail": "a@example.com",
	},
	"beside what exists": {
		"BucketName": "bkt", "CreateBucket": "no", "CreateRepository": "no", "CreateCluster": "no", "ImageTag": "202601020304",
		"SecretArn":               "arn:aws:secretsmanager:ap-northeast-1:111122223333:secret:k",
		"ExistingLoadBalancerArn": "arn:aws:elasticloadbalancing:ap-northeast-1:111122223333:loadbalancer/app/old/0123456789abcdef",
		"ExistingHttpListenerArn": "arn:aws:elasticloadbalancing:ap-northeast-1:111122223333:listener/app/old/0123456789abcdef/1",
		"TakeTraffic":             "preview",
	},
	"on an existing listener with HTTPS": {
		"BucketName": "bkt", "CreateCluster": "no", "ImageTag": "202601020304",
		"SecretArn":                "arn:aws:secretsmanager:ap-northeast-1:111122223333:secret:k",
		"ExistingLoadBalancerArn":  "arn:aws:elasticloadbalancing:ap-northeast-1:111122223333:loadbalancer/app/old/0123456789abcdef",
		"ExistingHttpsListenerArn": "arn:aws:elasticloadbalancing:ap-northeast-1:111122223333:listener/app/old/0123456789abcdef/2",
		"DomainName":               "search.example.com", "ExistingLoadBalancerSecurityGroupId": "sg-lb",
		"ExistingLoadBalancerDnsName": "old.example.com",
	},
	"with keys in the secret": {"BucketName": "bkt", "ImageTag": "202601020304", "SecretArn": "arn:aws:secretsmanager:ap-northeast-1:111122223333:secret:k", "SigningKey": "secret", "EraseKey": "secret", "NotifySecret": "secret"},
	"local embeddings":        {"BucketName": "bkt", "EmbeddingProvider": "local", "ImageTag": "202601020304"},
	"with all that is somebody's own": {
		"BucketName": "bkt", "ImageTag": "202601020304", "SecretArn": "arn:aws:secretsmanager:ap-northeast-1:111122223333:secret:k",
		"SecretKmsKeyArn": "arn:aws:kms:ap-northeast-1:111122223333:key/secret", "BucketKmsKeyArn": "arn:aws:kms:ap-northeast-1:111122223333:key/bucket",
		"SigningKey": "awskms://arn:aws:kms:ap-northeast-1:111122223333:key/signing", "SourceKey": "backend/data/vendors.json",
		"SettingsFile": "deploy/vectorstore/settings/0123456789abcdef.env", "ExtraSecurityGroupIds": "sg-0a,sg-0b", "TrustedProxies": "2",
		"NotifyTopicArn": "arn:aws:sns:ap-northeast-1:111122223333:news", "OpenAIBaseUrl": "https://llm.example.com/v1", "EraseKey": "secret",
	},
	"bedrock": {"BucketName": "bkt", "EmbeddingProvider": "bedrock", "ImageTag": "202601020304"},
}

// reference as eval writes it, after json.Marshal: <Name> or <Name.Attribute>.
var reference = regexp.MustCompile(`\\u003c([A-Z][A-Za-z0-9]+)(?:\.[A-Za-z]+)?\\u003e`)

// inEachScenario runs f on the core stack as each kind of user gets it.
func inEachScenario(t *testing.T, f func(t *testing.T, tp *template)) {
	for name, given := range scenarios {
		t.Run(name, func(t *testing.T) { f(t, load(t, corePath, given)) })
	}
}

func TestTemplatesFitInOneAPICall(t *testing.T) {
	for _, path := range templates {
		if n := len(readFile(t, path)); n > 51_200 {
			t.Errorf("%s has %d bytes; a template body may have 51,200", path, n)
		}
	}
}

func TestEveryParameterIsUsed(t *testing.T) {
	for _, path := range templates {
		tp := load(t, path, nil)
		text := readFile(t, path)
		for name := range tp.section("Parameters") {
			if !strings.Contains(text, "!Ref "+name) && !strings.Contains(text, "${"+name+"}") {
				t.Errorf("%s: parameter %s is used nowhere", path, name)
			}
		}
	}
}

func TestPortsAgree(t *testing.T) {
	inEachScenario(t, func(t *testing.T, tp *template) {
		env := func(task, name string) string {
			for _, e := range list(dig(t, tp.ofType("AWS::ECS::TaskDefinition")[task], "ContainerDefinitions", 0, "Environment")) {
				if e := e.(map[string]any); e["Name"] == name {
					return strings.TrimPrefix(fmt.Sprint(e["Value"]), ":")
				}
			}
			return ""
		}
		ports := func(task string) (out []string) {
			for _, m := range list(dig(t, tp.ofType("AWS::ECS::TaskDefinition")[task], "ContainerDefinitions", 0, "PortMappings")) {
				out = append(out, fmt.Sprint(m.(map[string]any)["ContainerPort"]))
			}
			return out
		}
		if got, want := ports("ServerTask"), []string{env("ServerTask", "LISTEN_ADDR"), env("ServerTask", "ADMIN_ADDR")}; !slices.Equal(got, want) {
			t.Errorf("server maps %v, listens on %v", got, want)
		}
		if got, want := ports("IndexerTask"), []string{env("IndexerTask", "ADMIN_ADDR")}; !slices.Equal(got, want) {
			t.Errorf("indexer maps %v, listens on %v", got, want)
		}
		api := env("ServerTask", "LISTEN_ADDR")
		for what, got := range map[string]any{
			"target group":         tp.ofType("AWS::ElasticLoadBalancingV2::TargetGroup")["TargetGroup"]["Port"],
			"service":              dig(t, tp.ofType("AWS::ECS::Service")["ServerService"], "LoadBalancers", 0, "ContainerPort"),
			"security group, from": dig(t, tp.ofType("AWS::EC2::SecurityGroup")["TaskSecurityGroup"], "SecurityGroupIngress", 0, "FromPort"),
			"security group, to":   dig(t, tp.ofType("AWS::EC2::SecurityGroup")["TaskSecurityGroup"], "SecurityGroupIngress", 0, "ToPort"),
		} {
			if fmt.Sprint(got) != api {
				t.Errorf("%s says port %v, the server listens on %s", what, got, api)
			}
		}
		if health := fmt.Sprint(dig(t, tp.ofType("AWS::ECS::TaskDefinition")["IndexerTask"], "ContainerDefinitions", 0, "HealthCheck", "Command")); !strings.Contains(health, ":"+env("IndexerTask", "ADMIN_ADDR")+"]") {
			t.Errorf("indexer health check asks %s", health)
		}
	})
}

func TestAdminPortsOpenOnlyToTheScraper(t *testing.T) {
	inEachScenario(t, func(t *testing.T, tp *template) {
		rules := list(tp.ofType("AWS::EC2::SecurityGroup")["TaskSecurityGroup"]["SecurityGroupIngress"])
		for _, in := range tp.ofType("AWS::EC2::SecurityGroupIngress") {
			if in["GroupId"] == "<TaskSecurityGroup>" {
				rules = append(rules, in)
			}
		}
		for _, in := range rules {
			in := in.(map[string]any)
			if in["CidrIp"] != nil {
				t.Errorf("tasks are open to an address range: %v", in)
			}
			if fmt.Sprint(in["ToPort"]) != "8080" && (in["SourceSecurityGroupId"] != tp.params["ScrapeSecurityGroupId"] || tp.params["ScrapeSecurityGroupId"] == "") {
				t.Errorf("an admin port is open to %v", in["SourceSecurityGroupId"])
			}
		}
	})
}

func TestEveryContainerLogsAndGetsItsKeyFromTheSecret(t *testing.T) {
	inEachScenario(t, func(t *testing.T, tp *template) {
		for name, task := range tp.ofType("AWS::ECS::TaskDefinition") {
			for _, c := range list(task["ContainerDefinitions"]) {
				c := c.(map[string]any)
				if got := dig(t, c, "LogConfiguration", "LogDriver"); got != "awslogs" {
					t.Errorf("%s logs to %v", name, got)
				}
				if _, known := tp.ofType("AWS::Logs::LogGroup")[strings.Trim(fmt.Sprint(dig(t, c, "LogConfiguration", "Options", "awslogs-group")), "<>")]; !known {
					t.Errorf("%s logs to a group that the stack does not make", name)
				}
				for _, e := range list(c["Environment"]) {
					switch e := e.(map[string]any); {
					case slices.Contains([]any{"OPENAI_API_KEY", "ERASE_KEY", "NOTIFY_SECRET"}, e["Name"]), e["Name"] == "SIGNING_KEY" && (name != "IndexerTask" || e["Value"] != tp.params["SigningKey"] || !strings.HasPrefix(tp.params["SigningKey"], "awskms://")):
						t.Errorf("%s has a key in its environment: %v", name, e)
					}
				}
				var file any
				if key := tp.params["SettingsFile"]; key != "" {
					file = []any{map[string]any{"Type": "s3", "Value": "arn:aws:s3:::bkt/" + key}}
				}
				if d := cmp.Diff(file, c["EnvironmentFiles"]); d != "" {
					t.Errorf("%s environment files: %s", name, d)
				}
				var want any
				if arn := tp.params["SecretArn"]; arn != "" {
					want = []any{map[string]any{"Name": "OPENAI_API_KEY", "ValueFrom": arn + ":OPENAI_API_KEY::"}}
				}
				for _, secret := range [][2]string{{"SigningKey", "SIGNING_KEY"}, {"EraseKey", "ERASE_KEY"}, {"NotifySecret", "NOTIFY_SECRET"}} {
					if name == "IndexerTask" && tp.params[secret[0]] == "secret" {
						want = append(want.([]any), map[string]any{"Name": secret[1], "ValueFrom": tp.params["SecretArn"] + ":" + secret[1] + "::"})
					}
				}
				if d := cmp.Diff(want, c["Secrets"]); d != "" {
					t.Errorf("%s secrets: %s", name, d)
				}
				if c["ReadonlyRootFilesystem"] != true || c["User"] != "10001:10001" {
					t.Errorf("%s: read-only root %v, user %v", name, c["ReadonlyRootFilesystem"], c["User"])
				}
			}
		}
	})
}

func TestContainersReceiveTheSettingsOfTheContract(t *testing.T) {
	tp := load(t, corePath, scenarios["from nothing"])
	for name, task := range tp.ofType("AWS::ECS::TaskDefinition") {
		env := map[string]any{}
		for _, e := range list(dig(t, task, "ContainerDefinitions", 0, "Environment")) {
			e := e.(map[string]any)
			env[e["Name"].(string)] = e["Value"]
		}
		for k, want := range map[string]any{"VECTORSTORE_S3_BUCKET": "bkt", "VECTORSTORE_S3_PREFIX": "vectorstore/prod", "VECTORSTORE_LOCAL_DIR": "/app/vectorstore"} {
			if env[k] != want {
				t.Errorf("%s: %s = %v", name, k, env[k])
			}
		}
		var paths []string
		for _, m := range list(dig(t, task, "ContainerDefinitions", 0, "MountPoints")) {
			paths = append(paths, m.(map[string]any)["ContainerPath"].(string))
		}
		if !slices.Equal(paths, []string{"/app/vectorstore", "/app/tmp"}) {
			t.Errorf("%s mounts %v", name, paths)
		}
	}
}

// A query must be answered until the load balancer has stopped sending, and the task must live until then.
func TestDrainOutlastsDeregistrationAndFitsTheStopTimeout(t *testing.T) {
	tp := load(t, corePath, scenarios["from nothing"])
	tg := tp.ofType("AWS::ElasticLoadBalancingV2::TargetGroup")["TargetGroup"]
	if tg["HealthCheckPath"] != "/ready" {
		t.Errorf("health check path %v", tg["HealthCheckPath"])
	}
	if got := dig(t, tg, "TargetGroupAttributes", 0); got.(map[string]any)["Value"] != "10" {
		t.Errorf("deregistration delay %v", got)
	}
	c := dig(t, tp.ofType("AWS::ECS::TaskDefinition")["ServerTask"], "ContainerDefinitions", 0).(map[string]any)
	if fmt.Sprint(c["StopTimeout"]) != "60" || !strings.Contains(fmt.Sprint(c["Environment"]), "DRAIN_TIME Value:15s") {
		t.Errorf("stop timeout %v, environment %v", c["StopTimeout"], c["Environment"])
	}
}

func TestServicesRollAsTheProtocolExpects(t *testing.T) {
	tp := load(t, corePath, scenarios["from nothing"])
	svc := tp.ofType("AWS::ECS::Service")
	for name, want := range map[string][2]string{"ServerService": {"100", "200"}, "IndexerService": {"0", "100"}} {
		d := dig(t, svc[name], "DeploymentConfiguration").(map[string]any)
		if got := [2]string{fmt.Sprint(d["MinimumHealthyPercent"]), fmt.Sprint(d["MaximumPercent"])}; got != want {
			t.Errorf("%s: %v", name, got)
		}
		if d := cmp.Diff(map[string]any{"Enable": true, "Rollback": true}, d["DeploymentCircuitBreaker"]); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if svc["IndexerService"]["LoadBalancers"] != nil {
		t.Error("the indexer is behind a load balancer")
	}
	for _, s := range svc {
		for _, lb := range list(s["LoadBalancers"]) {
			if dig(t, tp.ofType("AWS::ECS::TaskDefinition")["ServerTask"], "ContainerDefinitions", 0, "Name") != lb.(map[string]any)["ContainerName"] {
				t.Errorf("the load balancer names a container that is not there: %v", lb)
			}
		}
	}
}

func TestHttpsAppearsWithADomain(t *testing.T) {
	tp := load(t, corePath, scenarios["with a domain"])
	l := tp.ofType("AWS::ElasticLoadBalancingV2::Listener")
	if got := dig(t, l["HttpListener"], "DefaultActions", 0, "Type"); got != "redirect" {
		t.Errorf(":80 does %v", got)
	}
	modern := []string{"ELBSecurityPolicy-TLS13-1-2-2021-06", "ELBSecurityPolicy-TLS13-1-3-2021-06"}
	if got := l["HttpsListener"]["SslPolicy"]; !slices.Contains(modern, fmt.Sprint(got)) {
		t.Errorf("SslPolicy %v", got)
	}
	if l["HttpsListener"]["Port"] != uint64(443) || dig(t, l["HttpsListener"], "Certificates", 0, "CertificateArn") != "<Certificate>" {
		t.Errorf("https listener %v", l["HttpsListener"])
	}
	plain := load(t, corePath, scenarios["from nothing"]).ofType("AWS::ElasticLoadBalancingV2::Listener")
	if len(plain) != 1 || dig(t, plain["HttpListener"], "DefaultActions", 0, "Type") != "forward" {
		t.Errorf("without a domain: %v", plain)
	}
}

// What an update of the stack must not touch: what runs, and how much of it.
func TestTheStackSaysNeitherImageNorNumberOfTasks(t *testing.T) {
	inEachScenario(t, func(t *testing.T, tp *template) {
		for name, family := range map[string]string{"ServerService": "vectorstore-server", "IndexerService": "vectorstore-indexer"} {
			s := tp.ofType("AWS::ECS::Service")[name]
			// A revision would be put back by an update that fails, releases later.
			if s["TaskDefinition"] != family {
				t.Errorf("%s is tied to the revision %v", name, s["TaskDefinition"])
			}
			if count, said := s["DesiredCount"]; said != (tp.params["Creating"] == "yes") || said && fmt.Sprint(count) != "0" {
				t.Errorf("%s wants %v tasks", name, count)
			}
			task := strings.Replace(name, "Service", "Task", 1)
			if got := dig(t, tp.root, "Resources", name, "DependsOn"); got != task {
				t.Errorf("%s is made before there is a %s: %v", name, task, got)
			}
			if got := dig(t, tp.root, "Resources", task, "UpdateReplacePolicy"); got != "Retain" {
				t.Errorf("%s: a service could not go back to a revision that an update replaced: %v", task, got)
			}
		}
	})
	if d := dig(t, load(t, corePath, nil).root, "Parameters", "Creating", "Default"); d != "no" {
		t.Errorf("an update by hand would stop everything: Creating is %v", d)
	}
}

// waitsFor tells whether a value names a resource, as CloudFormation finds what to make first.
func waitsFor(v any, resource string) bool {
	switch v := v.(type) {
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { return waitsFor(e, resource) })
	case map[string]any:
		for k, e := range v {
			if k == "Ref" && e == resource || waitsFor(e, resource) {
				return true
			}
		}
	}
	return false
}

func TestTheRedirectWaitsForHttps(t *testing.T) {
	root := load(t, corePath, nil).root
	for listener, actions := range map[string]string{"HttpListener": "DefaultActions", "HttpRule": "Actions"} {
		for _, first := range []string{"HttpsListener", "HttpsIngress", "DnsRecord"} {
			if !waitsFor(dig(t, root, "Resources", listener, "Properties", actions), first) {
				t.Errorf("%s redirects before there is a %s", listener, first)
			}
		}
	}
	tp := load(t, corePath, scenarios["with a domain"])
	got := dig(t, tp.ofType("AWS::ElasticLoadBalancingV2::Listener")["HttpListener"], "DefaultActions", 0, "RedirectConfig")
	if d := cmp.Diff(map[string]any{"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}, got); d != "" {
		t.Error(d)
	}
}

// The team's load balancer has had one since October: nothing is made beside it, and :80, which redirects, is left alone.
func TestAnExistingHttpsListenerGetsOneRule(t *testing.T) {
	tp := load(t, corePath, scenarios["on an existing listener with HTTPS"])
	rules := tp.ofType("AWS::ElasticLoadBalancingV2::ListenerRule")
	if len(rules) != 1 || rules["HttpsRule"]["ListenerArn"] != tp.params["ExistingHttpsListenerArn"] || dig(t, rules["HttpsRule"], "Actions", 0, "Type") != "forward" {
		t.Errorf("rules: %v", rules)
	}
	for _, typ := range []string{"AWS::ElasticLoadBalancingV2::Listener", "AWS::CertificateManager::Certificate", "AWS::EC2::SecurityGroupIngress", "AWS::Route53::RecordSet"} {
		if got := tp.ofType(typ); len(got) > 0 {
			t.Errorf("%s: %v", typ, got)
		}
	}
	if got := tp.eval(dig(t, tp.root, "Outputs", "Url", "Value")); got != "https://search.example.com" {
		t.Errorf("url %v", got)
	}
	if tags := fmt.Sprint(tp.ofType("AWS::ECS::Service")["ServerService"]["Tags"]); !strings.Contains(tags, "<HttpsRule>") {
		t.Errorf("the service does not wait for the rule: %s", tags)
	}
}

// What one stack imports, an earlier one exports.
func TestImportsHaveExports(t *testing.T) {
	exports := map[string]bool{}
	imported := regexp.MustCompile(`\\u003cimport ([^\\]+)\\u003e`)
	used := 0
	for _, path := range templates {
		tp := load(t, path, scenarios["from nothing"])
		b, _ := json.Marshal(tp.resources())
		for _, m := range imported.FindAllStringSubmatch(string(b), -1) {
			used++
			if !exports[m[1]] {
				t.Errorf("%s imports %s, which no stack before it exports", path, m[1])
			}
		}
		for _, o := range tp.section("Outputs") {
			if e, ok := o.(map[string]any)["Export"].(map[string]any); ok {
				exports[tp.eval(e["Name"]).(string)] = true
			}
		}
	}
	if used < 5 {
		t.Errorf("only %d imports found", used)
	}
}

func TestPreviewTakesOnlyMarkedRequests(t *testing.T) {
	given := scenarios["beside what exists"]
	rule := func(take string) map[string]any {
		g := map[string]string{}
		for k, v := range given {
			g[k] = v
		}
		g["TakeTraffic"] = take
		return load(t, corePath, g).ofType("AWS::ElasticLoadBalancingV2::ListenerRule")["HttpRule"]
	}
	if got := dig(t, rule("preview"), "Conditions", 0, "HttpHeaderConfig", "HttpHeaderName"); got != "X-Vectorstore-Preview" {
		t.Errorf("preview matches %v", got)
	}
	if !strings.Contains(readFile(t, "deploy.sh"), "X-Vectorstore-Preview: 1") {
		t.Error("deploy.sh would ask the old service for its health")
	}
	if got := dig(t, rule("all"), "Conditions", 0, "PathPatternConfig", "Values", 0); got != "/*" {
		t.Errorf("all matches %v", got)
	}
}

func TestOutputsResolve(t *testing.T) {
	inEachScenario(t, func(t *testing.T, tp *template) {
		for name, o := range tp.section("Outputs") {
			if v := tp.eval(o.(map[string]any)["Value"]); v == nil || v == "" {
				t.Errorf("output %s is empty", name)
			}
		}
	})
}

func TestReferencesPointToWhatExists(t *testing.T) {
	inEachScenario(t, func(t *testing.T, tp *template) {
		res := tp.resources()
		for name, r := range res {
			b, _ := json.Marshal(r["Properties"])
			for _, m := range reference.FindAllStringSubmatch(string(b), -1) {
				if res[m[1]] == nil {
					t.Errorf("%s refers to %s, which this stack does not make", name, m[1])
				}
			}
		}
	})
}

func TestParameterFilesFitTheTemplates(t *testing.T) {
	known := map[string]bool{}
	for _, path := range templates {
		for p := range load(t, path, nil).section("Parameters") {
			known[p] = true
		}
	}
	files, err := os.ReadDir("params")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		var p struct {
			Region, AccountId, DataStack, CoreStack, MonitoringStack, PipelineStack string
			Present, Parameters, Settings                                           map[string]string
		}
		dec := json.NewDecoder(strings.NewReader(readFile(t, "params/"+f.Name())))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&p); err != nil {
			t.Fatalf("%s: %v", f.Name(), err)
		}
		if p.Region == "" || len(p.AccountId) != 12 || p.CoreStack == "" || p.PipelineStack == "" {
			t.Errorf("%s: incomplete: %+v", f.Name(), p)
		}
		for name := range p.Parameters {
			if !known[name] {
				t.Errorf("%s: no template has the parameter %s", f.Name(), name)
			}
		}
	}
}

// The names of settings that a parameters file may hold are those that the programs have and the templates leave alone.
func TestSettingsAreThoseOfThePrograms(t *testing.T) {
	var want []string
	core := readFile(t, corePath)
	for _, pattern := range []string{"../cmd/*/*.go", "../internal/wire/*.go"} {
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			for _, m := range regexp.MustCompile("`name:.* env:\"([A-Z][A-Z0-9_]*)\"").FindAllStringSubmatch(readFile(t, f), -1) {
				elsewhere := slices.Contains([]string{"OPENAI_API_KEY", "SIGNING_KEY", "ERASE_KEY", "NOTIFY_SECRET"}, m[1]) || m[1] == "VECTORSTORE_STORE_DIR" || strings.Contains(core, "{Name: "+m[1]+",")
				if !elsewhere && !slices.Contains(want, m[1]) {
					want = append(want, m[1])
				}
			}
		}
	}
	slices.Sort(want)
	if d := cmp.Diff(want, strings.Fields(readFile(t, "settings.txt"))); d != "" {
		t.Errorf("settings.txt (-programs +file): %s", d)
	}
}

func TestTasksJoinTheGroupsOfOthers(t *testing.T) {
	inEachScenario(t, func(t *testing.T, tp *template) {
		want := []any{"<TaskSecurityGroup>"}
		if tp.params["ExtraSecurityGroupIds"] != "" {
			want = append(want, "sg-0a", "sg-0b")
		}
		for name, s := range tp.ofType("AWS::ECS::Service") {
			if d := cmp.Diff(want, dig(t, s, "NetworkConfiguration", "AwsvpcConfiguration", "SecurityGroups")); d != "" {
				t.Errorf("%s: %s", name, d)
			}
		}
	})
}

func TestTheBucketEncryptsWithTheKeyOfTheRoles(t *testing.T) {
	for name, want := range map[string]string{"from nothing": "AES256 <nil>", "with all that is somebody's own": "aws:kms arn:aws:kms:ap-northeast-1:111122223333:key/bucket"} {
		b := load(t, dataPath, scenarios[name]).ofType("AWS::S3::Bucket")["Bucket"]
		by := dig(t, b, "BucketEncryption", "ServerSideEncryptionConfiguration", 0, "ServerSideEncryptionByDefault").(map[string]any)
		if got := fmt.Sprint(by["SSEAlgorithm"], " ", by["KMSMasterKeyID"]); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}
