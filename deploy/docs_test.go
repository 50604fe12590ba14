package deploy

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The documents that the team reads in Japanese. Prose is translated; what is typed and what is printed is not.
var translated = map[string]string{
	"../README.md":       "../README.ja.md",
	"../docs/DEPLOY.md":  "../docs/DEPLOY.ja.md",
	"../docs/MODELS.md":  "../docs/MODELS.ja.md",
	"../docs/RUNBOOK.md": "../docs/RUNBOOK.ja.md",
	"../docs/COST.md":    "../docs/COST.ja.md",
}

var codeBlock = regexp.MustCompile("(?ms)^[ ]*```[a-z]*\n.*?^[ ]*```$")

// blocks of code without comments, which are prose, and without indentation.
func blocks(text string) (out []string) {
	for _, b := range codeBlock.FindAllString(text, -1) {
		var lines []string
		for _, l := range strings.Split(b, "\n") {
			l, _, _ = strings.Cut(l, " # ")
			if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "# ") {
				lines = append(lines, l)
			}
		}
		out = append(out, strings.Join(lines, "\n"))
	}
	return out
}

// outline is the depth of every heading outside of code, in order.
func outline(text string) (out []string) {
	for _, m := range regexp.MustCompile(`(?m)^(#+) `).FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
		out = append(out, m[1])
	}
	return out
}

func TestTranslationsKeepStep(t *testing.T) {
	for en, ja := range translated {
		a, b := readFile(t, en), readFile(t, ja)
		if d := cmp.Diff(outline(a), outline(b)); d != "" {
			t.Errorf("%s: headings (-%s +%s): %s", ja, en, ja, d)
		}
		if d := cmp.Diff(blocks(a), blocks(b)); d != "" {
			t.Errorf("%s: commands and output (-%s +%s): %s", ja, en, ja, d)
		}
		if rows, want := strings.Count(b, "\n|"), strings.Count(a, "\n|"); rows != want {
			t.Errorf("%s has %d table rows, %s has %d", ja, rows, en, want)
		}
		if !regexp.MustCompile(`[ぁ-ん]`).MatchString(b) {
			t.Errorf("%s is not Japanese", ja)
		}
		if !strings.Contains(b, filepath.Base(en)) {
			t.Errorf("%s does not lead to %s", ja, en)
		}
	}
}

// The alarms lead to these sections, whichever language is read.
func TestRunbooksHaveTheSameSections(t *testing.T) {
	ja := anchors(t, "../docs/RUNBOOK.ja.md")
	for a := range anchors(t, "../docs/RUNBOOK.md") {
		if strings.Contains(a, "-") && !ja[a] {
			t.Errorf("RUNBOOK.ja.md has no section %s", a)
		}
	}
}

func TestLinksInTheDocumentsLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)]+)\)`)
	for en, ja := range translated {
		for _, f := range []string{en, ja} {
			for _, m := range link.FindAllStringSubmatch(readFile(t, f), -1) {
				target, anchor, _ := strings.Cut(m[1], "#")
				if strings.Contains(target, "://") {
					continue
				}
				path := f
				if target != "" {
					path = filepath.Join(filepath.Dir(f), target)
				}
				if _, err := os.Stat(path); err != nil {
					t.Errorf("%s links to %s: %v", f, m[1], err)
				} else if anchor != "" && strings.HasSuffix(path, ".md") && !anchors(t, path)[anchor] {
					t.Errorf("%s links to %s: no such heading", f, m[1])
				}
			}
		}
	}
}

// What a reader is told to type exists: scripts with their options, files, parameters.
func TestDocumentsNameWhatExists(t *testing.T) {
	path := regexp.MustCompile(`\b(?:deploy|docs|testdata)/[A-Za-z0-9_./-]*[A-Za-z0-9]`)
	option := regexp.MustCompile(`deploy/(\w+\.sh)([^\n|]*)`)
	for en := range translated {
		text := readFile(t, en)
		for _, p := range path.FindAllString(text, -1) {
			if strings.HasSuffix(p, "/mine.json") {
				continue
			}
			if _, err := os.Stat("../" + p); err != nil {
				t.Errorf("%s: %v", en, err)
			}
		}
		for _, m := range option.FindAllStringSubmatch(text, -1) {
			script := readFile(t, m[1])
			for _, o := range regexp.MustCompile(`(?:^| )(--[a-z-]+)`).FindAllStringSubmatch(strings.Split(m[2], "`")[0], -1) {
				if !strings.Contains(script, o[1]) {
					t.Errorf("%s: %s has no option %s", en, m[1], o[1])
				}
			}
		}
	}
	parameters := load(t, pipelinePath, nil).section("Resources")
	for _, path := range templates {
		maps.Copy(parameters, load(t, path, nil).section("Parameters"))
	}
	conditions := map[string]bool{}
	sources, _ := filepath.Glob("../internal/*/*.go")
	for _, f := range sources {
		for _, m := range regexp.MustCompile(`"([A-Z][A-Za-z]+)"`).FindAllStringSubmatch(readFile(t, f), -1) {
			conditions[m[1]] = true
		}
	}
	for _, en := range []string{"../docs/DEPLOY.md", "../docs/RUNBOOK.md"} {
		for _, m := range regexp.MustCompile("`([A-Z][a-z]+(?:[A-Z][a-z]+)+(?:GiB)?)`").FindAllStringSubmatch(readFile(t, en), -1) {
			// Alerts, conditions of the programs, and ECS's own words look like parameters.
			if strings.HasPrefix(m[1], "Vectorstore") || strings.HasSuffix(m[1], "Error") || conditions[m[1]] || m[1] == "OutOfMemory" || m[1] == "DeployLock" {
				continue
			}
			if parameters[m[1]] == nil {
				t.Errorf("%s: no template has a parameter %s", en, m[1])
			}
		}
	}
}

// shown are the lines that the guide prints after a command, in each language.
func shown(t *testing.T, command string) (out []string) {
	t.Helper()
	for _, s := range steps(t, guide) {
		if slices.Contains(s.commands, command) && s.shown != nil {
			return s.shown
		}
	}
	t.Fatalf("the guide shows no output of %s", command)
	return nil
}

func TestTheGuideShowsWhatTheScriptsPrint(t *testing.T) {
	t.Parallel()
	printed := func(command, got string) {
		t.Helper()
		lines := strings.Split(got, "\n")
		for i := range lines {
			lines[i] = spaces.ReplaceAllString(strings.TrimSpace(lines[i]), " ")
		}
		for _, l := range shown(t, command) {
			if l != "…" && !slices.ContainsFunc(lines, pattern(l).MatchString) {
				t.Errorf("%s does not print %s:\n%s", command, l, got)
			}
		}
	}
	a := present(t)
	for _, gone := range []string{"ecs describe-clusters", "s3api get-bucket-location", "ecr describe-repositories", "elbv2 describe-load-balancers", "codebuild batch-get-projects"} {
		delete(a.Answers, gone)
	}
	a.Answers["ec2 describe-vpc-endpoints"] = object{"VpcEndpoints": []any{}}
	for id, zone := range map[string]string{"subnet-1": "a", "subnet-2": "c"} {
		cidr := map[string]string{"a": "10.0.0.0/24", "c": "10.0.1.0/24"}[zone]
		a.Answers["ec2 describe-subnets "+id] = object{"Subnets": []any{object{"VpcId": "vpc-1", "AvailabilityZone": "ap-northeast-1" + zone, "CidrBlock": cidr}}}
	}
	const connection = "arn:aws:codestar-connections:ap-northeast-1:111122223333:connection/1"
	a.Answers["codestar-connections list-connections"] = object{"Connections": []any{object{"ConnectionStatus": "AVAILABLE", "ConnectionArn": connection}}}
	a.Errors = map[string]string{"cloudformation describe-stacks": stackGone}
	out, _, _ := script(t, a, "adopt.sh", "--params", params(t, map[string]string{
		"VpcId": "vpc-1", "TaskSubnetIds": "subnet-1,subnet-2", "LoadBalancerSubnetIds": "subnet-1,subnet-2", "ConnectionArn": connection,
	}))
	printed("deploy/adopt.sh --params deploy/params/mine.json", out)

	a = running(t, strings.NewReplacer("20260102T030405Z-01234567", "20260102T031502Z-6b1f0c2e", `"generation":3`, `"generation":1`).Replace(serving))
	for _, name := range []string{"vectorstore-server", "vectorstore-indexer"} {
		s := a.Services[name]
		for revision := 1; revision <= 3; revision++ {
			arn := strings.TrimSuffix(s.First, ":1") + ":" + string(rune('0'+revision))
			a.Definitions[arn] = a.Definitions[s.First]
			s.Definition = arn
		}
		s.First = s.Definition
	}
	_, log, code := script(t, a, "deploy.sh", "--params", params(t, nil))
	if code != 0 {
		t.Fatal(log)
	}
	log = strings.NewReplacer("IN_PROGRESS, 2 of 2", "IN_PROGRESS, 3 of 2", "vectorstore-indexer: COMPLETED, 2 of 2", "vectorstore-indexer: COMPLETED, 1 of 1").Replace(log)
	printed("deploy/deploy.sh --params deploy/params/mine.json", log)
}

// cells of the table under a heading, without its head.
func cells(t *testing.T, path, heading string) (rows [][]string) {
	t.Helper()
	_, text, _ := strings.Cut(readFile(t, path), "\n## "+heading+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	for _, l := range strings.Split(text, "\n") {
		if strings.HasPrefix(l, "| ") && !strings.HasPrefix(l, "|---") {
			row := strings.Split(strings.Trim(l, "| "), " | ")
			rows = append(rows, row)
		}
	}
	if len(rows) < 5 {
		t.Fatalf("%s: no table under %s", path, heading)
	}
	return rows[1:]
}

func TestCostsAddUp(t *testing.T) {
	const path, month = "../docs/COST.md", 730
	price := map[string]float64{}
	for _, r := range cells(t, path, "Prices") {
		price[r[0]] = number(t, r[2])
	}
	cost := func(vcpu, gb float64, arm string) float64 {
		return month * (vcpu*price["Fargate"+arm+", vCPU"] + gb*price["Fargate"+arm+", memory"] + price["public IPv4 address"])
	}
	same := func(what, said string, is float64) {
		t.Helper()
		if got := strings.Trim(said, "*"); got != fmt.Sprintf("%.2f", is) {
			t.Errorf("%s: %s, it is %.2f", what, got, is)
		}
	}
	for _, r := range cells(t, path, "Tasks") {
		vcpu, gb := number(t, r[0]), number(t, r[1])
		same("task "+r[0]+" "+r[1], r[2], cost(vcpu, gb, ""))
		same("on arm64 "+r[0]+" "+r[1], r[3], cost(vcpu, gb, " on arm64"))
	}
	whole := cells(t, path, "A whole month")
	monitoring := load(t, monitoringPath, nil)
	alarms, filters := len(monitoring.ofType("AWS::CloudWatch::Alarm")), len(monitoring.ofType("AWS::Logs::MetricFilter"))
	for col := 1; col <= 3; col++ {
		var vcpu, gb float64
		if _, err := fmt.Sscanf(whole[0][col], "%f vCPU, %f GB", &vcpu, &gb); err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for _, r := range whole[2 : len(whole)-1] {
			sum += number(t, r[col])
		}
		same("three tasks", whole[2][col], 3*cost(vcpu, gb, ""))
		same("load balancer", whole[3][col], month*(price["Application Load Balancer"]+price["load balancer capacity unit"]))
		same("addresses", whole[4][col], 2*month*price["public IPv4 address"])
		same(fmt.Sprint(alarms, " alarms"), whole[6][col], float64(alarms)*price["alarm"])
		same(fmt.Sprint(filters, " metrics"), whole[7][col], float64(filters)*price["metric of one's own"])
		same("sum", whole[len(whole)-1][col], sum)
	}
}
