package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Content is a digest of a set of records that does not go by their order: records can be added and removed one by one,
// and two ways to the same set end with the same digest. The zero value is the empty set's.
type Content [sha256.Size]byte

// Toggle adds the record of an id with a digest of its content, or removes it when it is in the set.
func (c *Content) Toggle(id, digest [16]byte) {
	sum := sha256.Sum256(append(append(make([]byte, 0, 32), id[:]...), digest[:]...))
	for i := range c {
		c[i] ^= sum[i]
	}
}

// ParseContent reads what String wrote.
func ParseContent(s string) (c Content, err error) {
	if len(s) != hex.EncodedLen(len(c)) {
		return c, fmt.Errorf("a content digest of %d digits", len(s))
	}
	_, err = hex.Decode(c[:], []byte(s))
	return c, err
}

// String is the digest in lower-case hex.
func (c Content) String() string { return hex.EncodeToString(c[:]) }
