// Package vendors knows what a catalogue of vendors is: how vendors.json is read and refused, which text of a record
// is embedded, and how records are filtered and counted.
//
// # The catalogue
//
// A catalogue is a JSON array of objects, or an object whose key "vendors" holds that array; other keys around it are
// checked and ignored. UTF-8, with or without a byte order mark. A record keeps all its fields, known or not, byte for
// byte (key order, spelling of numbers, escapes); only whitespace between tokens is dropped.
//
//	id           "vendor_id", else "id": a string, or an integer, which stands for its literal spelling
//	name         "name", else "vendor_name", else "company_name"; at the top, else in "basic_info"
//	description  "description", else "description_short", else "summary", else "overview";
//	             at the top, else in "basic_info", else in "offerings"
//
// An id and a name are required, and ids are unique. null and blank strings count as absent. A name in an object may
// occur once only: readers of JSON disagree on what a repeated one means.
//
// A catalogue is good or it is refused as a whole with one CatalogueError; see Parse.
//
// # The text that is embedded
//
// Template "v1" (TextTemplate; bumped with any change, because it decides what a vector means): the name, the
// description, then one line "field: values" for every field that holds text, each NFKC-normalised with runs of
// whitespace as one space. Fields come in the order of fieldOrder, the others after them by name, so that the order
// of keys in the file does not matter; list elements keep their order. An object's fields become lines of their own,
// an object within a list one line. Left out: numbers, booleans, identifiers, links, addresses of e-mail, telephone
// numbers, dates, placeholders such as "-" and 不明, keys starting with "_", and everything under "contact" and
// "contacts", because people's names are no business of an embedding provider. At most MaxTextRunes characters.
//
// A record with a string "_text" is embedded as exactly that string, up to MaxVerbatimText bytes.
package vendors
