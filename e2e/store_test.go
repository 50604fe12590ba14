package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/e2e/harness"
)

// s3Env are settings that reach a store at url.
func s3Env(url string, more ...string) map[string]string {
	return with(map[string]string{
		"VECTORSTORE_S3_BUCKET": "b", "AWS_ENDPOINT_URL_S3": url, "AWS_REGION": "ap-northeast-1",
		"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "EMBEDDING_PROVIDER": "local",
	}, more...)
}

// Both binaries check the settings of the store, and every command does: one line that names the variable, exit 2.
func TestWrongStoreSettingsAreNamedInOneLineAndEndWithTwo(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 64)
	for variable, values := range map[string][]string{
		"VECTORSTORE_S3_BUCKET": {
			"s3://b", "arn:aws:s3:::b", "arn:aws:s3:ap-northeast-1:123456789012:accesspoint/b", "b/vectorstore", "https://b.s3.amazonaws.com",
			"B", "b..c", "-b", "b-", "b_c", " b", "192.168.0.1", long, "b\tc", "バケット",
		},
		"VECTORSTORE_S3_PREFIX": {
			"vectorstore//prod", "..", "a/../b", "./a", "a/.", "s3://b/vectorstore/prod", "arn:aws:s3:::b/p", "a\\b", "a\nb", "//a", "a//", " a",
			strings.Repeat("a/", 450) + "a", strings.Repeat("a", 256), ".vectorstore/p",
		},
		"VECTORSTORE_S3_SSE": {"aes256", "AES-256", "true", "aws:kms:arn"},
		"VECTORSTORE_SOURCE_KEY": {
			"/vectorstore/prod/vendors.json", "s3://b/vendors.json", "arn:aws:s3:::b/vendors.json", "https://b.s3.amazonaws.com/vendors.json",
			"file:///data/vendors.json", "a//b.json", "../vendors.json", "a/./b.json", "vectorstore/prod/", "a\\b.json", "a\x7f.json", "vendors.json ", ".vectorstore/x.json",
		},
		"AWS_ENDPOINT_URL_S3": {
			"localhost:9000", "minio", "//minio:9000", "s3://minio:9000", "ftp://minio", "http://", "http:///b", "http://minio:0", "http://minio:99999", "http://minio:port",
			"http://minio:9000?x=1", "http://minio:9000#x", "http://user:secret-word@minio:9000", "http://mi nio",
		},
		"AWS_ENDPOINT_URL":      {"localhost:9000", "minio.example"},
		"AWS_REGION":            {"ap_northeast_1", "Tokyo, Japan", "ap-northeast-1/"},
		"VECTORSTORE_STORE_DIR": {"s3://b/store", "file:///data"},
	} {
		for i, value := range values {
			env := s3Env("http://127.0.0.1:1", variable, value)
			if variable == "AWS_ENDPOINT_URL" {
				delete(env, "AWS_ENDPOINT_URL_S3")
			}
			if variable == "VECTORSTORE_STORE_DIR" {
				delete(env, "VECTORSTORE_S3_BUCKET")
			}
			command := [][]string{{"server"}, {"indexer", "run"}, {"indexer", "status"}, {"indexer", "reconcile", "--once"}}[i%4]
			_, stderr, code := harness.Run(t, command[0], env, command[1:]...)
			lines := strings.Split(strings.TrimSpace(stderr), "\n")
			if code != 2 || len(lines) != 1 || !strings.Contains(lines[0], variable) || strings.Contains(stderr, "secret-word") {
				t.Errorf("%v with %s=%.80q: exit %d, said %q", command, variable, value, code, stderr)
			}
		}
	}
}

func TestUsualStoreSettingsAreTaken(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }))
	defer s.Close()
	down := s.URL
	for _, env := range []map[string]string{
		s3Env(down, "VECTORSTORE_S3_PREFIX", "/vectorstore/prod/"),
		s3Env(down, "VECTORSTORE_S3_PREFIX", "/"),
		s3Env(down, "VECTORSTORE_S3_PREFIX", "ベンダー/本番 1"),
		s3Env(down, "VECTORSTORE_S3_BUCKET", "vendor-search.example-1", "VECTORSTORE_SOURCE_KEY", "in/ベンダー一覧.csv"),
		s3Env(down+"/", "AWS_REGION", "auto"),
		s3Env(down+"/storage/v1/s3", "AWS_ENDPOINT_URL", "nonsense which the other variable hides"),
	} {
		if _, stderr, code := harness.Run(t, "indexer", env, "list"); code != 1 || !strings.Contains(stderr, "access denied") {
			t.Errorf("%v: exit %d, said %q", env, code, stderr)
		}
	}
}

const snapshotID = "20261130T120000Z-0123abcd"

// oneShots are the commands that end.
var oneShots = [][]string{
	{"reconcile", "--once"}, {"reconcile", "--dry-run"}, {"reconcile"}, {"gc"}, {"gc", "--dry-run"}, {"status"}, {"list"}, {"show", snapshotID}, {"diff", snapshotID, snapshotID},
	{"verify", snapshotID}, {"promote", snapshotID}, {"rollback"}, {"pin", snapshotID}, {"unpin"}, {"suspend", "--reason", "why"}, {"resume"},
}

func TestCommandsEndWithAnAnswerThatWillNotChange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		code   string
	}{
		{403, "AccessDenied"}, {403, "SignatureDoesNotMatch"}, {404, "NoSuchBucket"}, {301, "PermanentRedirect"},
		{400, "AuthorizationHeaderMalformed"}, {400, "ExpiredToken"}, {405, "MethodNotAllowed"}, {501, "NotImplemented"},
	} {
		t.Run(fmt.Sprint(c.status, c.code), func(t *testing.T) {
			t.Parallel()
			requests := 0
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				requests++
				w.WriteHeader(c.status)
				fmt.Fprintf(w, "<Error><Code>%s</Code><Message>words of the store</Message></Error>", c.code)
			}))
			defer s.Close()
			for _, command := range oneShots {
				requests = 0
				stdout, stderr, code := harness.Run(t, "indexer", s3Env(s.URL), command...)
				if code != 1 || stdout != "" || requests > 40 {
					t.Errorf("%v: exit %d after %d requests, said %q and %q", command, code, requests, stdout, stderr)
				}
			}
		})
	}
}

func TestCommandsEndWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a server notices only then that its client has gone
		<-r.Context().Done()
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	var all sync.WaitGroup // together: each takes the 30 seconds
	for _, command := range oneShots {
		all.Go(func() {
			if _, stderr, code := harness.Run(t, "indexer", s3Env(s.URL), command...); code != 1 || !strings.Contains(stderr, "does not answer") {
				t.Errorf("%v: exit %d, said %q", command, code, stderr)
			}
		})
	}
	all.Wait()
}

func TestDaemonsSayWhatTheStoreRefuses(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(403)
		fmt.Fprint(w, "<Error><Code>AccessDenied</Code><Message>words of the store</Message></Error>")
	}))
	defer s.Close()
	ix := harness.StartIndexer(t, s3Env(s.URL))
	if l := ix.Await(t, "store self-test not possible", 1); l.Str("level") != "ERROR" || !strings.Contains(l.Str("error"), "access denied (403 AccessDenied") {
		t.Errorf("indexer: %v", l)
	}
	harness.Eventually(t, "the status says so", func() error {
		a, err := harness.Do("GET", ix.Admin+"/status", nil)
		if err == nil && !strings.Contains(string(a.Body), "StoreRefuses") {
			err = errors.New(string(a.Body))
		}
		return err
	})
	ix.Signal(15)
	if code := ix.Wait(t); code != 0 {
		t.Errorf("the indexer ended with %d", code)
	}
}

// What was not written is a failure, whichever command says it.
func TestResultsThatDoNotArriveAreFailures(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full here")
	}
	b := dirBackend(t)
	b.put(t, b.layout.Source, revision(0, 5))
	if _, stderr, code := harness.Run(t, "indexer", b.env, "reconcile", "--once"); code != 0 {
		t.Fatal(stderr)
	}
	for _, c := range [][]string{
		{"indexer", "list"}, {"indexer", "list", "-o", "json"}, {"indexer", "status"}, {"indexer", "gc", "--dry-run"}, {"indexer", "gc", "--once"}, {"indexer", "reconcile", "--dry-run"},
		{"indexer", "reconcile", "--once"}, {"indexer", "suspend", "--reason", "why"}, {"indexer", "resume"}, {"indexer", "unpin"},
		{"indexer", "--version"}, {"indexer", "--help"}, {"indexer", "gc", "--help"}, {"server", "--version"}, {"server", "--help"},
	} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(harness.Binary(t, c[0]), c[1:]...)
		var stderr strings.Builder
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = t.TempDir(), harness.Environ(b.env), full, &stderr
		err = cmd.Run()
		full.Close()
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "no space left on device") {
			t.Errorf("%v: %v, said %q", c, err, stderr.String())
		}
	}
}

func TestADirectoryThatIsNotThereIsSaid(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "unmounted")
	env := with(fast, "VECTORSTORE_STORE_DIR", dir)
	for _, command := range oneShots {
		if _, stderr, code := harness.Run(t, "indexer", env, command...); code != 1 || !strings.Contains(stderr, dir+" does not exist") {
			t.Errorf("%v: exit %d, said %q", command, code, stderr)
		}
	}
	ix := harness.StartIndexer(t, env)
	if l := ix.Await(t, "store self-test not possible", 1); l.Str("level") != "ERROR" || !strings.Contains(l.Str("error"), dir+" does not exist") {
		t.Errorf("indexer: %v", l)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("somebody made the directory")
	}
	// Mounted later, it is used.
	path := filepath.Join(dir, prefix, "vendors.json")
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, revision(0, 5), 0o644)); err != nil {
		t.Fatal(err)
	}
	harness.Within(t, 90*time.Second, "the indexer promotes", func() error {
		_, err := os.Stat(filepath.Join(dir, prefix, "current", "manifest.json"))
		return err
	})
}
