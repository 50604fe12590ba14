package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// Contract runs what every implementation of store.Objects must do. open returns a store that keeps what it held
// between calls within one test; keys of the subtests do not overlap.
func Contract(t *testing.T, open func(t *testing.T) store.Objects) {
	for _, c := range []struct {
		name string
		test func(*testing.T, store.Objects)
	}{
		{"what was put is what is got", testRoundTrip},
		{"a missing key is ErrNotFound", testMissing},
		{"a range is exactly those bytes", testRanges},
		{"conditional reads", testConditionalGet},
		{"conditional writes", testConditionalPut},
		{"of 32 racing creations one wins", testRacingCreate},
		{"of 32 racing replacements one wins", testRacingReplace},
		{"no increment of 8 writers is lost", testCounter},
		{"delete is idempotent", testDelete},
		{"what was deleted can be created, or says why not", testCreateDeleted},
		{"list is in key order and filters by prefix", testListOrder},
		{"list goes on after 1,000 keys", testListPages},
		{"list stops when told", testListStops},
		{"a large file round-trips and obeys its condition", testPutFile},
		{"times are the store's", testTimes},
		{"keys that leave the store are refused", testInvalidKeys},
		{"a cancelled context ends it", testCancelled},
		{"the self-test passes", testSelfTest},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func testRoundTrip(t *testing.T, o store.Objects) {
	for _, data := range [][]byte{nil, []byte("x"), []byte("日本語 <&> \x00\xff"), bytes.Repeat([]byte("ab"), 500_000)} {
		key := fmt.Sprintf("p/round/日本 語+&=?#%%-%d", len(data))
		put := mustPut(t, o, key, data, store.PutOptions{Metadata: map[string]string{"snapshot-id": "abc"}})
		body, got := mustGet(t, o, key, store.GetOptions{})
		if !bytes.Equal(body, data) {
			t.Fatalf("%s: got %d bytes, want %d", key, len(body), len(data))
		}
		head, err := o.Head(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		for name, info := range map[string]store.Info{"put": put, "get": got, "head": head} {
			if info.Key != key || info.ETag == "" || info.ETag != put.ETag || info.Size != int64(len(data)) {
				t.Errorf("%s says %+v, want key, size %d and ETag %s", name, info, len(data), put.ETag)
			}
		}
		if want := map[string]string{"snapshot-id": "abc"}; !cmp.Equal(head.Metadata, want) || !cmp.Equal(got.Metadata, want) {
			t.Errorf("metadata %v and %v, want %v", head.Metadata, got.Metadata, want)
		}
	}
	mustPut(t, o, "p/round/again", []byte("1"), store.PutOptions{Metadata: map[string]string{"snapshot-id": "abc"}})
	mustPut(t, o, "p/round/again", []byte("2"), store.PutOptions{})
	if _, info := mustGet(t, o, "p/round/again", store.GetOptions{}); len(info.Metadata) != 0 {
		t.Errorf("metadata %v survived an overwrite without", info.Metadata)
	}
}

func testMissing(t *testing.T, o store.Objects) {
	mustPut(t, o, "p/missing/there", []byte("x"), store.PutOptions{})
	for _, key := range []string{"p/missing/not", "p/missing/there/not", "p/missing", "nowhere/at/all"} {
		_, _, err := o.Get(t.Context(), key, store.GetOptions{})
		wantErr(t, "get "+key, err, store.ErrNotFound)
		_, err = o.Head(t.Context(), key)
		wantErr(t, "head "+key, err, store.ErrNotFound)
	}
	_, err := o.Put(t.Context(), "p/missing/not", []byte("x"), store.PutOptions{IfMatch: `"0123456789abcdef0123456789abcdef"`})
	if !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) {
		t.Errorf("put with IfMatch on a missing key: %v", err)
	}
	_, err = store.WriteBytes(t.Context(), o, "p/missing/not", []byte("x"), store.PutOptions{IfMatch: `"0123456789abcdef0123456789abcdef"`})
	wantErr(t, "WriteBytes with IfMatch on a missing key", err, store.ErrConflict)
}

func testRanges(t *testing.T, o store.Objects) {
	data := []byte("0123456789")
	mustPut(t, o, "p/range", data, store.PutOptions{})
	for _, c := range []struct {
		offset, length int64
		want           string
	}{{0, 0, "0123456789"}, {3, 0, "3456789"}, {0, 4, "0123"}, {3, 4, "3456"}, {9, 1, "9"}, {5, 100, "56789"}} {
		body, info := mustGet(t, o, "p/range", store.GetOptions{Offset: c.offset, Length: c.length})
		if string(body) != c.want || info.Size != 10 {
			t.Errorf("range %d+%d: %q of %d bytes, want %q of 10", c.offset, c.length, body, info.Size, c.want)
		}
	}
	_, _, err := o.Get(t.Context(), "p/range", store.GetOptions{Offset: 10, Length: 1})
	wantErr(t, "a range behind the end", err, snapshot.ErrCorrupt)
	mustPut(t, o, "p/range-empty", nil, store.PutOptions{})
	if body, info := mustGet(t, o, "p/range-empty", store.GetOptions{Length: 5}); len(body) != 0 || info.Size != 0 {
		t.Errorf("range of an empty object: %q, size %d", body, info.Size)
	}
}

func testConditionalGet(t *testing.T, o store.Objects) {
	first := mustPut(t, o, "p/cond-get", []byte("1"), store.PutOptions{})
	_, _, err := o.Get(t.Context(), "p/cond-get", store.GetOptions{IfNoneMatch: first.ETag})
	wantErr(t, "IfNoneMatch of the current ETag", err, store.ErrNotModified)
	mustGet(t, o, "p/cond-get", store.GetOptions{IfMatch: first.ETag})
	mustPut(t, o, "p/cond-get", []byte("2"), store.PutOptions{})
	if body, _ := mustGet(t, o, "p/cond-get", store.GetOptions{IfNoneMatch: first.ETag}); string(body) != "2" {
		t.Errorf("IfNoneMatch of an old ETag: %q", body)
	}
	_, _, err = o.Get(t.Context(), "p/cond-get", store.GetOptions{IfMatch: first.ETag})
	wantErr(t, "IfMatch of an old ETag", err, store.ErrConflict)
}

func testConditionalPut(t *testing.T, o store.Objects) {
	const key = "p/cond-put"
	first := mustPut(t, o, key, []byte("1"), store.PutOptions{IfAbsent: true})
	_, err := o.Put(t.Context(), key, []byte("2"), store.PutOptions{IfAbsent: true})
	wantErr(t, "IfAbsent over an object", err, store.ErrConflict)
	second := mustPut(t, o, key, []byte("2"), store.PutOptions{IfMatch: first.ETag})
	if second.ETag == first.ETag {
		t.Errorf("other bytes, same ETag %s", second.ETag)
	}
	_, err = o.Put(t.Context(), key, []byte("3"), store.PutOptions{IfMatch: first.ETag})
	wantErr(t, "IfMatch of an old ETag", err, store.ErrConflict)
	if body, info := mustGet(t, o, key, store.GetOptions{}); string(body) != "2" || info.ETag != second.ETag {
		t.Errorf("after a refused write: %q %s", body, info.ETag)
	}
}

func testRacingCreate(t *testing.T, o store.Objects) {
	for round := range 3 {
		key := fmt.Sprintf("p/race/create-%d", round)
		raceOnce(t, o, key, store.PutOptions{IfAbsent: true})
	}
}

func testRacingReplace(t *testing.T, o store.Objects) {
	for round := range 3 {
		key := fmt.Sprintf("p/race/replace-%d", round)
		first := mustPut(t, o, key, []byte("start"), store.PutOptions{})
		raceOnce(t, o, key, store.PutOptions{IfMatch: first.ETag})
	}
}

// raceOnce lets 32 writers loose with the same condition.
func raceOnce(t *testing.T, o store.Objects, key string, cond store.PutOptions) {
	t.Helper()
	const writers = 32
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() { _, errs[i] = store.WriteBytes(t.Context(), o, key, body(i), cond) })
	}
	wg.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner >= 0:
			t.Fatalf("%s: writers %d and %d both won", key, winner, i)
		case err == nil:
			winner = i
		default:
			wantErr(t, fmt.Sprintf("%s: writer %d", key, i), err, store.ErrConflict)
		}
	}
	if winner < 0 {
		t.Fatalf("%s: nobody won", key)
	}
	if got, _ := mustGet(t, o, key, store.GetOptions{}); !bytes.Equal(got, body(winner)) {
		t.Errorf("%s: holds %q, writer %d was told that it won", key, got, winner)
	}
}

func body(i int) []byte { return fmt.Appendf(nil, "writer %d", i) }

func testCounter(t *testing.T, o store.Objects) {
	type counter struct {
		FormatVersion int    `json:"format_version"`
		N             int    `json:"n"`
		Nonce         string `json:"nonce"`
	}
	const key, writers, each = "p/counter.json", 8, 5
	if _, err := store.WriteDoc(t.Context(), o, key, counter{FormatVersion: 1}, store.PutOptions{IfAbsent: true}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				doc, info, err := store.ReadDoc[counter](t.Context(), o, key, store.GetOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				doc.N++
				doc.Nonce = store.NewNonce()
				_, err = store.WriteDoc(t.Context(), o, key, doc, store.PutOptions{IfMatch: info.ETag})
				if err == nil {
					done++
				} else if !errors.Is(err, store.ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	doc, _, err := store.ReadDoc[counter](t.Context(), o, key, store.GetOptions{})
	if err != nil || doc.N != writers*each {
		t.Errorf("counted %d, want %d: %v", doc.N, writers*each, err)
	}
}

func testDelete(t *testing.T, o store.Objects) {
	mustPut(t, o, "p/delete/a", []byte("x"), store.PutOptions{Metadata: map[string]string{"k": "v"}})
	for range 2 {
		if err := o.Delete(t.Context(), "p/delete/a"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := o.Head(t.Context(), "p/delete/a")
	wantErr(t, "head after delete", err, store.ErrNotFound)
	if err := o.Delete(t.Context(), "p/delete/never/was"); err != nil {
		t.Errorf("delete of what never was: %v", err)
	}
	if keys := list(t, o, "p/delete/"); len(keys) != 0 {
		t.Errorf("listed after delete: %v", keys)
	}
}

// testCreateDeleted knows both kinds of store: on one a creation over a delete marker succeeds, on the other the key
// stays hidden until people remove the marker, and says so.
func testCreateDeleted(t *testing.T, o store.Objects) {
	const key = "p/deleted/doc"
	first, err := store.WriteBytes(t.Context(), o, key, []byte("1"), store.PutOptions{IfAbsent: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	// By its last ETag it is gone, or (versitygw) still the version that is replaced: never another one.
	_, err = store.WriteBytes(t.Context(), o, key, []byte("2"), store.PutOptions{IfMatch: first.ETag})
	if err == nil {
		if body, _ := mustGet(t, o, key, store.GetOptions{}); string(body) != "2" {
			t.Errorf("replaced by %q", body)
		}
		return
	}
	wantErr(t, "replacing what was deleted", err, store.ErrConflict)
	_, err = store.WriteBytes(t.Context(), o, key, []byte("2"), store.PutOptions{IfAbsent: true})
	if errors.Is(err, store.ErrDeleteMarker) {
		_, err := o.Head(t.Context(), key)
		wantErr(t, "head after a refused creation", err, store.ErrNotFound)
		return
	}
	if err != nil {
		t.Fatalf("create what was deleted: %v", err)
	}
	if body, _ := mustGet(t, o, key, store.GetOptions{}); string(body) != "2" {
		t.Errorf("created %q", body)
	}
}

// LargeFile is how many bytes the large file of the contract has: above S3's part size, and not a multiple of it.
const LargeFile = 20<<20 + 12345

func testPutFile(t *testing.T, o store.Objects) {
	const key = "p/file/large"
	path := filepath.Join(t.TempDir(), "large")
	data := bytes.Repeat([]byte("0123456789abcdefg"), LargeFile/17+1)[:LargeFile]
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	put, err := o.PutFile(t.Context(), key, path, store.PutOptions{IfAbsent: true, Metadata: map[string]string{"sha256": "x"}})
	if err != nil {
		t.Fatal(err)
	}
	got, info := mustGet(t, o, key, store.GetOptions{})
	if !bytes.Equal(got, data) || info.Size != LargeFile || info.ETag != put.ETag || info.Metadata["sha256"] != "x" {
		t.Fatalf("got %d bytes and %+v, put %+v", len(got), info, put)
	}
	tail, _ := mustGet(t, o, key, store.GetOptions{Offset: LargeFile - 100, Length: 100, IfMatch: put.ETag})
	if !bytes.Equal(tail, data[LargeFile-100:]) {
		t.Error("the last range differs")
	}
	_, err = o.PutFile(t.Context(), key, path, store.PutOptions{IfAbsent: true})
	wantErr(t, "a second creation", err, store.ErrConflict)
	data[0] = 'X'
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	second, err := o.PutFile(t.Context(), key, path, store.PutOptions{IfMatch: put.ETag})
	if err != nil || second.ETag == put.ETag {
		t.Fatalf("replacement: %v, ETag %s after %s", err, second.ETag, put.ETag)
	}
	_, err = o.PutFile(t.Context(), key, path, store.PutOptions{IfMatch: put.ETag})
	wantErr(t, "a replacement of an old version", err, store.ErrConflict)
	if _, err := o.PutFile(t.Context(), key, path+"-not", store.PutOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func testTimes(t *testing.T, o store.Objects) {
	put := mustPut(t, o, "p/times", []byte("x"), store.PutOptions{})
	head, err := o.Head(t.Context(), "p/times")
	if err != nil {
		t.Fatal(err)
	}
	_, got := mustGet(t, o, "p/times", store.GetOptions{})
	for name, info := range map[string]store.Info{"put": put, "head": head, "get": got} {
		// Seconds are all that HTTP carries: an age may come out a second below zero.
		if info.LastModified.IsZero() || info.Date.IsZero() || info.Age() < -time.Second || info.Age() > time.Minute {
			t.Errorf("%s: LastModified %v, Date %v", name, info.LastModified, info.Date)
		}
	}
}

func testInvalidKeys(t *testing.T, o store.Objects) {
	long := strings.Repeat("x", 1025)
	for _, key := range []string{"", "/a", "a/", "a//b", ".", "..", "a/../b", "../a", "a/./b", "a\x00b", "a\nb", `a\b`, long} {
		_, err := o.Put(t.Context(), key, []byte("x"), store.PutOptions{})
		wantErr(t, fmt.Sprintf("put %.20q", key), err, store.ErrInvalidKey)
	}
}

func testCancelled(t *testing.T, o store.Objects) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.Put(ctx, "p/cancelled", []byte("x"), store.PutOptions{}); err == nil {
		t.Error("put succeeded")
	}
	if _, _, err := o.Get(ctx, "p/cancelled", store.GetOptions{}); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("get: %v", err)
	}
}

func testSelfTest(t *testing.T, o store.Objects) {
	l := store.NewLayout("p/self", "")
	if err := store.SelfTest(t.Context(), o, l); err != nil {
		t.Error(err)
	}
	if keys := list(t, o, "p/self/"); len(keys) != 0 {
		t.Errorf("it left %v", keys)
	}
}

func mustPut(t *testing.T, o store.Objects, key string, data []byte, opts store.PutOptions) store.Info {
	t.Helper()
	info, err := o.Put(t.Context(), key, data, opts)
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return info
}

func mustGet(t *testing.T, o store.Objects, key string, opts store.GetOptions) ([]byte, store.Info) {
	t.Helper()
	body, info, err := o.Get(t.Context(), key, opts)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	return data, info
}

func list(t *testing.T, o store.Objects, prefix string) []string {
	t.Helper()
	var keys []string
	if err := o.List(t.Context(), prefix, func(info store.Info) error {
		keys = append(keys, info.Key)
		return nil
	}); err != nil {
		t.Fatalf("list %s: %v", prefix, err)
	}
	return keys
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}
