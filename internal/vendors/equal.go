package vendors

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"
	"strconv"
	"strings"
)

// meaning is a digest of the tree's JSON value: the same for two texts of the same value, whatever the order of their
// keys and however they spell strings and numbers.
func (t *tree) meaning() [32]byte {
	h := sha256.New()
	t.digest(h, 0)
	return [32]byte(h.Sum(nil))
}

// digest writes value i to h so that no two values write the same: what varies in length goes after its length.
func (t *tree) digest(h hash.Hash, i int) {
	n := &t.nodes[i]
	h.Write([]byte{byte(n.kind)})
	switch n.kind {
	case kindString:
		writeString(h, t.str(i))
	case kindNumber:
		writeString(h, plainNumber(string(t.bytesOf(i))))
	case kindArray:
		t.children(i, func(c int) { t.digest(h, c) })
		h.Write([]byte{0xFF})
	case kindObject:
		var members []int
		t.children(i, func(c int) { members = append(members, c) })
		slices.SortFunc(members, func(x, y int) int { return strings.Compare(t.key(x), t.key(y)) })
		for _, c := range members {
			h.Write([]byte{0xFE})
			writeString(h, t.key(c))
			t.digest(h, c)
		}
		h.Write([]byte{0xFF})
	}
}

func writeString(h hash.Hash, s string) {
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(s))))
	h.Write([]byte(s))
}

// plainNumber spells a JSON number in one way: digits without zeros at either end, then the power of ten. A number
// whose exponent is beyond reason stays as it is.
func plainNumber(s string) string {
	digits, negative := strings.CutPrefix(s, "-")
	digits, exponent, _ := strings.Cut(strings.ToLower(digits), "e")
	power := 0
	if exponent != "" {
		var err error
		if power, err = strconv.Atoi(exponent); err != nil || power > 1e9 || power < -1e9 {
			return s
		}
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	b := []byte(whole + fraction)
	power -= len(fraction)
	b = bytes.TrimLeft(b, "0")
	trimmed := bytes.TrimRight(b, "0")
	power += len(b) - len(trimmed)
	if len(trimmed) == 0 {
		return "0"
	}
	sign := ""
	if negative {
		sign = "-"
	}
	return sign + string(trimmed) + "e" + strconv.Itoa(power)
}
