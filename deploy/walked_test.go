package deploy

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// full tells whether there is time for the whole page (make deploy-check, make soak): the AWS command line needs a second for
// each of some 150 calls. make test walks the way to the first search.
func full() bool { return os.Getenv("VECTORSTORE_SOAK") != "" }

func TestTheGuideAsANewUserTypesIt(t *testing.T) {
	t.Parallel()
	excuses := make([]map[string]bool, 2)
	t.Run("ways", func(t *testing.T) {
		t.Run("from nothing", func(t *testing.T) { t.Parallel(); excuses[0] = fromNothing(t) })
		if full() {
			t.Run("beside what there is", func(t *testing.T) { t.Parallel(); excuses[1] = beside(t) })
		}
	})
	if !full() || excuses[0] == nil || excuses[1] == nil {
		return
	}
	for line := range notPrinted {
		if !excuses[0][line] && !excuses[1][line] {
			t.Errorf("the emulator prints %q, or the page does not show it: nothing to excuse", line)
		}
	}
}

// With nothing but an account, a network, a secret and a connection.
func fromNothing(t *testing.T) (excuses map[string]bool) {
	w := startWalk(t, "MOTO_ACCOUNT_ID="+exampleAccount)
	vpc, subnets := w.network()
	secret := w.aws("secretsmanager", "create-secret", "--name", "openai/config", "--secret-string", `{"OPENAI_API_KEY":"k"}`, "--query", "ARN")
	w.templates(scenarios["from nothing"])

	w.params = "deploy/params/mine.json"
	w.before("deploy/adopt.sh", func() {
		w.edit(func(_ string, _, p map[string]string) {
			p["VpcId"], p["LoadBalancerSubnetIds"], p["TaskSubnetIds"], p["SecretArn"] = vpc, subnets, subnets, secret
			p["BucketName"], p["GitHubRepository"] = "vectors-of-somebody", "somebody/vectorstore"
			p["ConnectionArn"] = connectionOf(exampleAccount)
		})
	})
	w.before("aws ecr list-images", func() { w.push("vectorstore", oldTag, "0123456789abcdef0123456789abcdef01234567") })
	w.before("curl -s <url>/health", func() {
		w.register(oldTag)
		w.found("vectorstore-alb")
		w.startTasks("server", "indexer")
	})
	w.before("deploy/deploy.sh --params deploy/params/mine.json --dry-run", func() { w.push("vectorstore", newTag) })
	w.before("deploy/deploy.sh --params deploy/params/mine.json", func() { w.startTasks("server") })
	if !full() {
		w.events = w.events[:len(w.events)-2]
		w.follow(sectionNeeds, sectionNothing)
		return w.excuses
	}
	w.follow(sectionNeeds, sectionNothing, sectionEveryDay, sectionWatching, sectionEnd)
	for _, kept := range []string{"s3api head-bucket --bucket vectors-of-somebody", "ecr describe-repositories --repository-names vectorstore"} {
		if _, exit := w.typed("aws " + kept); exit != "0" {
			t.Errorf("gone with the stack: %s", kept)
		}
	}
	return w.excuses
}

// As the team would: with their parameters file, and an account that has what it describes.
func beside(t *testing.T) (excuses map[string]bool) {
	var p struct {
		AccountId string
	}
	if err := json.Unmarshal([]byte(readFile(t, "params/vendor0919.json")), &p); err != nil {
		t.Fatal(err)
	}
	w := startWalk(t, "MOTO_ACCOUNT_ID="+p.AccountId)
	w.params = "deploy/params/vendor0919.json"
	core := scenarios["on an existing listener with HTTPS"]
	w.templates(core)
	w.edit(w.settle)
	w.before("deploy/lifecycle.sh", func() {
		w.edit(func(_ string, _, p map[string]string) {
			p["DomainName"], p["AllowedOrigins"] = "search.example.com", "https://main.example.com"
		})
	})
	w.before("aws ecr list-images", func() { w.push(w.values["<repository>"], oldTag) })
	w.before("curl -s <url>/health", func() {
		w.register(oldTag)
		w.startTasks("server", "indexer")
		w.startTasks("server") // one that comes later, and finds the snapshot
	})
	w.before("deploy/stack.sh --params deploy/params/vendor0919.json core", func() {
		w.edit(func(_ string, _, p map[string]string) { p["TakeTraffic"] = "all" })
	})
	w.follow(sectionBeside)
	return w.excuses
}

// settle makes what the parameters file describes, and writes the ids that this account has into it.
func (w *walk) settle(account string, present, p map[string]string) {
	vpc, subnets := w.network()
	ids := strings.Split(subnets, ",")
	group := w.aws("ec2", "create-security-group", "--group-name", "lb", "--description", "lb", "--vpc-id", vpc, "--query", "GroupId")
	lb := w.aws("elbv2", "create-load-balancer", "--name", present["LoadBalancerName"], "--subnets", ids[0], ids[1], "--security-groups", group, "--query", "LoadBalancers[0].LoadBalancerArn")
	old := w.aws("elbv2", "create-target-group", "--name", "old", "--protocol", "HTTP", "--port", "8080", "--vpc-id", vpc, "--target-type", "ip", "--query", "TargetGroups[0].TargetGroupArn")
	certificate := w.aws("acm", "request-certificate", "--domain-name", "search.example.com", "--query", "CertificateArn")
	w.aws("elbv2", "create-listener", "--load-balancer-arn", lb, "--protocol", "HTTP", "--port", "80", "--default-actions", `[{"Type":"redirect","RedirectConfig":{"Protocol":"HTTPS","Port":"443","StatusCode":"HTTP_301"}}]`)
	w.aws("elbv2", "create-listener", "--load-balancer-arn", lb, "--protocol", "HTTPS", "--port", "443", "--certificates", "CertificateArn="+certificate, "--default-actions", "Type=forward,TargetGroupArn="+old)
	w.found(present["LoadBalancerName"])
	p["VpcId"], p["LoadBalancerSubnetIds"], p["TaskSubnetIds"] = vpc, subnets, subnets
	p["ExistingLoadBalancerSecurityGroupId"], p["ExistingLoadBalancerDnsName"] = group, w.values["<url>"][len("http://"):]

	w.aws("ecs", "create-cluster", "--cluster-name", p["ClusterName"])
	w.aws("ecs", "register-task-definition", "--family", present["Service"], "--container-definitions", `[{"name":"api","image":"x","memory":512}]`)
	w.aws("ecs", "create-service", "--cluster", p["ClusterName"], "--service-name", present["Service"], "--task-definition", present["Service"], "--desired-count", "1",
		"--network-configuration", "awsvpcConfiguration={subnets=["+subnets+"],securityGroups=["+group+"],assignPublicIp="+p["AssignPublicIp"]+"}")
	w.aws("ecs", "update-service", "--cluster", p["ClusterName"], "--service", present["Service"], "--desired-count", "1") // now it runs
	w.aws("ecr", "create-repository", "--repository-name", p["RepositoryName"])
	name := p["SecretArn"][len("arn:aws:secretsmanager:ap-northeast-1::secret:")+len(account):]
	p["SecretArn"] = w.aws("secretsmanager", "create-secret", "--name", name, "--secret-string", `{"OPENAI_API_KEY":"k"}`, "--query", "ARN")
	w.aws("codebuild", "create-project", "--name", present["CodeBuildProject"], "--source", `{"type":"GITHUB","location":"https://github.com/somebody/old","buildspec":"version: 0.2"}`,
		"--artifacts", "type=NO_ARTIFACTS", "--environment", "type=LINUX_CONTAINER,image=x,computeType=BUILD_GENERAL1_SMALL", "--service-role", "arn:aws:iam::"+account+":role/old")

	b := []string{"--bucket", p["BucketName"]}
	w.aws(append([]string{"s3api", "create-bucket", "--create-bucket-configuration", "LocationConstraint=ap-northeast-1"}, b...)...)
	w.aws(append([]string{"s3api", "put-bucket-versioning", "--versioning-configuration", "Status=Enabled"}, b...)...)
	w.aws(append([]string{"s3api", "put-public-access-block", "--public-access-block-configuration", "BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true"}, b...)...)
	w.aws(append([]string{"s3api", "put-bucket-encryption", "--server-side-encryption-configuration", `{"Rules":[{"ApplyServerSideEncryptionByDefault":{"SSEAlgorithm":"AES256"}}]}`}, b...)...)
}
