// Package front answers plain POSTs to one path itself and leaves every other connection to net/http.
//
// For each request net/http starts a goroutine that watches for the client's disconnect, and moves several deadlines.
// Beside a search of 30 µs that is a large part of the answer. Here a request is read, answered and written by one
// goroutine; the disconnect is watched for once a request has taken some milliseconds.
//
// What is plain is decided on the bytes of the head, before any is consumed: the exact request line, headers of
// harmless names and values, one Host, one Content-Length within the limit, no transfer coding, expectation, upgrade or
// connection option. A connection whose next request is anything else is handed over, with what was read, to the
// http.Server that accepts from this package's Listener, for good. So nothing is answered here that net/http would
// have read differently.
package front
