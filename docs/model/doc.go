// Package model holds the snapshot protocol as a Promela model (protocol.pml) and the test that checks it with spin:
// every schedule of its actors, and for each rule of the protocol that the model without it finds a way to break
// something. `make model` runs it.
package model
