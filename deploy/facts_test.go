package deploy

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Names and ids of one account stay in its parameters file: the rest of the repository must fit anybody's.
var facts = regexp.MustCompile(`\b(?:vpc|subnet|sg|vpce|eni|i|lb)-[0-9a-f]{8,17}\b|arn:aws:[a-z0-9-]+:[a-z0-9-]*:\d{12}:|\b\d{12}\.dkr\.ecr\b|-\d{6,}\.[a-z0-9-]+\.elb\.amazonaws\.com\b`)

// exampleAccount is the one that AWS's own documents use.
const exampleAccount = "111122223333"

func TestFactsOfAnAccountStayInItsParametersFile(t *testing.T) {
	out, err := exec.Command("git", "-C", "..", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	var secrets []string
	params, _ := filepath.Glob("params/*.json")
	for _, f := range params {
		var p struct {
			AccountId string
			Present   map[string]string
		}
		if err := json.Unmarshal([]byte(readFile(t, f)), &p); err != nil {
			t.Fatal(err)
		}
		if p.AccountId != exampleAccount {
			secrets = append(secrets, p.AccountId, p.Present["LoadBalancerName"])
		}
	}
	if len(secrets) == 0 {
		t.Fatal("no parameters file of a real account")
	}
	for _, name := range strings.Split(strings.TrimRight(string(out), "\x00"), "\x00") {
		if strings.HasPrefix(name, "deploy/params/") || strings.HasSuffix(name, "go.sum") {
			continue
		}
		b, err := readAny(filepath.Join("..", name))
		if err != nil {
			continue // deleted, or being written
		}
		for _, m := range facts.FindAllString(b, -1) {
			if !strings.Contains(m, exampleAccount) {
				t.Errorf("%s holds %q", name, m)
			}
		}
		for _, s := range secrets {
			if s != "" && strings.Contains(b, s) {
				t.Errorf("%s holds %q", name, s)
			}
		}
	}
}
