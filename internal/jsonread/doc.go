// Package jsonread is the one reader of JSON that this program has beside encoding/json: for the bodies of searches, for
// catalogues and for the answers of embedding servers, where reading is a share of the work that can be measured.
// [Reader] reads tokens in place, from a text in memory or from a stream through one buffer, and builds nothing. [Tree] is
// one value read whole, for whoever looks at it more than once: a record of a catalogue, a filter.
//
// encoding/json stays for everything small and rare: the store's documents, settings, the answers to operators.
//
// # Why not jsontext
//
// The usual choice is github.com/go-json-experiment/json/jsontext, the tokens of encoding/json/v2. Measured against it on
// two busy cores, microseconds for one text (this package / jsontext / encoding/json):
//
//	a search body, 384 numbers        5.9 /  23.5 /  50
//	a search body, 1536 numbers      21.4 /  90.3 / 204
//	a search body, 1536 in base64     7.8 /   9.5
//	one of 256 embeddings of 1536     6.1 /  10.9 /  34   base64, from a stream
//	a record of a catalogue           2.2 /   2.6         of 10 for all that is done with it
//
// For records and base64 either would do, though jsontext refuses the NaN that some embedding servers write. But a search
// over HTTP among 100,000 x 384 takes 110 µs for a lone client and 100 µs of processor time, so 18 µs more would cost
// 16 % of both, and 69 µs among 20,000 x 1536 36 %. Numbers are what makes the difference: a vector's are read by
// [Reader.Floats] without a token for each.
package jsonread
