// Package follow keeps a view of the snapshot that the pointer names: from the pointer to a verified directory to a view that
// is published, used by any number of readers and freed after the last of them.
//
// # Following
//
// One goroutine (Follower.Run) polls the pointer. Work is driven by desired ≠ served, not by "the pointer changed": a
// snapshot that cannot be loaded is quarantined per (id, manifest digest, pointer nonce) and tried again with backoff
// while the old one is served. Within a process and lineage the generation never falls below one that was served (what
// was only desired may have been somebody's mistake); another lineage is accepted after two equal polls. A load runs in
// its own goroutine, so polls and heartbeats go on:
//
//	heartbeat "fetching" → pointer re-read → manifest (sha256 against the pointer) → embedder callable? → memory fits?
//	→ download, every file hashed → rename into the cache → open → filters and words → warm → publish
//
// The heartbeat and the second look keep the collector away from what is fetched. When either fails nothing is fetched,
// unless nothing is served yet. What was loaded is published though the pointer has moved on meanwhile, or steady
// promotions would never let anything be; not when the pointer rolled back from it, went below its generation or came
// back to what is served.
//
// # Holding
//
// A Follower hands out references to the snapshot it publishes, inside the lock that publishes: a reader either gets
// the old one with a reference that keeps it open, or the new one. The last release closes the index and gives the
// memory back. A request takes one reference, before its query is embedded, and answers from that one alone; the id is
// in the answer.
//
// # Restarting without the store
//
// The served snapshot and the one before it stay in a directory under a file lock, keyed by the store's URL and the
// lineage. When the store has not answered for StoreTimeout at start, the newest whose hashes still match is served
// and said to be "local-cache"; polling goes on.
package follow
