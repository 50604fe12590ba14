// Package reconcile makes the store hold, and current/ name, a verified snapshot of the catalogue.
//
// A pass is level-based: it reads what is desired (the catalogue, the spec, the operator's intent) and what is
// there (the pointer, the snapshots, the ledger), acts on the difference and remembers nothing that it could not
// read again. What it saw is one value (view); what to do, or what to look at next, is decided by one pure function of it
// (plan.go); then it is done (pass.go). Before that the pointer is looked at, doubted and put right (pointer.go); garbage
// collection is another such round (gcplan.go, gc.go). The steps, in order:
//
//	 1  hold the lease (lease.go), or be a follower
//	 2  read the pointer, raising its epoch when it is not ours (the fence); then control.json; now and then the
//	    heartbeats and the served snapshot's health (look.go, replicas.go); then the catalogue (observe.go)
//	    suspended, or pinned and served: copy (step 11), and end here
//	 3  up to date? done. A complete, unrejected snapshot of the same source and spec? adopt it (plan.go, verdict.go)
//	    a small change of a large catalogue? compare the catalogue with the served records (composition.go, changes.go),
//	    embed what differs, publish it as a delta over them (extend.go), judged in proportion (gatedelta.go), and go on at 9
//	 4  parse the catalogue, all of it or nothing (catalogue.go)
//	 5  compare with the served snapshot; above the token budget: held before any purchase
//	 6  embed what the ledger lacks, flushing as it goes (embedding.go)
//	 7  build the index from the ledger (build.go), with what the served one has in common with it (carry.go)
//	 8  measure the ef search it needs (efsearch.go), judge it (gate.go)
//	 9  upload, manifest last, then the verdict (publish.go)
//	10  reserve the snapshot in gc.json, look at every file, move the pointer by one conditional PUT on the ETag
//	    of step 2, give the reservation back (promotion.go)
//	11  copy index.faiss and index.pkl to current/ for old readers, as LEGACY_COPIES says (copies.go)
//	12  collect garbage (gcplan.go, gc.go), at most once a minute while deltas are published; make a new base beside the
//	    passes when the deltas have grown, and put the next delta over it (compaction.go)
//	13  write status.json when it says something new (outcome.go); the lease says that passes go on
//
// # What makes it right
//
// The pointer's If-Match is the fence; the lease only saves work. Whatever moves the pointer first — another
// leader's fence, an operator's intent, an expired reservation — makes every promotion prepared before it fail. Because
// the pointer is read before control.json, an operator who writes control.json and then the pointer is either seen
// by a pass or breaks its promotion. Operators keep the same order among themselves: pointer, then control.json, then
// the write of the pointer if the intent is still theirs, then control.json again. Of two who pin at once one is told
// of a conflict, and what the other was told is what is served; should that one die before it moved the pointer, the
// next pass serves the pin that stands. A pin that cannot be fulfilled is taken back by the command that wrote it,
// and the pointer fenced, so that no pass that saw it promotes by it.
//
// A leader asks lease.check before every write; after 2/3 of the TTL without a renewal it stops, and a pointer,
// status.json or gc.json of a later epoch makes it step down whatever its clock says: the monotonic clock of a
// suspended machine stands still. Three attempts to renew, each with a deadline of its own, fit before that. One whose
// answer was lost counts from its sending when the record turns out to be ours, so a term ends only when somebody
// took it, or when the store was away for a third of the TTL.
//
// Garbage collection reads gc.json before anything else and announces deletions with that ETag. Whoever starts to
// use a snapshot is in the pointer, control.json or a heartbeat by then, or changes gc.json first (a reservation, in its `holds`).
// `deleting` is one-way: what is in it can never be promoted, so a deleter that was stopped may finish late.
//
// # Snapshots that are made of others
//
// A delta snapshot is its own delta over those of others, and over the files of a base (store.Manifest). So:
//
//   - Whatever collection keeps for itself, in use, retained or young, keeps all that its manifest names: whole
//     snapshots, manifests included. The manifest of anything that is kept and cannot be read stops the collection, for
//     anything may be a part of it. A base that is being made stays by its name in gc.json while the term that makes it leads.
//   - Whoever promotes, rolls back, pins, adopts or restores reserves all of it in one write of gc.json, or nothing when any
//     of it is being deleted; and sees that all of it is there afterwards.
//   - The leader alone does not look at files that the pointer names too on whose ETag it promotes. They were looked at
//     when that was promoted, and cannot have been collected since: a collection reads gc.json before the pointer, so either
//     it saw that pointer and keeps what that is made of, or gc.json was changed by that promotion's reservation, or its
//     release, after the collection read it, and nothing is announced. Damage by hand is found by the next look around as
//     it would be without the promotion. An operator looks at everything: a pointer to a damaged base may be why they came.
//   - A purged record stands in a snapshot when it stands in its base or in any of its deltas, be it that a later one took it
//     away or that a delta only says that it is gone. What is built after a purge is full; the leader's local copies go.
//   - Only a suffix of a snapshot's deltas is ever merged, so whatever lies below a delta that is kept is kept with it.
//
// # What a crash leaves
//
//	during 1      the old lease; it expires, or is recognised as our own
//	during 2-5    nothing
//	during 6      at most 2 × 1,024 texts bought and not in the ledger
//	during 7-8    nothing: all vectors are in the ledger
//	during 9      files without a manifest, which are no snapshot and are collected after the grace
//	9 to 10       a complete snapshot with its verdict: the next pass adopts it
//	during 10     the old pointer or the new one, and a reservation that expires
//	during 11     copies that do not carry the pointer's id: the next pass copies again
//	during 12     ids in gc.json's `deleting`: the next collection goes on; ledger segments stored twice
//	during 13     an old status.json
//
// # Where this goes beyond the plain protocol
//
// Found while simulating it (package simtest); each is a rule here and a test there:
//
//   - A reservation that expires would let a promoter that was only asleep point at a deleted snapshot. Collection
//     therefore moves the pointer's ETag (a fence write) before a stale one falls, and every promoter reads
//     the pointer before it reserves. Reservations live at least a minute, whatever the grace.
//   - Reservations and retirements are dated by the store's clock at the moment of promotion, not at the start of the
//     pass: a build may take longer than the grace.
//   - The monotonic clock of a suspended machine stands still, so its leader believes in a lease that is long gone.
//     Data is safe behind the epochs; money is not, so every window of texts asks the store for the lease first.
//   - The files are looked at after the reservation, so that ids can leave `deleting` a grace after the last
//     object is gone without ever becoming promotable again.
//   - A stopped uploader may wake up and store the manifest of a snapshot whose files were collected as an
//     orphan's. Such a manifest is never adopted (its files are not there), and goes with the next collection.
//     The age of the newest object is the whole rule for orphans: a leader's own uploads never overlap its
//     collection.
//   - Copies for old readers are conditional too, on what was there before lease and pointer were checked again:
//     a leader that was stopped in between cannot put an old copy over a newer one. They follow the pointer while
//     pinned or suspended too: a rollback must reach old readers, and a leader may have died between the two.
//   - Damage to the served snapshot where it is stored is noticed by whoever reads it: a replica that fetches it, or the
//     leader for a copy. Both lead to the same second look, verdict and rebuild; replicas that have it say nothing.
//   - An operator who suspends or pins stops a collection before its next deletion, not after the sweep: control.json
//     is asked for before each, or before each few delta snapshots, of which one goes every second under steady edits.
//   - A forced request names the promotion that it was asked against and is owed only while that is current, so that
//     people who delete status.json, or put an older one back, do not have it replayed.
//   - What a listing lacks is asked for by name before it counts as gone: files of a snapshot, its manifest, heartbeats
//     that status.json knows, segments of the ledger that were written here. The self-test refuses a store whose
//     listings lag behind its writes, but it asks only once.
//   - A daemon's spec and retention are its deployment's word, a command's are whatever its shell has set. A pass of a
//     command builds no other spec than the served one and deletes by no other retention than the one that status.json
//     says, unless it was told that this is meant; the gate reports a change of spec and asks sampled records' texts
//     as queries across it.
//   - A pass in which nothing moved costs three reads. What the last look around saw (look.go) stands until the pointer
//     or control.json is another, or some minutes have passed; whatever a look found wrong stays wrong until then. Every
//     promotion and collection reads the heartbeats anew all the same.
//   - Epochs count from the highest in lease, pointer, status.json and gc.json, so they stay monotonic when one
//     of them was removed or overwritten by hand. A lease.json that cannot be read expires like a silent holder.
//   - What others write is advice or memory, never more (memory.go). A replica's generation counts up to what pointer,
//     history, status.json and lease.json were seen at, plus 10 and 10 per second since the newest promotion; a lineage
//     whose generations are used up is followed by another; heartbeats are bounded in size, number, age and names, and
//     whatever is wrong with them stops nothing but the collection of garbage. A holder of the lease is waited for five
//     minutes at most, whatever its record says.
//   - A pointer that was deleted, overwritten, edited or put back to an earlier day is restored at once, above everything
//     that was seen: to the pinned snapshot, else to the one that status.json remembers. That is no promotion, so it
//     happens while pinned and suspended too. A control.json that is gone is written again from status.json, and what
//     was being deleted outlives gc.json there. Condition Intact says so for an hour. Whatever status.json had not seen
//     yet is forgotten, but its generation is not used again when a replica reports it.
//   - A deletion is announced in gc.json and in status.json before its first step, and gc.json is looked at once more.
//     Whoever finds no gc.json reads status.json afterwards, so one of the two always tells; and a collection that finds
//     none moves the pointer's ETag first, for the reservations in it are lost.
//   - Two terms count the same epoch when lease.json is deleted before the first has left its epoch anywhere else. The
//     pointer names the owner of its epoch as well, and status.json too: a leader that meets its own epoch under another
//     name steps down.
//   - On Amazon's S3 a creation succeeds over a delete marker, elsewhere it is refused (ErrDeleteMarker): then operators'
//     last intent still holds, and people are told the command.
//   - Ready is False while a live replica serves what the pointer does not lead to: ahead of it, of another lineage, or
//     another snapshot under the same generation.
//   - A leader that meets a document of a newer format releases the lease and waits, a follower does not take it. A spec
//     with members that this release does not know is not built over: that would take turns with the release that does.
//   - The first fence is the first step of every pass whose epoch is above the pointer's, not an event of the
//     takeover: a pointer created by an operator, or a fence lost in a crash, is caught up with.
//   - While no pointer exists nothing is deleted, and the only promotion is the creating If-None-Match. There is
//     no fence then: status.json is read again for its epoch, control.json and the lease right before the PUT, and
//     a suspension or a takeover in the time of that one request can still be overtaken by a creation.
//   - The pointer's history holds 20 entries. What it forgets gc.json remembers, as far as people may want to go back to it
//     (retention.go): a promotion takes it over in its reservation, before the pointer that forgets it is written. Where an
//     earlier release promoted in between, and the oldest entry is younger than the grace, what neither names is kept.
//   - Below GATE_MIN_RECALL a candidate is held, not failed: building it again would give the same, and an
//     operator can look at it and overrule.
package reconcile
