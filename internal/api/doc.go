// Package api is the query server's HTTP: the API and its OpenAPI document, the page for people, the guards in front of both
// (keys, rates, CORS, bounds), problem+json for what goes wrong, and the admin port.
//
// [Server] wires what follows the pointer (package follow) to what answers (package query) and holds no state of a catalogue:
// each request takes one reference to the view that is served and answers from that alone.
//
// /search and /search/batch read their bodies by hand (body.go) because decoding numbers is what such a request costs;
// their schema is documented in the OpenAPI document like the others'. Everything is bounded: bodies, answers, waiting
// searches, tracked clients, time.
package api
