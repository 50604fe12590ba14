// Package snapshot holds the words that the rooms share: what a snapshot is of (Spec), which files it has and how it is
// called, what makes and searches its index of vectors (Indexes), what a record is found by (Words), and what was put
// right in the catalogue (Repair). It does nothing itself and imports no other room.
//
// A snapshot is one state of the catalogue, ready to be searched. Its records have positions 0..n-1, the order of the
// catalogue; the rows of the index, the documents and the entries of every other file stand in the order of positions.
package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Embedding names what turned text into vectors; two equal values give comparable vectors. It is part of every
// snapshot's spec and of the key of every cached vector.
type Embedding struct {
	Provider string `json:"provider"` // local, openai or bedrock
	Model    string `json:"model"`    // the provider's name for the model
	Dims     int    `json:"dims"`     // components per vector
	Version  string `json:"version"`  // of the code around the model: preprocessing, normalisation
	// Put before a text and before a query. Absent for none, so that the digest of a spec without any stays what it was.
	DocumentPrefix string `json:"document_prefix,omitempty"`
	QueryPrefix    string `json:"query_prefix,omitempty"`
}

// InProcess tells whether whoever embeds does it itself: nobody is called.
func (e Embedding) InProcess() bool { return e.Provider == "local" }

// Spec is the desired shape of a snapshot, known before the source is read.
type Spec struct {
	Embedding    Embedding `json:"embedding"`
	Metric       string    `json:"metric"` // "inner_product" over unit vectors, i.e. cosine
	TextTemplate string    `json:"text_template"`
	IndexKind    string    `json:"index_kind"` // as asked for: auto, flat, ivf, hnsw, …

	// How the catalogue was read: which records it has and what they are called. Absent = the default.
	DuplicateIDs string `json:"duplicate_ids,omitempty"`
	RecordID     string `json:"record_id,omitempty"`
	RecordName   string `json:"record_name,omitempty"`

	Unknown Unknown `json:"-"`
}

// Unknown is a JSON object as it was read, compact, when it or anything in it has members that this release does not
// know; "" otherwise. A document that an older release rewrites so keeps what a newer one wrote, in its order: a digest
// of bytes stays right. It goes with the struct that it was read into, also into another document; a struct without it
// is kept by the one around it, as long as it is not changed. The store fills it and writes it back.
type Unknown string

// Digest identifies the spec: lower-case hex SHA-256 of its compact JSON, of the very bytes when a newer release wrote
// it. Equal digests need no rebuild.
func (s Spec) Digest() string {
	text := []byte(s.Unknown)
	if s.Unknown == "" {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(s); err != nil {
			panic(err) // strings and ints only
		}
		text = bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// EmbeddingKnown says whether this release knows every member of the embedding. What it does not know may change what a
// query's vector must be.
func (s Spec) EmbeddingKnown() bool {
	if s.Unknown == "" {
		return true
	}
	var raw struct {
		Embedding json.RawMessage `json:"embedding"`
	}
	if json.Unmarshal([]byte(s.Unknown), &raw) != nil {
		return false
	}
	d := json.NewDecoder(bytes.NewReader(raw.Embedding))
	d.DisallowUnknownFields()
	return d.Decode(&Embedding{}) == nil
}

// IDHash is how the files of a snapshot know a record's id: the first half of its SHA-256.
func IDHash(id string) [16]byte {
	sum := sha256.Sum256([]byte(id))
	return [16]byte(sum[:16])
}

// Words is what a record is found by when people type words: for a lexical index.
type Words struct {
	Name     string   // counts more than Text
	Text     string   // everything there is to read
	Keywords []string // names of products, codes, ids: found first when they are the whole question
}

// Repair is one kind of thing that was put right in the catalogue.
type Repair struct {
	Kind  string   `json:"kind"` // duplicate_id, no_id, no_name, encoding, float_id
	Count int      `json:"count"`
	IDs   []string `json:"ids"` // the first ten

	// Of repeated ids: records that got an id of their own, records that were left out.
	Renamed int `json:"renamed,omitempty"`
	Dropped int `json:"dropped,omitempty"`
}
