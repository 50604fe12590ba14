package deploy

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

// present is an account as the team's notes describe it.
func present(t *testing.T) *account {
	a := running(t, serving)
	const lb = "arn:aws:elasticloadbalancing:ap-northeast-1:111122223333:loadbalancer/app/old/0123456789abcdef"
	a.Answers = map[string]any{
		"ec2 describe-vpcs":    object{"Vpcs": []any{object{"CidrBlock": "10.0.0.0/16"}}},
		"ec2 describe-subnets": object{"Subnets": []any{object{"VpcId": "vpc", "AvailabilityZone": "ap-northeast-1a", "CidrBlock": "10.0.1.0/24"}}},
		"ec2 describe-vpc-endpoints": object{"VpcEndpoints": []any{
			object{"VpcEndpointType": "Gateway", "ServiceName": "com.amazonaws.ap-northeast-1.s3"},
			object{"VpcEndpointType": "Interface", "PrivateDnsEnabled": true, "ServiceName": "com.amazonaws.ap-northeast-1.ecr.api", "Groups": []any{object{"GroupId": "sg-endpoint"}}},
		}},
		"ec2 describe-security-groups":          admitting(object{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": []any{object{"CidrIp": "10.0.0.0/16"}}}),
		"elbv2 describe-rules":                  object{"Rules": []any{object{"RuleArn": "arn:rule-of-another", "Priority": "9"}, object{"RuleArn": "arn:rule-default", "Priority": "default"}}},
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

// admitting is a security group with one rule.
func admitting(rule object) object {
	return object{"SecurityGroups": []any{object{"IpPermissions": []any{rule}}}}
}

// adopted are parameters that fit present, with two values still to be looked up.
func adopted(t *testing.T) string { return adoptedWith(t, nil) }

func adoptedWith(t *testing.T, more map[string]string) string {
	p := map[string]string{
		"VpcId": "vpc", "CreateBucket": "no", "CreateCluster": "no", "CreateRepository": "no", "ExistingLoadBalancerSecurityGroupId": "sg-lb",
		"ExistingLoadBalancerArn": "<adopt.sh --fill>", "ExistingHttpListenerArn": "<adopt.sh --fill>",
		"ExistingLoadBalancerDnsName": "old.example.com", "ExistingLoadBalancerZoneId": "<adopt.sh --fill>", "ConnectionArn": "<made in the console>",
		"Present_LoadBalancerName": "old", "Present_CodeBuildProject": "old-build",
	}
	maps.Copy(p, more)
	return params(t, p)
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
			p := adoptedWith(t, map[string]string{"ExistingHttpsListenerArn": c.https, "DomainName": c.domain})
			out, log, code := script(t, a, "adopt.sh", "--params", p)
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

func TestAdoptKnowsWhatAnEndpointKeepsOut(t *testing.T) {
	t.Parallel()
	const admits, refuses = "ok       endpoint ecr.api", "differs  endpoint ecr.api             sg-endpoint admits neither"
	port := func(from, to int, more object) object {
		rule := object{"IpProtocol": "tcp", "FromPort": from, "ToPort": to}
		for k, v := range more {
			rule[k] = v
		}
		return rule
	}
	ranges := func(cidrs ...string) object {
		var out []any
		for _, c := range cidrs {
			out = append(out, object{"CidrIp": c})
		}
		return object{"IpRanges": out}
	}
	groups := object{"UserIdGroupPairs": []any{object{"GroupId": "sg-0a"}}}
	for name, c := range map[string]struct {
		rule   object
		params map[string]string
		task   string // the group that the core stack made
		want   string
	}{
		"the whole VPC":            {port(443, 443, ranges("10.0.0.0/16")), nil, "", admits},
		"everybody, every port":    {object{"IpProtocol": "-1", "IpRanges": []any{object{"CidrIp": "0.0.0.0/0"}}}, nil, "", admits},
		"the subnet itself":        {port(0, 65535, ranges("10.0.1.0/24")), nil, "", admits},
		"another subnet":           {port(443, 443, ranges("10.0.2.0/24")), nil, "", refuses},
		"a part of the subnet":     {port(443, 443, ranges("10.0.1.0/25")), nil, "", refuses},
		"another port":             {port(80, 80, ranges("10.0.0.0/16")), nil, "", refuses},
		"a group of others":        {port(443, 443, groups), nil, "", refuses},
		"a group the tasks join":   {port(443, 443, groups), map[string]string{"ExtraSecurityGroupIds": "sg-0b,sg-0a"}, "", admits},
		"the group of the tasks":   {port(443, 443, groups), nil, "sg-0a", admits},
		"not part of a group's id": {port(443, 443, groups), map[string]string{"ExtraSecurityGroupIds": "sg-0ab"}, "", refuses},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := present(t)
			a.Answers["ec2 describe-security-groups"] = admitting(c.rule)
			if c.task != "" {
				a.Stacks["vectorstore-core"].Resources["TaskSecurityGroup"] = c.task
			}
			out, log, _ := script(t, a, "adopt.sh", "--params", adoptedWith(t, c.params))
			if !strings.Contains(out, c.want) {
				t.Errorf("no %q: %s%s", c.want, out, log)
			}
		})
	}
}

func TestAdoptKnowsWhatPriorityIsTaken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wanted, ours, want string
	}{
		"free":                {"10", "", "ok       rule priority                10"},
		"taken":               {"9", "", "differs  rule priority                9 is taken by another rule: set ListenerRulePriority to 10, which is free"},
		"taken by our own":    {"9", "arn:rule-of-another", "ok       rule priority                9"},
		"ours is another one": {"9", "arn:rule", "differs  rule priority"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := present(t)
			a.Stacks["vectorstore-core"].Resources["HttpRule"] = c.ours
			out, log, _ := script(t, a, "adopt.sh", "--params", adoptedWith(t, map[string]string{"ListenerRulePriority": c.wanted}))
			if !strings.Contains(out, c.want) {
				t.Errorf("no %q: %s%s", c.want, out, log)
			}
		})
	}
}

func TestAdoptFindsKeysOfSomebodysOwn(t *testing.T) {
	t.Parallel()
	const key = "arn:aws:kms:ap-northeast-1:111122223333:key/0-1"
	bucket := func(id string) func(*account) {
		return func(a *account) {
			a.Answers["s3api get-bucket-encryption"] = object{"ServerSideEncryptionConfiguration": object{"Rules": []any{
				object{"ApplyServerSideEncryptionByDefault": object{"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": id}},
			}}}
		}
	}
	secret := func(id string) func(*account) {
		return func(a *account) {
			a.Answers["secretsmanager describe-secret"] = object{"Name": "openai/config", "KmsKeyId": id}
		}
	}
	for name, c := range map[string]struct {
		change func(*account)
		params map[string]string
		code   int
		want   string
	}{
		"bucket, not said":     {bucket(key), nil, 1, "differs  key of the bucket            is " + key + ": set BucketKmsKeyArn to it"},
		"bucket, said":         {bucket(key), map[string]string{"BucketKmsKeyArn": key}, 0, "ok       key of the bucket"},
		"bucket, another one":  {bucket(key + "2"), map[string]string{"BucketKmsKeyArn": key}, 1, "differs  key of the bucket"},
		"bucket, by its id":    {bucket("0-1"), map[string]string{"BucketKmsKeyArn": key}, 0, "ok       key of the bucket            " + key},
		"bucket, AWS's own":    {bucket("alias/aws/s3"), nil, 0, "ok       encryption                   aws:kms"},
		"bucket, only said":    {func(*account) {}, map[string]string{"BucketKmsKeyArn": key}, 1, "there is none, parameters say " + key},
		"secret, not said":     {secret(key), nil, 1, "differs  key of the secret            is " + key + ": set SecretKmsKeyArn to it"},
		"secret, by its alias": {secret("alias/mine"), map[string]string{"SecretKmsKeyArn": key}, 0, "ok       key of the secret            " + key},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := present(t)
			a.Answers["kms describe-key"] = object{"KeyMetadata": object{"KeyManager": "CUSTOMER", "Arn": key}}
			c.change(a)
			out, log, code := script(t, a, "adopt.sh", "--params", adoptedWith(t, c.params))
			if code != c.code || !strings.Contains(out, c.want) {
				t.Errorf("exit %d, no %q: %s%s", code, c.want, out, log)
			}
		})
	}
}
