// Package lexical finds records by the words in them: Okapi BM25 over an inverted index of flat arrays, which is built
// with a snapshot and mapped by the replicas that load it. Japanese is cut into pairs of neighbouring characters and
// single kanji, other writing into words, and both are compared in NFKC, without case, with hiragana as katakana. Names,
// product names and codes are kept a second time as a whole, so that they are found first when they are the whole
// question, however they are punctuated, and before the rest when the question begins them or they stand in it. What is
// written and not seen (package spelling) takes no part.
//
// Searching needs no dictionary. Building takes one where it can (package readings), and adds how words sound: then
// れいとうそうこ and "reitou souko" find 冷凍倉庫. A word that no record holds is taken for one that is a slip of the pen
// away, and English words are compared by their stems, too.
//
// A catalogue that changed since its index was built is a Joined of that index and small ones of what changed: it answers
// as an index of all of it would, to the last bit.
//
// # Why not a search library
//
// bleve v2.6.3 (cjk analyzer, no stored fields, scorch) was measured against this package on the same 20,000 records
// of vendorstest, ten Japanese questions, 50 results, one core of a busy machine (ratios are what counts):
//
//	                      build     memory or disk   a search
//	this package          1.6 s     9.9 MB           0.22 ms
//	bleve, index on disk  5.7 s     16.1 MB          7.8 ms
//	bleve, in memory      155 s     356 MB           35 ms
//
// The index is built for every snapshot and opened beside the one that is served, so time and memory of both decide;
// and bleve would still need the names kept apart to put exact ones first. The benchmarks of this package
// repeat its half of the table.
package lexical
