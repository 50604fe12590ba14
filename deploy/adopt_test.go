package deploy

import (
	"encoding/json"
	"strings"
	"testing"
)

// present is an account as the team's notes describe it.
func present(t *testing.T) *account {
	a := running(t, serving)
	const lb = "arn:aws:elasticloadbalancing:ap-northeast-1:111122223333:loadbalancer/app/old/0123456789abcdef"
	a.Answers = map[string]any{
		"ec2 describe-vpcs":                     object{"Vpcs": []any{object{"CidrBlock": "10.0.0.0/16"}}},
		"ec2 describe-subnets":                  object{"Subnets": []any{object{"VpcId": "vpc", "AvailabilityZone": "ap-northeast-1a", "CidrBlock": "10.0.1.0/24"}}},
		"ec2 describe-vpc-endpoints":            object{"VpcEndpoints": []any{object{}, object{}}},
		"elbv2 describe-load-balancers":         object{"LoadBalancers": []any{object{"LoadBalancerArn": lb, "DNSName": "old.example.com", "CanonicalHostedZoneId": "ZLB", "VpcId": "vpc", "SecurityGroups": []any{"sg-lb"}}}},
		"elbv2 describe-listeners":              object{"Listeners": []any{object{"Port": 80, "ListenerArn": "arn:listener-80"}}},
		"ecs describe-clusters":                 object{"clusters": []any{object{"status": "ACTIVE", "settings": []any{object{"name": "containerInsights", "value": "disabled"}}}}},
		"s3api get-bucket-location":             object{"LocationConstraint": "ap-northeast-1"},
		"s3api get-bucket-versioning":           object{"Status": "Enabled"},
		"s3api get-public-access-block":         object{"PublicAccessBlockConfiguration": object{"BlockPublicAcls": true, "IgnorePublicAcls": true, "BlockPublicPolicy": true, "RestrictPublicBuckets": true}},
		"s3api get-bucket-encryption":           object{"ServerSideEncryptionConfiguration": object{"Rules": []any{object{"ApplyServerSideEncryptionByDefault": object{"SSEAlgorithm": "AES256"}}}}},
		"ecr describe-repositories":             object{"repositories": []any{object{}}},
		"secretsmanager describe-secret":        object{"Name": "openai/config"},
		"codebuild batch-get-projects":          object{"projects": []any{object{"source": object{"buildspec": "version: 0.2\nphases: {}"}}}},
		"codestar-connections list-connections": object{"Connections": []any{object{"ConnectionStatus": "AVAILABLE", "ConnectionArn": "arn:connection"}}},
	}
	return a
}

// adopted are parameters that fit present, with two values still to be looked up.
func adopted(t *testing.T) string {
	return params(t, map[string]string{
		"VpcId": "vpc", "CreateBucket": "no", "CreateCluster": "no", "CreateRepository": "no", "ExistingLoadBalancerSecurityGroupId": "sg-lb",
		"ExistingLoadBalancerArn": "<adopt.sh --fill>", "ExistingHttpListenerArn": "<adopt.sh --fill>",
		"ExistingLoadBalancerDnsName": "old.example.com", "ExistingLoadBalancerZoneId": "<adopt.sh --fill>", "ConnectionArn": "<made in the console>",
		"Present_LoadBalancerName": "old", "Present_CodeBuildProject": "old-build",
	})
}

func TestAdoptReportsAndChangesNothing(t *testing.T) {
	t.Parallel()
	a := present(t)
	out, log, code := script(t, a, "adopt.sh", "--params", adopted(t))
	if code != 0 || len(a.mutations()) > 0 {
		t.Errorf("exit %d, calls %v:\n%s%s", code, a.mutations(), out, log)
	}
	for _, want := range []string{
		"ok       account", "info     VPC endpoints                2 there, shared", "info     load balancer", "(to be filled in)",
		"info     container insights           off", "ok       versioning", "ok       public access", "inline buildspec", "info     source",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

func TestAdoptFillsWhatItFound(t *testing.T) {
	t.Parallel()
	a := present(t)
	out, _, code := script(t, a, "adopt.sh", "--params", adopted(t), "--fill")
	var p struct{ Parameters map[string]string }
	if err := json.Unmarshal([]byte(out), &p); err != nil || code != 0 {
		t.Fatalf("exit %d, %v: %s", code, err, out)
	}
	for k, want := range map[string]string{
		"ExistingLoadBalancerArn": "arn:aws:elasticloadbalancing:ap-northeast-1:111122223333:loadbalancer/app/old/0123456789abcdef",
		"ExistingHttpListenerArn": "arn:listener-80", "ExistingLoadBalancerZoneId": "ZLB", "ConnectionArn": "arn:connection", "VpcId": "vpc",
	} {
		if p.Parameters[k] != want {
			t.Errorf("%s = %q", k, p.Parameters[k])
		}
	}
}

// The team's load balancer as it has been since October: :443 serves, :80 redirects to it.
func TestAdoptKnowsAListenerWithHttps(t *testing.T) {
	t.Parallel()
	const https = "arn:aws:elasticloadbalancing:ap-northeast-1:111122223333:listener/app/old/0123456789abcdef/2"
	for name, c := range map[string]struct {
		https, domain string
		code          int
		want          string
	}{
		"not said":           {"", "", 1, "differs  listener :80                 it redirects to :443. Set ExistingHttpsListenerArn to " + https},
		"said":               {https, "search.example.com", 0, "ok       listener :443                " + https},
		"said, without name": {https, "", 1, "differs  DomainName"},
		"to be filled in":    {"<adopt.sh --fill>", "search.example.com", 0, "info     listener :443                " + https + " (to be filled in)"},
		"another one":        {https + "9", "search.example.com", 1, "differs  listener :443"},
	} {
		t.Run(name, func(t *testing.T) {
			a := present(t)
			a.Answers["elbv2 describe-listeners"] = object{"Listeners": []any{
				object{"Port": 80, "ListenerArn": "arn:listener-80", "DefaultActions": []any{object{"Type": "redirect"}}},
				object{"Port": 443, "ListenerArn": https, "DefaultActions": []any{object{"Type": "forward"}}},
			}}
			var p struct {
				Present, Parameters map[string]string
			}
			if err := json.Unmarshal([]byte(readFile(t, adopted(t))), &p); err != nil {
				t.Fatal(err)
			}
			for k, v := range p.Present {
				p.Parameters["Present_"+k] = v
			}
			p.Parameters["ExistingHttpsListenerArn"], p.Parameters["DomainName"] = c.https, c.domain
			out, log, code := script(t, a, "adopt.sh", "--params", params(t, p.Parameters))
			if code != c.code || !strings.Contains(out, c.want) {
				t.Errorf("exit %d: %s%s", code, out, log)
			}
		})
	}
}

func TestAdoptNamesWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(a *account)
		want   []string
	}{
		"wrong": {func(a *account) {
			a.Answers["s3api get-bucket-versioning"] = object{}
			a.Answers["s3api get-public-access-block"] = object{"PublicAccessBlockConfiguration": object{"BlockPublicAcls": false}}
			a.Answers["s3api get-bucket-policy"] = object{"Policy": "{}"}
			a.Answers["ec2 describe-subnets"] = object{"Subnets": []any{object{"VpcId": "vpc-2"}}}
			a.Answers["elbv2 describe-listeners"] = object{"Listeners": []any{}}
			dig(t, a.Answers["elbv2 describe-load-balancers"], "LoadBalancers", 0).(map[string]any)["SecurityGroups"] = []any{"sg-x"}
			a.Errors = map[string]string{"secretsmanager describe-secret": "An error occurred (AccessDenied) when calling the DescribeSecret operation: no"}
		}, []string{
			"differs  versioning", "differs  public access", "differs  bucket policy", "differs  subnet", "missing  listener :80",
			"differs  its security group", "differs  secret                       not allowed to look",
		}},
		"absent": {func(a *account) {
			clear(a.Answers)
		}, []string{"missing  VPC", "missing  subnet", "missing  load balancer", "missing  cluster", "missing  bucket", "missing  image repository", "missing  secret"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := present(t)
			c.change(a)
			out, log, code := script(t, a, "adopt.sh", "--params", adopted(t))
			if code != 1 {
				t.Errorf("exit %d: %s", code, log)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in:\n%s", want, out)
				}
			}
		})
	}
}
