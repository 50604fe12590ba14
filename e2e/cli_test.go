package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/taksuehiro/vectorstore/e2e/harness"
)

func decode[T any](t testing.TB, s string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%v in %.400q", err, s)
	}
	return v
}

func TestWrongSettingsAreNamedInOneLineAndEndWithTwo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ binary, variable, value string }{
		{"server", "POLL_INTERVAL", "soon"},
		{"server", "POLL_INTERVAL", "-1s"},
		{"server", "LISTEN_ADDR", "nonsense"},
		{"server", "MAX_QUEUE", "-1"},
		{"server", "SWAP_WHEN_TIGHT", "maybe"},
		{"server", "DEFAULT_MODE", "fuzzy"},
		{"server", "API_KEYS", "not-a-digest"},
		{"server", "RATE_LIMIT", "-1"},
		{"server", "LOG_LEVEL", "loud"},
		{"server", "DRAIN_TIME", "x"},
		{"server", "TRUSTED_PROXIES", "-3"},
		{"indexer", "RESYNC_INTERVAL", "0s"},
		{"indexer", "LEASE_TTL", "ever"},
		{"indexer", "LEASE_TTL", "4s"},
		{"indexer", "LEASE_TTL", "6m"},
		{"indexer", "INDEX_KIND", "btree"},
		{"indexer", "GATE_MIN_RECALL", "2"},
		{"indexer", "GATE_MAX_REMOVED", "-0.1"},
		{"indexer", "EMBEDDING_PROVIDER", "abacus"},
		{"indexer", "EMBEDDING_DIMENSIONS", "many"},
		{"indexer", "EMBEDDING_BATCH", "-1"},
		{"indexer", "EMBEDDING_BATCH", "4096"},
		{"indexer", "EMBEDDING_DOCUMENT_PREFIX", strings.Repeat("x", 2000)},
		{"indexer", "EMBEDDING_QUERY_PREFIX", strings.Repeat("x", 2000)},
		{"indexer", "EMBEDDING_MODEL", "text-embedding-3-small"}, // which local does not know
		{"indexer", "OPENAI_BASE_URL", "not a url"},
		{"indexer", "OPENAI_API_KEY", "sk-test-01234\r\n56789"},
		{"indexer", "OPENAI_API_KEY", "sk-test-01234\n56789"},
		{"indexer", "OPENAI_API_KEY", "sk-test\t01234"},
		{"indexer", "OPENAI_API_KEY", "sk-test-\x1b[0m"},
		{"indexer", "OPENAI_API_KEY", "sk-test-\u200b01234"},
		{"indexer", "OPENAI_API_KEY", "ｓｋ－０１２３４"},
		{"server", "OPENAI_API_KEY", "sk-test-01234\r\n56789"},
		{"indexer", "RETAIN_SNAPSHOTS", "-1"},
		{"indexer", "LOG_FORMAT", "xml"},
	} {
		_, stderr, code := harness.Run(t, c.binary, map[string]string{c.variable: c.value})
		lines := strings.Split(strings.TrimSpace(stderr), "\n")
		if strings.Contains(stderr, "01234") {
			t.Errorf("%s: the key is in %q", c.binary, stderr)
		}
		if code != 2 || len(lines) != 1 || !strings.Contains(lines[0], c.variable) {
			t.Errorf("%s with %s=%s: exit %d, said %q", c.binary, c.variable, c.value, code, stderr)
		}
	}
}

func TestHelpAndVersionGoToStandardOutput(t *testing.T) {
	t.Parallel()
	for _, binary := range []string{"indexer", "server"} {
		for _, flag := range []string{"--help", "--version"} {
			stdout, stderr, code := harness.Run(t, binary, nil, flag)
			if code != 0 || stdout == "" || stderr != "" {
				t.Errorf("%s %s: exit %d, %d bytes on stdout, stderr %q", binary, flag, code, len(stdout), stderr)
			}
		}
	}
	out, _, _ := harness.Run(t, "server", nil, "serve", "--help")
	for _, want := range []string{"VECTORSTORE_S3_BUCKET", "POLL_INTERVAL", "2s", "MAX_QUEUE", "256", "ALLOWED_ORIGINS"} {
		if !strings.Contains(out, want) {
			t.Errorf("server serve --help does not show %s", want)
		}
	}
}

// The READMEs' tables of settings say the defaults that --help says.
func TestReadmeDefaultsAreThoseOfHelp(t *testing.T) {
	t.Parallel()
	var help string
	for _, c := range [][]string{{"indexer", "run", "--help"}, {"server", "serve", "--help"}} {
		out, _, _ := harness.Run(t, c[0], nil, c[1:]...)
		help += " " + strings.Join(strings.Fields(out), " ")
	}
	quoted := regexp.MustCompile("`([^`]+)`")
	for _, readme := range []string{"README.md", "README.ja.md"} {
		data, err := os.ReadFile(filepath.Join(harness.Root(), readme))
		if err != nil {
			t.Fatal(err)
		}
		checked := 0
		for line := range strings.Lines(string(data)) {
			cells := strings.Split(line, "|")
			if len(cells) < 4 {
				continue
			}
			variables, defaults := quoted.FindAllStringSubmatch(cells[1], -1), quoted.FindAllStringSubmatch(cells[2], -1)
			for i := range defaults {
				if len(variables) != len(defaults) || variables[i][1] == "EMBEDDING_PROVIDER" { // which is a rule
					continue
				}
				checked++
				want := regexp.MustCompile(`--[a-z0-9-]+="?` + regexp.QuoteMeta(defaults[i][1]) + `"? [^$]*\(\$` + variables[i][1] + `\)`)
				if !want.MatchString(help) {
					t.Errorf("%s: %s is not %s by default, as --help says", readme, variables[i][1], defaults[i][1])
				}
			}
		}
		if checked < 4 {
			t.Errorf("%s: only %d defaults found", readme, checked)
		}
	}
}
