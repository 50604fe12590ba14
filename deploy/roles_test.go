package deploy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	inBucket = "arn:aws:s3:::bkt"
	inPrefix = "arn:aws:s3:::bkt/vectorstore/prod/"
)

// keys are resources below the prefix.
func keys(names ...string) (out []any) {
	for _, n := range names {
		out = append(out, inPrefix+n)
	}
	return out
}

// statements of all inline policies of a role, by Sid; Action and Resource are always lists.
func statements(t *testing.T, tp *template, role string) map[string]map[string]any {
	t.Helper()
	props := tp.ofType("AWS::IAM::Role")[role]
	if props == nil {
		t.Fatalf("no role %s", role)
	}
	if m := props["ManagedPolicyArns"]; m != nil {
		t.Errorf("%s has managed policies, which nobody here can review: %v", role, m)
	}
	out := map[string]map[string]any{}
	for _, p := range list(props["Policies"]) {
		for _, s := range list(dig(t, p, "PolicyDocument", "Statement")) {
			s := s.(map[string]any)
			sid := fmt.Sprint(s["Sid"])
			if out[sid] != nil {
				t.Errorf("%s: two statements %s", role, sid)
			}
			st := map[string]any{"Effect": s["Effect"], "Action": list(s["Action"]), "Resource": list(s["Resource"])}
			if s["Condition"] != nil {
				st["Condition"] = s["Condition"]
			}
			out[sid] = st
		}
	}
	return out
}

func allow(resources []any, actions ...any) map[string]any {
	return map[string]any{"Effect": "Allow", "Action": actions, "Resource": resources}
}

func deny(resources []any, actions ...any) map[string]any {
	return map[string]any{"Effect": "Deny", "Action": actions, "Resource": resources}
}

func with(s map[string]any, condition map[string]any) map[string]any {
	s["Condition"] = condition
	return s
}

func TestTaskRolesHoldExactlyTheseRights(t *testing.T) {
	listing := map[string]any{"StringLike": map[string]any{"s3:prefix": "vectorstore/prod/*"}}
	state := []string{"lease.json", "control.json", "gc.json", "status.json"}
	want := map[string]map[string]map[string]any{
		"IndexerRole": {
			"ListPrefix":             with(allow([]any{inBucket}, "s3:ListBucket"), listing),
			"ReadPrefix":             allow(keys("*"), "s3:GetObject"),
			"WriteOwnKeys":           allow(keys(append([]string{"2*", "current/*", "embeddings/*", "probe/*"}, state...)...), "s3:PutObject", "s3:AbortMultipartUpload"),
			"DeleteWhatCanBeRebuilt": allow(keys("2*", "embeddings/*", "probe/*", "replicas/*"), "s3:DeleteObject"),
			"NeverDeleteSourcePointerOrState": deny(keys(append([]string{"vendors.json", "golden.json", "current/*"}, state...)...),
				"s3:DeleteObject", "s3:DeleteObjectVersion"),
		},
		"ServerRole": {
			"ListPrefix":     with(allow([]any{inBucket}, "s3:ListBucket"), listing),
			"ReadPrefix":     allow(keys("*"), "s3:GetObject"),
			"WriteHeartbeat": allow(keys("replicas/*"), "s3:PutObject"),
			"NeverDelete":    deny([]any{inBucket + "/*"}, "s3:DeleteObject", "s3:DeleteObjectVersion"),
		},
	}
	inEachScenario(t, func(t *testing.T, tp *template) {
		want := map[string]map[string]map[string]any{"IndexerRole": maps.Clone(want["IndexerRole"]), "ServerRole": want["ServerRole"]}
		indexer := want["IndexerRole"]
		never := maps.Clone(indexer["NeverDeleteSourcePointerOrState"])
		if key := tp.params["SourceKey"]; key != "" {
			source := inBucket + "/" + key
			indexer["ReadSource"] = allow([]any{source}, "s3:GetObject")
			indexer["ListSource"] = with(allow([]any{inBucket}, "s3:ListBucket"), map[string]any{"StringLike": map[string]any{"s3:prefix": key}})
			never["Resource"] = slices.Insert(slices.Clone(list(never["Resource"])), 1, any(source))
		}
		if tp.params["EraseKey"] != "" {
			never["Action"] = []any{"s3:DeleteObject"}
			purge := keys("vendors.json", "vendors.d/*", "golden.json", "synonyms.json")
			if key := tp.params["SourceKey"]; key != "" {
				purge = slices.Insert(purge, 1, any(inBucket+"/"+key))
			}
			indexer["NeverPurgePeople"] = deny(purge, "s3:DeleteObjectVersion")
		}
		indexer["NeverDeleteSourcePointerOrState"] = never
		for role, statementsWanted := range want {
			if d := cmp.Diff(statementsWanted, statements(t, tp, role)); d != "" {
				t.Errorf("%s: %s", role, d)
			}
		}
		furtherPolicies(t, tp)
	})
}

// furtherPolicies are those that only some stacks have, on the roles that need them.
func furtherPolicies(t *testing.T, tp *template) {
	t.Helper()
	through := func(service string) map[string]any {
		return map[string]any{"StringEquals": map[string]any{"kms:ViaService": service + ".ap-northeast-1.amazonaws.com"}}
	}
	want := map[string]any{}
	if tp.params["EmbeddingProvider"] == "bedrock" {
		want["BedrockPolicy"] = []any{[]any{"<IndexerRole>", "<ServerRole>"}, map[string]any{"Sid": "InvokeEmbeddingModels", "Effect": "Allow", "Action": "bedrock:InvokeModel", "Resource": []any{
			"arn:aws:bedrock:ap-northeast-1::foundation-model/amazon.titan-embed-*",
			"arn:aws:bedrock:*::foundation-model/cohere.embed-*",
			"arn:aws:bedrock:ap-northeast-1:111122223333:inference-profile/*cohere.embed-*",
		}}}
	}
	if id, ok := strings.CutPrefix(tp.params["SigningKey"], "awskms://"); ok {
		want["SigningPolicy"] = []any{[]any{"<IndexerRole>"}, map[string]any{"Sid": "Sign", "Effect": "Allow", "Action": []any{"kms:Sign", "kms:GetPublicKey"}, "Resource": id}}
	}
	if key := tp.params["BucketKmsKeyArn"]; key != "" {
		want["BucketKeyPolicy"] = []any{[]any{"<ExecutionRole>", "<IndexerRole>", "<ServerRole>"}, map[string]any{
			"Sid": "ThroughS3", "Effect": "Allow", "Action": []any{"kms:Decrypt", "kms:GenerateDataKey"}, "Resource": key, "Condition": through("s3"),
		}}
	}
	if topic := tp.params["NotifyTopicArn"]; topic != "" {
		want["TopicPolicy"] = []any{[]any{"<IndexerRole>"}, map[string]any{"Sid": "Tell", "Effect": "Allow", "Action": "sns:Publish", "Resource": topic}}
	}
	if tp.params["EraseKey"] != "" {
		prefixes, source := []any{"vectorstore/prod/*"}, keys("vendors.json")[0]
		if key := tp.params["SourceKey"]; key != "" {
			prefixes, source = append(prefixes, key), inBucket+"/"+key
		}
		want["ErasePolicy"] = []any{
			[]any{"<IndexerRole>"},
			with(map[string]any{"Sid": "ListVersions", "Effect": "Allow", "Action": "s3:ListBucketVersions", "Resource": inBucket},
				map[string]any{"StringLike": map[string]any{"s3:prefix": prefixes}}),
			map[string]any{"Sid": "ReadVersions", "Effect": "Allow", "Action": "s3:GetObjectVersion", "Resource": append([]any{source}, keys("golden.json")...)},
			map[string]any{"Sid": "DeleteOwnVersions", "Effect": "Allow", "Action": "s3:DeleteObjectVersion",
				"Resource": keys("2*", "current/*", "embeddings/*", "control.json", "status.json")},
		}
	}
	got := map[string]any{}
	for name, p := range tp.ofType("AWS::IAM::Policy") {
		got[name] = append([]any{p["Roles"]}, list(dig(t, p, "PolicyDocument", "Statement"))...)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("further policies: %s", d)
	}
}

func TestExecutionRolePullsLogsAndReadsOneSecret(t *testing.T) {
	inEachScenario(t, func(t *testing.T, tp *template) {
		want := map[string]map[string]any{
			"RegistryLogin": allow([]any{"*"}, "ecr:GetAuthorizationToken"),
			"Pull": allow([]any{"arn:aws:ecr:ap-northeast-1:111122223333:repository/vectorstore"},
				"ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"),
			"Log":             allow([]any{"<ServerLogs.Arn>", "<IndexerLogs.Arn>"}, "logs:CreateLogStream", "logs:PutLogEvents"),
			"ReadTheSettings": allow([]any{inBucket + "/deploy/vectorstore/settings/*"}, "s3:GetObject"),
			"FindTheirBucket": allow([]any{inBucket}, "s3:GetBucketLocation"),
		}
		if arn := tp.params["SecretArn"]; arn != "" {
			want["ReadTheKey"] = allow([]any{arn, arn + "-??????"}, "secretsmanager:GetSecretValue")
		}
		if key := tp.params["SecretKmsKeyArn"]; key != "" {
			want["OpenTheSecret"] = with(allow([]any{key}, "kms:Decrypt"), map[string]any{"StringEquals": map[string]any{"kms:ViaService": "secretsmanager.ap-northeast-1.amazonaws.com"}})
		}
		if d := cmp.Diff(want, statements(t, tp, "ExecutionRole")); d != "" {
			t.Error(d)
		}
	})
}

func TestBucketPolicyDemandsTlsAndConditionalWrites(t *testing.T) {
	for _, name := range []string{"from nothing", "beside what exists"} {
		tp := load(t, dataPath, scenarios[name])
		p := tp.ofType("AWS::S3::BucketPolicy")["BucketPolicy"]
		got := dig(t, p, "PolicyDocument", "Statement")
		want := []any{
			map[string]any{
				"Sid": "TlsOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": []any{inBucket, inBucket + "/*"},
				"Condition": map[string]any{"Bool": map[string]any{"aws:SecureTransport": "false"}},
			},
			map[string]any{
				"Sid": "PointerAndStateOnlyByConditionalWrite", "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
				"Resource":  append(keys("current/manifest.json", "lease.json", "control.json", "gc.json", "status.json"), inBucket+"/"+lockKey),
				"Condition": map[string]any{"Null": map[string]any{"s3:if-match": "true", "s3:if-none-match": "true"}},
			},
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestNoRoleCanDoEverythingAnywhere(t *testing.T) {
	// These actions have no narrower resource, or are narrowed by a condition.
	wide := []string{"ecr:GetAuthorizationToken", "ecs:DescribeTaskDefinition", "ecs:RegisterTaskDefinition", "ecs:DescribeTasks", "ecs:ListTasks", "elasticloadbalancing:DescribeLoadBalancers"}
	for _, path := range templates {
		tp := load(t, path, scenarios["from nothing"])
		for role := range tp.ofType("AWS::IAM::Role") {
			for sid, s := range statements(t, tp, role) {
				for _, a := range list(s["Action"]) {
					if strings.Contains(a.(string), "*") {
						t.Errorf("%s %s: %v", role, sid, a)
					}
					if s["Effect"] == "Allow" && slices.Contains(list(s["Resource"]), "*") && !slices.Contains(wide, a.(string)) {
						t.Errorf("%s %s: %v on everything", role, sid, a)
					}
				}
			}
		}
	}
}
