package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
	"github.com/taksuehiro/vectorstore/internal/store/storetest"
)

const eraseSecret = "0123456789abcdef0123456789abcdef"

func eraseKey(t *testing.T, secret string) *store.EraseKey {
	t.Helper()
	k, err := store.NewEraseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func erasureOf(k *store.EraseKey, ids ...string) *store.Erasure {
	e := &store.Erasure{Revision: 1, Key: k.ID()}
	for _, id := range ids {
		e.Records = append(e.Records, store.Erased{Name: k.Name(id), By: "somebody"})
	}
	return e
}

func TestErasedNamesTellOnlyWhoHasTheKey(t *testing.T) {
	k, other := eraseKey(t, eraseSecret), eraseKey(t, strings.ToUpper(eraseSecret))
	e := erasureOf(k, "V-1", "ベンダー")
	match := e.Matcher(k)
	for id, want := range map[string]bool{"V-1": true, "ベンダー": true, "V-2": false, "v-1": false, "V-1~2": false} {
		if got := match(snapshot.IDHash(id)); got != want {
			t.Errorf("%q: %v", id, got)
		}
	}
	if erasureOf(other, "V-1").Matcher(k)(snapshot.IDHash("V-1")) || k.Name("V-1") == other.Name("V-1") {
		t.Error("another key makes the same names")
	}
	if !k.Opens(e) || other.Opens(e) || (*store.EraseKey)(nil).Opens(e) || !(*store.EraseKey)(nil).Opens(nil) {
		t.Error("which key opens an erasure")
	}
	if s := fmt.Sprintf("%v %+v %#v %s", k, k, k, k); strings.Contains(s, eraseSecret) || strings.Contains(s, "48 49") {
		t.Errorf("the key is shown: %s", s)
	}
	if _, err := store.NewEraseKey(eraseSecret[1:]); err == nil || strings.Contains(err.Error(), eraseSecret[1:]) {
		t.Errorf("a short key: %v", err)
	}
}

func TestErasureIsKnownByItsRecords(t *testing.T) {
	k := eraseKey(t, eraseSecret)
	a, b := erasureOf(k, "V-1", "V-2"), erasureOf(k, "V-2", "V-1")
	b.Revision = 7
	if a.Mark() != b.Mark() || a.Mark() == "" || a.Mark() == erasureOf(k, "V-1").Mark() {
		t.Errorf("%q %q", a.Mark(), b.Mark())
	}
	var none *store.Erasure
	if none.Mark() != "" || (&store.Erasure{Revision: 3}).Mark() != "" {
		t.Error("nothing to erase has a mark")
	}
	if !a.Older(b) || b.Older(a) || !none.Older(a) || a.Older(none) {
		t.Error("which is older")
	}
	far := &store.Erasure{Revision: a.Revision + 1001}
	if far.Plausible(a) || !b.Plausible(a) || !far.Plausible(nil) || !none.Plausible(a) {
		t.Error("which can have followed")
	}
}

func TestErasureIsBounded(t *testing.T) {
	k := eraseKey(t, eraseSecret)
	many := erasureOf(k)
	for i := range store.MaxErased {
		many.Records = append(many.Records, store.Erased{Name: k.Name(fmt.Sprint(i)), By: strings.Repeat("b", 512), At: time.Now()})
	}
	mem := storetest.NewMem(nil)
	put := func(e *store.Erasure) error {
		_, err := store.WriteDoc(t.Context(), mem, "control", store.Control{FormatVersion: 1, Nonce: store.NewNonce(), Erase: e}, store.PutOptions{})
		return err
	}
	if err := put(many); err != nil {
		t.Errorf("the largest: %v", err)
	}
	more := *many
	more.Records = append(more.Records, store.Erased{Name: k.Name("x")})
	for what, e := range map[string]*store.Erasure{
		"too many":            &more,
		"no name":             {Records: []store.Erased{{Name: "V-1"}}},
		"an impossible count": {Revision: 1 << 40},
		"a negative count":    {Revision: -1},
	} {
		if err := put(e); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
