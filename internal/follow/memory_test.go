package follow

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMemoryArithmetic(t *testing.T) {
	for _, c := range []struct {
		need, used, limit int64
		ok                bool
	}{{100, 100, 0, true}, {1 << 30, 1 << 30, 4 << 30, true}, {1 << 30, 3 << 30, 4 << 30, false}, {50, 40, 100, true}, {51, 40, 100, false}} {
		if err := fits(c.need, c.used, c.limit); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if residentAnonymous() < 1<<20 || systemLimit() < 64<<20 {
		t.Errorf("resident %d, limit %d", residentAnonymous(), systemLimit())
	}
}

func TestAbandonedPrivateCachesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, "server", "private-1")
	must(t, os.MkdirAll(left, 0o700))
	c, err := openCache(dir, "s3://b/p/")
	must(t, err)
	defer c.close()
	if exists(left) {
		t.Error("still there")
	}
	other, err := openCache(dir, "s3://b/p/")
	must(t, err)
	if other.private == "" || other.root == c.root {
		t.Error("two processes share a cache")
	}
	must(t, other.close())
	if exists(other.private) {
		t.Error("private cache left behind")
	}
}

func TestReplicaIDsAreSafeKeys(t *testing.T) {
	if got := replicaID("", "abcd"); !strings.HasSuffix(got, "-abcd") || strings.ContainsAny(got, "/ ") {
		t.Error(got)
	}
	if got := replicaID("../a b/ü", ""); strings.ContainsAny(got, "/ ü") {
		t.Error(got)
	}
}
