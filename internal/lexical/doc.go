// Package lexical finds records by the words in them: Okapi BM25 over an inverted index in memory, built when a
// snapshot is loaded. It needs no dictionary: Japanese is cut into pairs of neighbouring characters and single kanji,
// other writing into words, and both are compared in NFKC, without case, with hiragana as katakana. Names, product
// names and codes are kept a second time as a whole, so that they are found first when they are the whole question,
// however they are punctuated.
//
// Fuse merges such a ranking with one by meaning.
package lexical
