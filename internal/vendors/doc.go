// Package vendors knows what a catalogue of vendors is: how a file is read and refused, what its records are called, which
// text of a record is embedded, and which words find it.
//
// # The file
//
// Its format is found by content, never by its name; each may be compressed with gzip:
//
//	JSON        an array of objects, or an object whose key "vendors" holds that array; other keys around it are
//	            checked and ignored. One object alone is a record when it has an id or a name by RECORD_*.
//	JSON Lines  a whole object on each line that is not empty
//	CSV         RFC 4180, separated by commas, a header of at least two names first; "a.b" makes b a member of a
//
// JSON is UTF-8, with or without a byte order mark. A CSV may be Shift_JIS as well: when all of it decodes, less than a
// tenth of its characters beyond ASCII is half-width katakana, and less than half of its bytes beyond ASCII is UTF-8.
// Whatever else it may be is refused with the likely cause; bytes that are not UTF-8 are found before JSON's syntax is.
//
// A record keeps all its fields, known or not, byte for byte (key order, spelling of numbers, escapes); only whitespace
// between tokens is dropped. A name in an object may occur once only: readers of JSON disagree on what a repeated one
// means. A cell of a CSV is a string as it is written, and absent when it is empty.
//
// A catalogue is good or it is refused as a whole with one CatalogueError; see Read.
//
// # What records are called
//
// Rules say where ids and names stand. A value that is there is a string which is not blank, or an integer. Without an id
// a record's name is its id; without a name, the name its text begins with, else its first string in the order of the
// file that is a name (no link, address or date), else its id; without both, the first 16 digits of its Digest.
//
// Final ids are unique. An id that stands once is never touched, whatever becomes of others; of several records with one
// id the first keeps it and the next become <id>~2, <id>~3, skipping ids that exist; records that are equal as JSON
// values are one. So another order of the file changes ids only among records that share one. All of this is reported.
//
//	description  "description", else "description_short", else "summary", else "overview";
//	             at the top, else in "basic_info", else in "offerings"
//
// # The text that is embedded
//
// Template "v1" (TextTemplate; bumped with any change, because it decides what a vector means): the name ("name", else
// "vendor_name", else "company_name", at the top, else in "basic_info"; else "title": not what RECORD_NAME says, because
// a setting must not make everything be embedded anew), the description, then one line "field: values" for every field
// that holds text, each NFKC-normalised with runs of whitespace as one space. Fields come in the order of fieldOrder,
// the others after them by name, so that the order
// of keys in the file does not matter; list elements keep their order. An object's fields become lines of their own,
// an object within a list one line. Left out: numbers, booleans, identifiers, links, addresses of e-mail, telephone
// numbers, dates, placeholders such as "-" and 不明, keys starting with "_", and everything under "contact" and
// "contacts", because people's names are no business of an embedding provider. At most MaxTextRunes characters.
//
// Of a record without any such text the names of its fields are embedded. A record with a string "_text" is embedded as
// exactly that string, up to MaxVerbatimText bytes.
package vendors
