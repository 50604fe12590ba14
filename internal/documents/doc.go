// Package documents holds the records of a snapshot as answers need them, in two files: documents.jsonl and
// documents.idx. An indexer writes them one record after the other; readers map them, so that a million records cost the
// garbage collector nothing.
//
// documents.jsonl holds one line per record in catalogue order:
//
//	{"id":"V-001","name":"…","text":"…","metadata":{…}}
//
// metadata is the record as it was written, and last, so that a reader can skip to it. documents.idx makes the lines
// addressable. All integers are little endian, n is the number of records:
//
//	0    magic "VSDOCIDX"
//	8    u32 version (1), u32 zero
//	16   u64 n
//	24   u64 size of documents.jsonl
//	32   n × { u64 offset of the line, 16 bytes of SHA-256(id), 16 bytes of the record's digest }
//	     u64 the size again, so that line i always ends where line i+1 begins
//	     n × u32 positions, ordered by their id hash: Find is a binary search in the file
//
// 1 M records make 44 MB, mapped, with nothing of it on the heap.
package documents

const (
	indexMagic   = "VSDOCIDX"
	indexVersion = 1
	indexHeader  = 32
	indexEntry   = 8 + hashLen + hashLen
	hashLen      = 16

	// maxRecords bounds n; maxLine bounds one line in bytes (a record is bounded far lower by its parser).
	maxRecords = 1 << 28
	maxLine    = 64 << 20
)
