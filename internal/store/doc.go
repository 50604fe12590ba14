// Package store keeps versioned index snapshots in an object store and says which one is current.
//
// Storage is one bucket and prefix P (S3), or one directory (Dir); everything below is the same on both. The only
// primitive beyond reading and listing is the conditional write: create if absent, replace if unchanged. Every
// implementation passes one contract test (storetest.Contract), and SelfTest refuses a store whose conditional
// writes do not hold or whose listings lag.
//
// # Objects
//
//	P/vendors.json                    people's; the desired state, never written by us
//	P/<ts>/index.faiss, documents.*,
//	  words.idx, filters.idx          immutable, created if absent, before the manifest
//	P/<ts>/manifest.json              last, created if absent: no manifest, no snapshot
//	P/<ts>/verdict.json               what the gate or a re-hash said of it
//	P/current/manifest.json           the pointer: one object, always a conditional write
//	P/current/index.faiss, index.pkl  copies for old readers, after the pointer (unless LEGACY_COPIES is off)
//	P/lease.json, control.json,
//	  gc.json, status.json            CAS documents: replaced if unchanged, never deleted; the status remembers the others
//	P/embeddings/<space>/…            the ledger: append-only segments (package ledger)
//	P/replicas/<id>.json              heartbeats, the only thing that a server writes
//	P/probe/<random>                  the self-test
//
// # Order of writes
//
// A snapshot becomes visible in this order, and each step only after the one before it is durable:
//
//  1. embedded batches, as ledger segments: what was paid for
//  2. the data files under <ts>/, in any order
//  3. <ts>/manifest.json, which names them by size and SHA-256
//  4. the pointer, by one conditional PUT. S3 has no rename; this write is the whole promotion
//  5. the copies for old readers
//
// What a crash after each step leaves behind:
//
//	after | servers see      | the next pass
//	1     | the old snapshot | finds the vectors in the ledger and buys only the rest
//	2     | the old snapshot | builds again; the files without manifest are removed after a grace
//	3     | the old snapshot | finds a complete snapshot of the same source and spec, and adopts it
//	4     | the new snapshot | writes the copies, whose metadata names another snapshot
//	5     | the new snapshot | has nothing to do
//
// Deletion runs backwards, manifest first: what is half deleted is no snapshot.
//
// # Conditional writes and lost answers
//
// A request whose answer was lost may have taken effect. So a conditional PUT runs with the SDK's retries off, and
// WriteBytes repeats it itself, with the same bytes, and reads the object back after a refusal. CAS documents carry a
// nonce that is fresh in every write, so equal bytes mean that the write was ours. An error other than a sentinel
// leaves it open whether the write happened: the caller forgets what it believed and reads again. ETags are opaque.
//
// S3 answers 409 when two conditional writes meet: neither yes nor no, so the same bytes go again, and a multipart
// upload starts again. In a bucket with versions a deleted key hides behind a delete marker. Amazon's S3 and minio let it
// be created again; others (versitygw) answer 404 and refuse (ErrDeleteMarker), until people remove the marker. The
// contract test knows both kinds.
//
// # What the lease does, and what it does not
//
// The lease (lease.json) elects one indexer, so that work is done once. It cannot keep a stopped process from waking
// up and finishing the request that it was about to send; no lock with a timeout can. What keeps the data right is
// the pointer's If-Match together with its epoch: a new leader, before anything else, rewrites the pointer with its
// own, higher epoch (the fence write). Every ETag that an earlier leader read is stale from then on, and its promotion
// is refused. The same holds for status.json and gc.json, whose epoch never falls. Snapshot files and ledger segments
// need no fence: they are only ever created, under names that no other writer picks.
//
// # Reading
//
// A reader follows the pointer, checks the manifest against the pointer's manifest_sha256 and every file against the
// manifest (Fetch) before anything parses it.
//
// Whoever may write a document could stop everybody who reads it with one number. So every document is held to its
// bounds (bounds.go) when it is read and before it is written: what is outside is no document (ErrCorrupt, ErrInvalid).
//
// # Formats of other releases
//
// Two releases work on one store while one replaces the other. Formats carry a version; a newer one is refused
// (ErrNewer), never guessed at: who reads it waits. Within a version a later release adds members. An earlier one keeps
// them when it rewrites a document (Unknown), in their order, because digests are of bytes: spec_digest is that of the
// spec as it stands there. The documents of every released format are in testdata/formats; each is read and rewritten
// in a test, as it is and with members added to every object.
//
// Format 2 (FormatDelta) is that of the manifests of delta snapshots and of pointers to them. gc.json, lease.json and with
// them status.json are of it from the first delta or drop-in on until the last is gone, so that no release that knows
// neither leads, promotes, reserves or collects meanwhile; package reconcile says in which order. Servers read none of the
// three: one that knows no deltas keeps what it serves until the pointer names a full snapshot.
package store
