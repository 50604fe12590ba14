package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/taksuehiro/vectorstore/internal/snapshot"
	"github.com/taksuehiro/vectorstore/internal/store"
)

// When an entry may go is kept in one small object per space, embeddings/<space>/unused: since which day (of the
// store's clock) nothing needs it. Entries in use take no room there, so a ledger that is all in use has an empty
// list however large it is. Losing the object, or a damaged one, only starts the 30 days again; a leader that writes
// it late does the same. A space that nothing uses (another model was configured) is dated by an object of its own,
// embeddings/<space>/retired, that goes away when the space is opened again.
//
// unused, little endian: magic "VSUNUSED", u32 version (1), u32 n, n × { 16 bytes of the key, u32 day }, SHA-256 of
// everything before.
const (
	unusedName  = "unused"
	retiredName = "retired"

	unusedMagic   = "VSUNUSED"
	unusedVersion = 1
	unusedHeader  = 16
	unusedEntry   = 20
	// maxUnused entries fit into store.MaxPut. Beyond, the newest ones are left out: their days start later.
	maxUnused = (store.MaxPut - unusedHeader - sha256.Size) / unusedEntry
)

func (g *Ledger) readUnused(ctx context.Context, listing contents) error {
	g.unused = map[[16]byte]uint32{}
	if _, ok := listing.other[unusedName]; !ok {
		return nil
	}
	data, _, err := store.ReadBytes(ctx, g.objects, g.prefix+unusedName, store.GetOptions{}, store.MaxPut)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, snapshot.ErrCorrupt) {
		return nil
	}
	if err != nil {
		return err
	}
	g.unused = decodeUnused(data)
	return nil
}

// decodeUnused returns nothing for anything that encodeUnused did not write.
func decodeUnused(data []byte) map[[16]byte]uint32 {
	out := map[[16]byte]uint32{}
	n := len(data) - unusedHeader - sha256.Size
	if n < 0 || n%unusedEntry != 0 {
		return out
	}
	body, sum := data[:len(data)-sha256.Size], sha256.Sum256(data[:len(data)-sha256.Size])
	if string(body[:8]) != unusedMagic || binary.LittleEndian.Uint32(body[8:]) != unusedVersion ||
		int(binary.LittleEndian.Uint32(body[12:])) != n/unusedEntry || !bytes.Equal(sum[:], data[len(body):]) {
		return out
	}
	for e := body[unusedHeader:]; len(e) > 0; e = e[unusedEntry:] {
		out[[16]byte(e)] = binary.LittleEndian.Uint32(e[16:])
	}
	return out
}

func encodeUnused(unused map[[16]byte]uint32) []byte {
	type entry struct {
		key [16]byte
		day uint32
	}
	entries := make([]entry, 0, len(unused))
	for key, day := range unused {
		entries = append(entries, entry{key, day})
	}
	slices.SortFunc(entries, func(a, b entry) int {
		if a.day != b.day {
			return int(int64(a.day) - int64(b.day))
		}
		return bytes.Compare(a.key[:], b.key[:])
	})
	entries = entries[:min(len(entries), maxUnused)]
	le := binary.LittleEndian
	b := le.AppendUint32([]byte(unusedMagic), unusedVersion)
	b = le.AppendUint32(b, uint32(len(entries)))
	for _, e := range entries {
		b = le.AppendUint32(append(b, e.key[:]...), e.day)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func (g *Ledger) writeUnused(ctx context.Context) error {
	_, err := store.WriteBytes(ctx, g.objects, g.prefix+unusedName, encodeUnused(g.unused), store.PutOptions{})
	return err
}

// retireOthers dates spaces that are not this one, and removes those that were dated long enough ago.
func (g *Ledger) retireOthers(ctx context.Context, o CompactOptions, report *CompactReport) error {
	type folder struct {
		keys    []string
		retired *store.Info
	}
	others := map[string]*folder{}
	err := g.objects.List(ctx, g.all, func(info store.Info) error {
		space, name, ok := strings.Cut(strings.TrimPrefix(info.Key, g.all), "/")
		if !ok || strings.HasPrefix(info.Key, g.prefix) || !folderPattern.MatchString(space) {
			return nil
		}
		f := others[space]
		if f == nil {
			f = &folder{}
			others[space] = f
		}
		if name == retiredName {
			f.retired = &info
		} else {
			f.keys = append(f.keys, info.Key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for space, f := range others {
		marker := g.all + space + "/" + retiredName
		switch {
		case f.retired == nil:
			_, err = store.WriteBytes(ctx, g.objects, marker, []byte("not in use\n"), store.PutOptions{})
		case f.retired.Age() >= o.Expire:
			for _, key := range append(f.keys, marker) { // the marker last: a crash goes on where it was
				if err = o.before(ctx); err != nil {
					return err
				}
				if err = g.objects.Delete(ctx, key); err != nil {
					return err
				}
				report.Deleted++
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
