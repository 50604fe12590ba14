package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/store"
)

func put(t *testing.T, o store.Objects, key, data string) store.Info {
	t.Helper()
	info, err := o.Put(t.Context(), key, []byte(data), store.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func etag(t *testing.T, o store.Objects, key string) string {
	t.Helper()
	info, err := o.Head(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return info.ETag
}

func TestDirObjectsArePlainFiles(t *testing.T) {
	root := t.TempDir()
	d := openDir(t, root)
	put(t, d, "p/a/b.json", "ours")
	if got, err := os.ReadFile(filepath.Join(root, "p", "a", "b.json")); string(got) != "ours" {
		t.Errorf("%q, %v", got, err)
	}
	if got, want := d.URL("p/a/b.json"), "file://"+root+"/p/a/b.json"; got != want {
		t.Errorf("URL %s, want %s", got, want)
	}
	var keys []string
	if err := d.List(t.Context(), "", func(i store.Info) error { keys = append(keys, i.Key); return nil }); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(keys) != "[p/a/b.json]" {
		t.Errorf("listed %v: our own files must not show", keys)
	}
}

func TestDirSeesEveryWayInWhichPeopleSaveAFile(t *testing.T) {
	root := t.TempDir()
	d := openDir(t, root)
	path := filepath.Join(root, "vendors.json")
	for _, size := range []int{10, store.MaxDocument + 10} { // by content, and by inode, size and time
		base := bytes.Repeat([]byte("a"), size)
		save := func(data []byte) {
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		save(base)
		first := etag(t, d, "vendors.json")
		if again := etag(t, d, "vendors.json"); again != first {
			t.Errorf("size %d: ETag %s, then %s", size, first, again)
		}
		time.Sleep(20 * time.Millisecond) // past the clock tick of the file system
		changed := append(bytes.Clone(base[:size-1]), 'b')
		save(changed) // in place, same size
		second := etag(t, d, "vendors.json")
		if second == first {
			t.Errorf("size %d: an edit in place went unseen", size)
		}
		tmp := filepath.Join(root, "vendors.json~")
		if err := os.WriteFile(tmp, base[1:], 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, path); err != nil { // as most editors do
			t.Fatal(err)
		}
		if third := etag(t, d, "vendors.json"); third == second {
			t.Errorf("size %d: a replacement went unseen", size)
		}
	}
}

func TestDirSourceThatChangesWhileItIsReadIsNotTakenForOneVersion(t *testing.T) {
	root := t.TempDir()
	d := openDir(t, root)
	path := filepath.Join(root, "vendors.json")
	if err := os.WriteFile(path, bytes.Repeat([]byte("a"), store.MaxDocument+1000), 0o644); err != nil {
		t.Fatal(err)
	}
	body, _, err := d.Get(t.Context(), "vendors.json", store.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.ReadFull(body, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("more"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := io.Copy(io.Discard, body); !errors.Is(err, store.ErrConflict) {
		t.Errorf("read to the end: %v, want ErrConflict", err)
	}
}

func TestDirMetadataNeverBelongsToAnotherFile(t *testing.T) {
	root := t.TempDir()
	d := openDir(t, root)
	meta := store.PutOptions{Metadata: map[string]string{"Snapshot-Id": "x"}}
	if _, err := d.Put(t.Context(), "current/index.faiss", []byte("ours"), meta); err != nil {
		t.Fatal(err)
	}
	info, err := d.Head(t.Context(), "current/index.faiss")
	if err != nil || info.Metadata["snapshot-id"] != "x" {
		t.Errorf("metadata %v, %v", info.Metadata, err)
	}
	if err := os.WriteFile(filepath.Join(root, "current", "index.faiss"), []byte("somebody's"), 0o644); err != nil {
		t.Fatal(err)
	}
	if info, err = d.Head(t.Context(), "current/index.faiss"); err != nil || len(info.Metadata) != 0 {
		t.Errorf("metadata %v after somebody replaced the file, %v", info.Metadata, err)
	}
}

func TestDirRemovesLeftoversOfCrashedWritersOnly(t *testing.T) {
	root := t.TempDir()
	tmp := filepath.Join(root, ".vectorstore", "tmp")
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	make := func(name string, at time.Time) string {
		path := filepath.Join(tmp, name)
		if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
		return path
	}
	orphan, held, fresh := make("write-orphan", old), make("write-held", old), make("write-fresh", time.Now())
	f, err := os.Open(held)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	openDir(t, root)
	for path, want := range map[string]bool{orphan: false, held: true, fresh: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s there: %v, want %v", filepath.Base(path), err == nil, want)
		}
	}
	// Asked for later on: what was young then is told from a writer's now, and the young are counted.
	d := openDir(t, root)
	make("write-younger", time.Now())
	if err := os.Chtimes(fresh, old, old); err != nil {
		t.Fatal(err)
	}
	hooked := store.Hooked(d, func(_ context.Context, _, _ string, call func() error) error { return call() })
	if left := store.DropInterrupted(hooked); left != 1 {
		t.Errorf("%d left, want the younger one", left)
	}
	if _, err := os.Stat(fresh); err == nil {
		t.Error("what a killed writer left is still there")
	}
}

func TestDirWriteWaitsForTheLockOnlyAsLongAsItsContext(t *testing.T) {
	root := t.TempDir()
	d := openDir(t, root)
	if err := os.Mkdir(filepath.Join(root, ".vectorstore"), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(root, ".vectorstore", "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil { // another process, stopped
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := d.Put(ctx, "a", []byte("x"), store.PutOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("put: %v", err)
	}
	if names, _ := filepath.Glob(filepath.Join(root, ".vectorstore", "tmp", "*")); len(names) != 0 {
		t.Errorf("left %v", names)
	}
	f.Close()
	put(t, d, "a", "x")
}

func TestDirRefusesItsOwnNamesAndOddFiles(t *testing.T) {
	root := t.TempDir()
	d := openDir(t, root)
	if _, err := d.Put(t.Context(), ".vectorstore/lock", []byte("x"), store.PutOptions{}); !errors.Is(err, store.ErrInvalidKey) {
		t.Errorf("put over the lock: %v", err)
	}
	if err := syscall.Mkfifo(filepath.Join(root, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Head(t.Context(), "fifo"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("head of a FIFO: %v", err)
	}
	put(t, d, "a/b", "x")
	if _, _, err := d.Get(t.Context(), "a", store.GetOptions{}); !errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("get of a directory: %v", err)
	}
	if _, err := d.Put(t.Context(), "a", []byte("x"), store.PutOptions{}); err == nil {
		t.Error("put over a directory succeeded")
	}
	if _, err := d.Put(t.Context(), "a/b/c", []byte("x"), store.PutOptions{}); err == nil {
		t.Error("put below a file succeeded")
	}
}

// TestDirBetweenProcesses counts in one document from several processes, some of which are killed.
func TestDirBetweenProcesses(t *testing.T) {
	if root := os.Getenv("VECTORSTORE_TEST_DIR"); root != "" {
		countForever(t, root)
		return
	}
	root := t.TempDir()
	d := openDir(t, root)
	if _, err := store.WriteDoc(t.Context(), d, "n.json", newDoc("0"), store.PutOptions{IfAbsent: true}); err != nil {
		t.Fatal(err)
	}
	told := 0
	for round := range 3 {
		var outs []*bytes.Buffer
		var cmds []*exec.Cmd
		for range 4 {
			cmd := exec.Command(os.Args[0], "-test.run=^TestDirBetweenProcesses$")
			cmd.Env = append(os.Environ(), "VECTORSTORE_TEST_DIR="+root)
			out := &bytes.Buffer{}
			cmd.Stdout = out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			outs, cmds = append(outs, out), append(cmds, cmd)
		}
		waitFor(t, func() bool { return count(t, d) >= 20*(round+1) })
		for _, cmd := range cmds {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		for _, out := range outs {
			told += strings.Count(out.String(), "counted\n")
		}
	}
	// A process that was killed between its write and its line counted one that it did not report.
	if n := count(t, d); n < told || n > told+12 {
		t.Errorf("counted %d, reported %d by 12 processes", n, told)
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
	}
}

func count(t *testing.T, d *store.Dir) int {
	t.Helper()
	doc, _, err := store.ReadDoc[testDoc](t.Context(), d, "n.json", store.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(doc.Text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func countForever(t *testing.T, root string) {
	d := openDir(t, root)
	for {
		doc, info, err := store.ReadDoc[testDoc](t.Context(), d, "n.json", store.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.Atoi(doc.Text)
		_, err = store.WriteDoc(t.Context(), d, "n.json", newDoc(strconv.Itoa(n+1)), store.PutOptions{IfMatch: info.ETag})
		if err == nil {
			fmt.Println("counted")
		} else if !errors.Is(err, store.ErrConflict) {
			t.Fatal(err)
		}
	}
}
