// Package langchain reads and writes index.pkl, the half of a LangChain FAISS index that holds the documents.
//
// The file is a pickle of a pair: an InMemoryDocstore, which maps docstore ids to Documents, and a dict from a vector's
// position in index.faiss to a docstore id. As Python sees it:
//
//	(langchain_community.docstore.in_memory.InMemoryDocstore{_dict: {id: Document, …}}, {0: id, 1: id, …})
//
// A Document is a pydantic model; its pickled state is {"__dict__": {"id", "metadata", "page_content", "type"},
// "__pydantic_extra__": None, "__pydantic_fields_set__": set, "__pydantic_private__": None}. LangChain.js reads the
// same file with the npm package pickleparser and keeps the keys of __dict__.
//
// WritePickle streams such a file. ReadPickle reads one from anywhere: it is no unpickler but a reader of this one
// shape, which imports nothing, calls nothing and refuses by name whatever else a pickle refers to. Of what metadata
// holds in practice and JSON does not have it knows dates, decimals, UUIDs, paths and the scalars of NumPy and pandas.
// The opcodes are those of PEP 307, PEP 3154 and Python's pickletools.
package langchain

// Document is one text with its metadata.
type Document struct {
	ID          string // in the docstore, unique
	PageContent string
	Metadata    []byte // a JSON object
}

// Found is a document as ReadPickle found it.
type Found struct {
	Document
	Converted  map[Conversion]int // values of the metadata that JSON does not have, and how many
	Unreadable error              // why it cannot be a record; then Document has only its id
}

// Conversion is what became of a kind of values in one field.
type Conversion struct {
	Field string // dotted path
	From  string // a Python class as module.name, or words
	To    string // string, number, boolean, null or integer
}

const (
	opMark            = '('
	opStop            = '.'
	opBinBytes        = 'B'
	opShortBinBytes   = 'C'
	opBinInt          = 'J'
	opBinInt1         = 'K'
	opBinInt2         = 'M'
	opNone            = 'N'
	opReduce          = 'R'
	opBinUnicode      = 'X'
	opAppend          = 'a'
	opBuild           = 'b'
	opGlobal          = 'c'
	opDict            = 'd'
	opAppends         = 'e'
	opBinGet          = 'h'
	opLongBinGet      = 'j'
	opList            = 'l'
	opBinPut          = 'q'
	opLongBinPut      = 'r'
	opSetItem         = 's'
	opTuple           = 't'
	opSetItems        = 'u'
	opEmptyDict       = '}'
	opEmptyList       = ']'
	opEmptyTuple      = ')'
	opBinFloat        = 'G'
	opProto           = 0x80
	opNewObj          = 0x81
	opTuple1          = 0x85
	opTuple2          = 0x86
	opTuple3          = 0x87
	opNewTrue         = 0x88
	opNewFalse        = 0x89
	opLong1           = 0x8a
	opLong4           = 0x8b
	opShortBinUnicode = 0x8c
	opBinUnicode8     = 0x8d
	opBinBytes8       = 0x8e
	opEmptySet        = 0x8f
	opAddItems        = 0x90
	opFrozenSet       = 0x91
	opStackGlobal     = 0x93
	opMemoize         = 0x94
	opFrame           = 0x95
)

const (
	docstoreClass = "langchain_community.docstore.in_memory.InMemoryDocstore"
	documentClass = "langchain_core.documents.base.Document"
)
