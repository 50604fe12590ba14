package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
)

type testDoc struct {
	FormatVersion int    `json:"format_version"`
	Text          string `json:"text"`
	Nonce         string `json:"nonce"`
}

func newDoc(text string) testDoc {
	return testDoc{FormatVersion: 1, Text: text, Nonce: store.NewNonce()}
}

var errLost = errors.New("connection reset")

// onPut gives the n-th write of a store (from 1) to fault, which may call the store or not; others pass.
func onPut(o store.Objects, fault func(n int, call func() error) error) store.Objects {
	var n atomic.Int32
	return store.Hooked(o, func(_ context.Context, op, _ string, call func() error) error {
		if op != store.OpPut && op != store.OpPutFile {
			return call()
		}
		return fault(int(n.Add(1)), call)
	})
}

func TestWriteDocRecognisesItsOwnLostWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem(nil)
		sent := 0
		o := onPut(mem, func(n int, call func() error) error {
			sent++
			err := call()
			if n == 1 {
				return errLost
			}
			return err
		})
		info, err := store.WriteDoc(t.Context(), o, "doc", newDoc("a"), store.PutOptions{IfAbsent: true})
		if err != nil || sent != 2 {
			t.Fatalf("after %d writes: %v", sent, err)
		}
		// The ETag that comes back is good for the next write.
		if _, err := store.WriteDoc(t.Context(), o, "doc", newDoc("b"), store.PutOptions{IfMatch: info.ETag}); err != nil {
			t.Error(err)
		}
	})
}

func TestWriteDocSendsTheSameBytesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem(nil)
		o := onPut(mem, func(n int, call func() error) error {
			if n < 4 {
				return errLost
			}
			return call()
		})
		doc := newDoc("a")
		if _, err := store.WriteDoc(t.Context(), o, "doc", doc, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		got, _, err := store.ReadDoc[testDoc](t.Context(), mem, "doc", store.GetOptions{})
		if err != nil || got != doc {
			t.Errorf("stored %+v, want %+v: %v", got, doc, err)
		}
	})
}

func TestWriteDocIsAConflictWhenAnotherWriterCameBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem(nil)
		o := onPut(mem, func(n int, call func() error) error {
			if n == 1 {
				if _, err := mem.Put(t.Context(), "doc", []byte("another's"), store.PutOptions{}); err != nil {
					return err
				}
				return errLost
			}
			return call()
		})
		_, err := store.WriteDoc(t.Context(), o, "doc", newDoc("a"), store.PutOptions{IfAbsent: true})
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("got %v, want ErrConflict", err)
		}
	})
}

func TestWriteDocLeavesItOpenWhenTheReadBackFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem(nil)
		if _, err := mem.Put(t.Context(), "doc", []byte("another's"), store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		o := store.Hooked(mem, func(_ context.Context, op, _ string, call func() error) error {
			if op == store.OpGet {
				return errLost
			}
			return call()
		})
		_, err := store.WriteDoc(t.Context(), o, "doc", newDoc("a"), store.PutOptions{IfAbsent: true})
		if err == nil || errors.Is(err, store.ErrConflict) || !errors.Is(err, errLost) {
			t.Errorf("got %v, want an error that is not ErrConflict", err)
		}
	})
}

func TestWriteDocGivesUpAfterBoundedTriesOrWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		o := onPut(storetest.NewMem(nil), func(int, func() error) error { sent++; return errLost })
		start := time.Now()
		if _, err := store.WriteDoc(t.Context(), o, "doc", newDoc("a"), store.PutOptions{}); !errors.Is(err, errLost) {
			t.Error(err)
		}
		if took := time.Since(start); sent != 5 || took > 2250*time.Millisecond {
			t.Errorf("sent %d times in %v, want 5 in at most 2.25 s", sent, took)
		}
		sent = 0
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := store.WriteDoc(ctx, o, "doc", newDoc("a"), store.PutOptions{})
		if sent != 1 || !errors.Is(err, errLost) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("sent %d times: %v", sent, err)
		}
	})
}

func TestWriteDocDoesNotRepeatWhatIsDenied(t *testing.T) {
	sent := 0
	o := onPut(storetest.NewMem(nil), func(int, func() error) error { sent++; return store.ErrDenied })
	if _, err := store.WriteDoc(t.Context(), o, "doc", newDoc("a"), store.PutOptions{}); !errors.Is(err, store.ErrDenied) || sent != 1 {
		t.Errorf("sent %d times: %v", sent, err)
	}
}

func TestWriteDocOverADeleteMarkerSaysSo(t *testing.T) {
	mem := storetest.NewVersionedMem(nil)
	if _, err := store.WriteDoc(t.Context(), mem, "doc", newDoc("a"), store.PutOptions{IfAbsent: true}); err != nil {
		t.Fatal(err)
	}
	if err := mem.Delete(t.Context(), "doc"); err != nil {
		t.Fatal(err)
	}
	_, err := store.WriteDoc(t.Context(), mem, "doc", newDoc("b"), store.PutOptions{IfAbsent: true})
	if !errors.Is(err, store.ErrDeleteMarker) {
		t.Errorf("got %v, want ErrDeleteMarker", err)
	}
}

func TestReadDocRefusesWhatIsNotSuchADocument(t *testing.T) {
	large := `{"format_version":1,"text":"` + strings.Repeat("x", store.MaxDocument) + `"}`
	for name, c := range map[string]struct {
		data string
		want error
	}{
		"nothing":         {"", snapshot.ErrCorrupt},
		"not JSON":        {"<html>", snapshot.ErrCorrupt},
		"cut off":         {`{"format_version":1,"text":"a`, snapshot.ErrCorrupt},
		"two documents":   {`{"format_version":1}{"format_version":1}`, snapshot.ErrCorrupt},
		"wrong type":      {`{"format_version":1,"text":5}`, snapshot.ErrCorrupt},
		"an array":        {`[]`, snapshot.ErrCorrupt},
		"no version":      {`{"text":"a"}`, snapshot.ErrCorrupt},
		"newer version":   {`{"format_version":3,"text":["other shape"]}`, snapshot.ErrNewer},
		"above the limit": {large, snapshot.ErrCorrupt},
	} {
		mem := storetest.NewMem(nil)
		if _, err := mem.Put(t.Context(), "doc", []byte(c.data), store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := store.ReadDoc[testDoc](t.Context(), mem, "doc", store.GetOptions{}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestSelfTestRefusesStoresThatDoNotKeepTheirWord(t *testing.T) {
	drop := func(change func(*store.PutOptions)) func(store.Objects) store.Objects {
		return func(o store.Objects) store.Objects { return lax{o, change} }
	}
	l := store.NewLayout("p", "")
	for name, wrap := range map[string]func(store.Objects) store.Objects{
		"If-None-Match ignored": drop(func(o *store.PutOptions) { o.IfAbsent = false }),
		"If-Match ignored":      drop(func(o *store.PutOptions) { o.IfMatch = "" }),
		"If-Match never met": func(o store.Objects) store.Objects {
			return lax{o, func(o *store.PutOptions) {
				if o.IfMatch != "" {
					o.IfMatch += "x"
				}
			}}
		},
		"listings lag": func(o store.Objects) store.Objects { return unlisted{o} },
	} {
		mem := storetest.NewMem(nil)
		if err := store.SelfTest(t.Context(), wrap(mem), l); !errors.Is(err, store.ErrUnusable) {
			t.Errorf("%s: %v, want ErrUnusable", name, err)
		}
		if keys := mem.Keys(""); len(keys) != 0 {
			t.Errorf("%s: left %v", name, keys)
		}
	}
}

func TestSelfTestDoesNotBlameTheStoreForAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := onPut(storetest.NewMem(nil), func(int, func() error) error { return errLost })
		err := store.SelfTest(t.Context(), o, store.NewLayout("p", ""))
		if err == nil || errors.Is(err, store.ErrUnusable) {
			t.Errorf("got %v", err)
		}
	})
}

// unlisted is a store that lists nothing yet.
type unlisted struct{ store.Objects }

func (unlisted) List(context.Context, string, func(store.Info) error) error { return nil }

// lax is a store that does not send the conditions it was given.
type lax struct {
	store.Objects
	change func(*store.PutOptions)
}

func (l lax) Put(ctx context.Context, key string, data []byte, o store.PutOptions) (store.Info, error) {
	l.change(&o)
	return l.Objects.Put(ctx, key, data, o)
}

func TestWritesSurviveRandomFaultsWithoutLosingOrInventingAny(t *testing.T) {
	// Each of 8 writers adds its own mark to one document; what it was told must be what happened.
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			mem := storetest.NewMem(nil)
			faults := storetest.NewFaults(seed)
			faults.Before, faults.After, faults.Slow, faults.MaxDelay = 0.15, 0.15, 0.3, time.Second
			if _, err := store.WriteDoc(t.Context(), mem, "doc", newDoc(""), store.PutOptions{IfAbsent: true}); err != nil {
				t.Fatal(err)
			}
			results := make([]error, 8)
			done := make(chan int)
			for w := range results {
				go func() {
					results[w] = addMark(t.Context(), storetest.Faulty(mem, faults), fmt.Sprintf("<%d>", w))
					done <- w
				}()
			}
			for range results {
				<-done
			}
			doc, _, err := store.ReadDoc[testDoc](t.Context(), mem, "doc", store.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for w, err := range results {
				n := strings.Count(doc.Text, fmt.Sprintf("<%d>", w))
				if n > 1 || err == nil && n != 1 {
					t.Errorf("seed %d: writer %d was told %v, its mark is there %d times in %s", seed, w, err, n, doc.Text)
				}
			}
		})
	}
}

// addMark appends mark to the document, from a fresh read after each conflict.
func addMark(ctx context.Context, o store.Objects, mark string) error {
	for {
		doc, info, err := store.ReadDoc[testDoc](ctx, o, "doc", store.GetOptions{})
		if err != nil {
			return err
		}
		if strings.Contains(doc.Text, mark) { // an earlier try that took effect and was replaced unseen
			return nil
		}
		doc.Text += mark
		doc.Nonce = store.NewNonce()
		_, err = store.WriteDoc(ctx, o, "doc", doc, store.PutOptions{IfMatch: info.ETag})
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}
