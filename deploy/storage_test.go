package deploy

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBucketIsPrivateVersionedAndEncrypted(t *testing.T) {
	b := load(t, dataPath, scenarios["from nothing"]).ofType("AWS::S3::Bucket")["Bucket"]
	pab := map[string]any{"BlockPublicAcls": true, "BlockPublicPolicy": true, "IgnorePublicAcls": true, "RestrictPublicBuckets": true}
	if d := cmp.Diff(pab, b["PublicAccessBlockConfiguration"]); d != "" {
		t.Errorf("public access block: %s", d)
	}
	if got := dig(t, b, "VersioningConfiguration", "Status"); got != "Enabled" {
		t.Errorf("versioning %v", got)
	}
	if got := dig(t, b, "BucketEncryption", "ServerSideEncryptionConfiguration", 0, "ServerSideEncryptionByDefault", "SSEAlgorithm"); got != "AES256" {
		t.Errorf("encryption %v", got)
	}
}

func TestNoBucketIsMadeOverAnExistingOne(t *testing.T) {
	tp := load(t, corePath, scenarios["beside what exists"])
	for _, typ := range []string{
		"AWS::S3::Bucket", "AWS::ECR::Repository", "AWS::ECS::Cluster",
		"AWS::ElasticLoadBalancingV2::LoadBalancer", "AWS::ElasticLoadBalancingV2::Listener",
	} {
		for _, tp := range []*template{tp, load(t, dataPath, scenarios["beside what exists"])} {
			if got := tp.ofType(typ); len(got) > 0 {
				t.Errorf("%s made: %v", typ, got)
			}
		}
	}
	for name, r := range tp.resources() {
		if strings.HasPrefix(r["Type"].(string), "AWS::EC2::VPC") {
			t.Errorf("%s touches the shared network", name)
		}
	}
}

// lifecycleRules of core.yaml in the form that lifecycle.sh prints.
func lifecycleRules(t *testing.T) []any {
	b := load(t, dataPath, scenarios["from nothing"]).ofType("AWS::S3::Bucket")["Bucket"]
	return dig(t, b, "LifecycleConfiguration", "Rules").([]any)
}

func TestLifecycleCannotTouchWhatIsServedOrWhatPeopleWrote(t *testing.T) {
	const p = "vectorstore/prod/"
	for _, r := range lifecycleRules(t) {
		rule := r.(map[string]any)
		prefix := rule["Prefix"].(string)
		for _, key := range []string{p + "current/manifest.json", p + "current/index.faiss", p + "current/index.pkl", p + "vendors.json", p + "golden.json", p + "control.json"} {
			copied := prefix == p+"current/index." && strings.HasPrefix(key, prefix)
			if strings.HasPrefix(key, prefix) && !copied || copied && rule["ExpiredObjectDeleteMarker"] != nil {
				t.Errorf("rule %v matches %s", rule["Id"], key)
			}
		}
		for _, k := range []string{"ExpirationInDays", "ExpirationDate", "Transitions", "Transition"} {
			if rule[k] != nil {
				t.Errorf("rule %v has %s: live objects are the indexer's to delete", rule["Id"], k)
			}
		}
	}
}

func TestLifecycleOfAnExistingBucketIsTheSame(t *testing.T) {
	out, _, code := script(t, nil, "lifecycle.sh", "--params", "params/example.json")
	if code != 0 {
		t.Fatal("exit", code)
	}
	var got struct{ Rules []map[string]any }
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	var want []map[string]any
	for _, r := range lifecycleRules(t) {
		rule := r.(map[string]any)
		w := map[string]any{"ID": rule["Id"], "Status": rule["Status"], "Filter": map[string]any{"Prefix": rule["Prefix"]}}
		for _, k := range []string{"NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"} {
			if rule[k] != nil {
				w[k] = rule[k]
			}
		}
		if rule["ExpiredObjectDeleteMarker"] != nil {
			w["Expiration"] = map[string]any{"ExpiredObjectDeleteMarker": rule["ExpiredObjectDeleteMarker"]}
		}
		want = append(want, w)
	}
	if d := cmp.Diff(numbers(want), numbers(got.Rules)); d != "" {
		t.Error(d)
	}
}

// numbers makes 1, 1.0 and "1" equal, as CloudFormation does.
func numbers(v any) string {
	b, _ := json.Marshal(v)
	var s strings.Builder
	for _, r := range string(b) {
		if r != '"' {
			s.WriteRune(r)
		}
	}
	return s.String()
}
