package langchain

import (
	"errors"
	"fmt"
	"strings"
)

// Limits bound what ReadPickle accepts. A LangChain pickle is read into memory, as the positions come after the
// documents: as a rule 3 to 6 times the file (25 where it is all small numbers), never more than 32 MB + 64 x the bytes read so far (a value of two bytes,
// such as a small number, takes some 100). Nodes keeps a small file from coming near that.
type Limits struct {
	Bytes     int64 // the file
	String    int   // bytes of one string
	Record    int   // bytes of a document's metadata as JSON
	Nodes     int   // values between one document and the next, those stored in the memo counted twice
	Documents int
}

// DefaultLimits take an index of a million documents of 1 kB.
func DefaultLimits() Limits {
	return Limits{Bytes: 4 << 30, String: 4 << 20, Record: 1 << 20, Nodes: 200_000, Documents: 2_000_000}
}

const (
	maxStack   = 50_000 // values waiting; a pickler's batch is 1,000 keys and values
	maxMarks   = 250    // open containers
	slackBytes = 32 << 20
	perByte    = 64
	nodeBytes  = 100
	expansion  = 8    // charge for a byte of JSON
	maxClass   = 200  // bytes of a module or class name
	maxLong    = 1024 // bytes of an integer
	maxGap     = 100  // numbers left out in the memo
)

// RefusedError is a pickle that refers to something a LangChain index does not need. Name is "module.name" of a global,
// or the opcode.
type RefusedError struct{ Name string }

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the pickle refers to %s, which no LangChain index needs: refused (where it is a value of the metadata, turn that into a string in Python and save again)", e.Name)
}

// ErrMalformed is a pickle that is damaged or has another shape. ErrLimit is one beyond a limit.
var (
	ErrMalformed = errors.New("not a LangChain index.pkl")
	ErrLimit     = errors.New("index.pkl is beyond a limit")
)

// allowed are the names under which LangChain has kept its two classes, the set of Python 2's pickler, and the classes of
// values that become JSON (scalar.go).
func allowed(name string) bool {
	switch name {
	case docstoreClass, "langchain.docstore.in_memory.InMemoryDocstore",
		documentClass, "langchain_core.documents.Document", "langchain.schema.Document", "langchain.schema.document.Document",
		"langchain.docstore.document.Document", "langchain.schema.base.Document",
		"builtins.set", "__builtin__.set":
		return true
	}
	return knownValue(class(name))
}

func isDocstore(c class) bool { return strings.HasSuffix(string(c), ".InMemoryDocstore") }
func isDocument(c class) bool { return strings.HasSuffix(string(c), ".Document") }
func isSet(c class) bool      { return strings.HasSuffix(string(c), ".set") }
