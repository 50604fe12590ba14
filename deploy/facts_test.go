package deploy

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Names and ids of one account stay in its parameters file: the rest of the repository must fit anybody's.
var facts = regexp.MustCompile(`\b(?:vpc|subnet|sg|vpce|eni|i|lb)-[0-9a-f]{8,17}\b|arn:aws:[a-z0-9-]+:[a-z0-9-]*:\d{12}:|\b\d{12}\.dkr\.ecr\b|-\d{6,}\.[a-z0-9-]+\.elb\.amazonaws\.com\b`)

// exampleAccount is one of the two that AWS's own documents use.
const exampleAccount = "111122223333"

// choices are parameters whose values say how to do it, not what somebody's account holds.
var choices = []string{"Project", "TakeTraffic", "AssignPublicIp", "Prefix", "EmbeddingProvider", "LegacyCopies", "ServerCpu", "ServerMemory", "IndexerCpu", "IndexerMemory", "GitHubRepository", "Branch"}

// factsOf are the values of every real account's parameters file: its id, and each name and id in it.
func factsOf(t *testing.T) (out []string) {
	t.Helper()
	files, err := filepath.Glob("params/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		var p struct {
			AccountId           string
			Present, Parameters map[string]string
		}
		if err := json.Unmarshal([]byte(readFile(t, f)), &p); err != nil {
			t.Fatal(err)
		}
		if p.AccountId == exampleAccount {
			continue
		}
		out = append(out, p.AccountId)
		for _, m := range []map[string]string{p.Present, p.Parameters} {
			for k, v := range m {
				if slices.Contains(choices, k) || strings.HasPrefix(k, "Create") {
					continue
				}
				for _, s := range strings.Split(v, ",") {
					_, secret, _ := strings.Cut(s, ":secret:")
					// The project's name stands in the name of the file, which documents may mention.
					for _, s := range []string{s, secret} {
						if s != "" && s != p.Parameters["Project"] && !strings.HasPrefix(s, "<") {
							out = append(out, s)
						}
					}
				}
			}
		}
	}
	if len(out) < 10 {
		t.Fatalf("only %d facts in the parameters files", len(out))
	}
	return out
}

func TestFactsOfAnAccountStayInItsParametersFile(t *testing.T) {
	out, err := exec.Command("git", "-C", "..", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	secrets := factsOf(t)
	for _, name := range strings.Split(strings.TrimRight(string(out), "\x00"), "\x00") {
		if strings.HasPrefix(name, "deploy/params/") || strings.HasSuffix(name, "go.sum") {
			continue
		}
		b, err := readAny(filepath.Join("..", name))
		if err != nil {
			continue // deleted, or being written
		}
		for _, m := range facts.FindAllString(b, -1) {
			if !strings.Contains(m, exampleAccount) && !strings.Contains(m, "123456789012") {
				t.Errorf("%s holds %q", name, m)
			}
		}
		for _, s := range secrets {
			if strings.Contains(b, s) {
				t.Errorf("%s holds %q", name, s)
			}
		}
	}
}
