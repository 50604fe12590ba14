package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
)

// rewrite reads a document and writes it again, as whoever changes a part of it does.
func rewrite[T any](ctx context.Context, o store.Objects, key string) error {
	doc, info, err := store.ReadDoc[T](ctx, o, key, store.GetOptions{})
	if err == nil {
		_, err = store.WriteDoc(ctx, o, key, doc, store.PutOptions{IfMatch: info.ETag})
	}
	return err
}

// documents names every document of the store by the file of its example.
var documents = map[string]func(context.Context, store.Objects, string) error{
	"pointer.json":   rewrite[store.Pointer],
	"manifest.json":  rewrite[store.Manifest],
	"verdict.json":   rewrite[store.Verdict],
	"status.json":    rewrite[store.Status],
	"lease.json":     rewrite[store.Lease],
	"control.json":   rewrite[store.Control],
	"gc.json":        rewrite[store.GC],
	"heartbeat.json": rewrite[store.Heartbeat],
}

// examples are the documents of every released format, as its program wrote them: testdata/formats/<n>. A release that
// changes what is written adds a folder; none is ever changed.
func examples(t *testing.T, each func(t *testing.T, name string, data []byte)) {
	releases, err := filepath.Glob("testdata/formats/*")
	if err != nil || len(releases) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, dir := range releases {
		for name := range documents {
			t.Run(filepath.Base(dir)+"/"+name, func(t *testing.T) {
				data, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				each(t, name, data)
			})
		}
	}
}

// rewritten is what becomes of a document that is read and written again.
func rewritten(t *testing.T, name string, data []byte) []byte {
	t.Helper()
	mem := storetest.NewMem(nil)
	if _, err := mem.Put(t.Context(), "doc", data, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := documents[name](t.Context(), mem, "doc"); err != nil {
		t.Fatal(err)
	}
	return mem.Data("doc")
}

func TestEveryReleasedFormatIsReadAndRewrittenWhole(t *testing.T) {
	examples(t, func(t *testing.T, name string, data []byte) {
		if got := rewritten(t, name, data); compacted(t, got) != compacted(t, data) {
			t.Errorf("rewritten otherwise:\n%s", cmp.Diff(string(data), string(got)))
		}
	})
}

// TestWhatANewerReleaseAddsSurvivesARewrite adds members that this release does not know to every object of every
// document, first and last: the rewritten document has the same bytes but for whitespace, so every digest in it holds.
func TestWhatANewerReleaseAddsSurvivesARewrite(t *testing.T) {
	examples(t, func(t *testing.T, name string, data []byte) {
		data = newer(t, data)
		got := compacted(t, rewritten(t, name, data))
		if want := compacted(t, data); got != want {
			t.Errorf("rewritten otherwise:\n%s", cmp.Diff(want, got))
		}
		if strings.Count(got, "added_last") < 1 {
			t.Error("nothing was added")
		}
	})
}

func TestChangedMembersReplaceTheOldAndKeepTheUnknown(t *testing.T) {
	mem := storetest.NewMem(nil)
	was := `{"novel":[{"key":"k"}],"nonce":"a","format_version":1,"pin":{"until":"2027-01-01","id":"20260102T030405Z-0123abcd","by":"a"}}`
	if _, err := mem.Put(t.Context(), "doc", []byte(was), store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	c, info, err := store.ReadDoc[store.Control](t.Context(), mem, "doc", store.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.Pin.By, c.Nonce, c.Suspended = "b", "n", &store.Intent{By: "c"}
	if _, err := store.WriteDoc(t.Context(), mem, "doc", c, store.PutOptions{IfMatch: info.ETag}); err != nil {
		t.Fatal(err)
	}
	want := `{"novel":[{"key":"k"}],"nonce":"n","format_version":1,"pin":{"until":"2027-01-01","id":"20260102T030405Z-0123abcd","by":"b","at":"0001-01-01T00:00:00Z"},"suspended":{"by":"c","at":"0001-01-01T00:00:00Z"}}`
	if got := compacted(t, mem.Data("doc")); got != want {
		t.Error(cmp.Diff(want, got))
	}
	// A member that was taken away stays away.
	c.Pin = nil
	if _, err := store.WriteDoc(t.Context(), mem, "doc", c, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := string(mem.Data("doc")); strings.Contains(got, "pin") || !strings.Contains(got, "novel") {
		t.Errorf("after the pin was taken away: %s", got)
	}
}

func TestPromotionOfAManifestThatANewerReleaseWroteKeepsItsMembers(t *testing.T) {
	data, err := os.ReadFile("testdata/formats/1/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	data = newer(t, data)
	var head struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		t.Fatal(err)
	}
	m, err := store.ParseManifest(data, head.ID)
	if err != nil {
		t.Fatal(err)
	}
	p := store.Pointer{
		Kind: store.KindPointer, Manifest: m, ManifestSHA256: store.ManifestDigest(data), Lineage: "l", Generation: 1, Nonce: "n",
	}
	mem := storetest.NewMem(nil)
	if _, err := store.WriteDoc(t.Context(), mem, layout.Pointer(), p, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	got, _, err := store.ReadPointer(t.Context(), mem, layout, "")
	if err != nil || got.Spec != m.Spec || got.SpecDigest != m.SpecDigest {
		t.Errorf("spec %+v, want %+v: %v", got.Spec, m.Spec, err)
	}
	var raw map[string]any
	if err := json.Unmarshal(mem.Data(layout.Pointer()), &raw); err != nil || raw["added_first"] == nil || raw["added_last"] == nil {
		t.Errorf("members of the manifest are gone: %v", err)
	}
}

func TestSpecDigestIsOfTheBytes(t *testing.T) {
	plain := `{"embedding":{"provider":"p","model":"m<&>","dims":8,"version":"1"},"metric":"inner_product","text_template":"v1","index_kind":"auto"}`
	newer := `{"embedding":{"provider":"p","prefix":"query: ","model":"m<&>","dims":8,"version":"1"},"metric":"inner_product","text_template":"v1","index_kind":"auto"}`
	for _, spec := range []string{plain, newer} {
		sum := sha256.Sum256([]byte(spec))
		data := fmt.Sprintf(`{"format_version":1,"id":"20260102T030405Z-0123abcd","spec":%s,"spec_digest":"%s",
			"files":[{"name":"index.faiss","size":1,"sha256":"%s"}]}`, spec, hex.EncodeToString(sum[:]), strings.Repeat("a", 64))
		m, err := store.ParseManifest([]byte(data), "20260102T030405Z-0123abcd")
		if err != nil || m.Spec.EmbeddingKnown() == (spec == newer) {
			t.Errorf("%s: embedding known %v, %v", spec, m.Spec.EmbeddingKnown(), err)
		}
		if _, err := store.ParseManifest([]byte(strings.Replace(data, `"dims":8`, `"dims":9`, 1)), "20260102T030405Z-0123abcd"); !errors.Is(err, snapshot.ErrCorrupt) {
			t.Errorf("%s with another size: %v", spec, err)
		}
	}
}

func TestNewerFormatsAreRefusedAsSuch(t *testing.T) {
	examples(t, func(t *testing.T, name string, data []byte) {
		mem := storetest.NewMem(nil)
		data = bytes.Replace(data, []byte(`"format_version"`), []byte(`"format_version":99,"was"`), 1)
		if _, err := mem.Put(t.Context(), "doc", data, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := documents[name](t.Context(), mem, "doc"); !errors.Is(err, snapshot.ErrNewer) || errors.Is(err, snapshot.ErrCorrupt) {
			t.Errorf("%v, want snapshot.ErrNewer", err)
		}
	})
}

func compacted(t *testing.T, data []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// newer is data as a later release of the same format might have written it.
func newer(t *testing.T, data []byte) []byte {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var b bytes.Buffer
	extend(t, dec, &b)
	return b.Bytes()
}

const extra = `{"list":[1.50,"<&>\u2028",{"x":null}],"日本":true}`

// extend copies one value, adding members to every object, and makes spec_digest right again.
func extend(t *testing.T, dec *json.Decoder, b *bytes.Buffer) {
	t.Helper()
	token, err := dec.Token()
	if err != nil {
		t.Fatal(err)
	}
	switch token {
	case json.Delim('['):
		b.WriteByte('[')
		for i := 0; dec.More(); i++ {
			if i > 0 {
				b.WriteByte(',')
			}
			extend(t, dec, b)
		}
		b.WriteByte(']')
	case json.Delim('{'):
		b.WriteString(`{"added_first":` + extra)
		for digest := ""; dec.More(); {
			name, err := dec.Token()
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(b, ",%q:", name)
			switch at := b.Len(); name {
			case "spec":
				extend(t, dec, b)
				sum := sha256.Sum256(b.Bytes()[at:])
				digest = hex.EncodeToString(sum[:])
			case "spec_digest":
				extend(t, dec, b)
				b.Truncate(at)
				fmt.Fprintf(b, "%q", digest)
			case "deleting", "holds": // by id: no object of ours
				extend(t, dec, b)
				b.Truncate(at)
				b.WriteString(`{"20260102T030405Z-0123abcd":{"at":"2026-01-02T03:04:05Z","by":"x","added_last":1}}`)
			case "retired":
				extend(t, dec, b)
				b.Truncate(at)
				b.WriteString(`{"20260102T030405Z-0123abcd":{"from":"2026-01-02T03:04:05Z","to":"2026-01-02T03:05:05Z","added_last":1}}`)
			default:
				extend(t, dec, b)
			}
			if !dec.More() {
				break
			}
		}
		if _, err := dec.Token(); err != nil {
			t.Fatal(err)
		}
		b.WriteString(`,"added_last":` + extra + `}`)
		return
	default:
		data, err := json.Marshal(token)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(data)
		return
	}
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
}
