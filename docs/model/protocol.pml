/* The snapshot protocol: lease, fence, pointer, control, status memory, gc.json holds and deleting, heartbeats,
 * operators, erasure. One atomic block is one request to the store, which is linearizable; a create over a deleted
 * document succeeds, as on AWS.
 *
 * Time is an adversary: a lease may be taken over at any moment while its old holder goes on as if frozen, every hold
 * is stale as soon as GC looks (no grace), nothing is kept by age or count, and a heartbeat may expire under a server
 * that is still loading. A process may also stop for good wherever it says so: that is a crash.
 *
 * What must hold, whatever the schedule:
 *   (a) the pointer never names a snapshot whose files are gone, and GC never deletes the pointer's
 *   (b) GC never deletes what a live heartbeat announced before the download began
 *   (c) a pin that was acknowledged is never undone by a pass or by another operator's older command
 *   (d) no promotion by a leader that another one's fence has superseded
 *   (e) a generation stands for one snapshot
 *   (f) once erasure is proven, no snapshot with the erased record can be promoted again, and after the next pass
 *       no file of one is left
 *   (g) when everybody has stopped, one more pass and one poll bring the server to the pointer, above every
 *       generation that the store remembers, and to the pin when there is one
 *
 * Steps carry the function they stand for, as in "@ reconcile lease.acquire"; a test keeps these names true.
 *
 * Sizes: NIDX indexers, PASSES each, POLLS of the server, MAXEPOCH takeovers.
 * Actors: SRV a server, OP an operator who pins 2, OP2 another who pins 1, UNPIN they unpin after, ADMIN somebody who
 *   deletes the pointer or puts an older version of it back, ERASE a purge of what snapshots 1 and 2 hold.
 * Faults: EXPIRY heartbeats expire during a load.
 * Rules switched off, each of which must give a counterexample:
 *   (NOPIN: the operator promotes without a pin, which is no broken rule but shows more of them.)
 *   NOFENCE CTLFIRST NOHOLD NOWHOLE NOSTALEFENCE NOHB HBAFTER NOREREAD NOOPCTL NOCONFIRM NOMEMORY NOABOVE NOGCMEMORY NODELCHECK
 *   NOERASECHECK NOERASEUSE
 */
#ifndef NIDX
#define NIDX 1
#endif
#define NSNAP 3       /* ids 1..3; 1 is served at the start, 2 is an older one, 3 can be built once */
#ifndef MAXEPOCH
#define MAXEPOCH 2
#endif
#ifndef PASSES
#define PASSES 1
#endif
#ifndef POLLS
#define POLLS 1
#endif
#define MAXGEN 15
#define bit(i) (1<<(i))
#define OLD (bit(1)|bit(2))   /* the snapshots that hold the record which ERASE removes */

/* ---- the store */
byte leaseEpoch = 0, leaseGen = 1;                   /* lease.json; renewals carry the highest generation seen */
byte pId = 1, pGen = 1, pEpoch = 0, pTag = 1;        /* current/manifest.json; pId 0 = no object */
byte cPin = 0; bit cErase = 0;                       /* control.json */
byte gDel = 0, gHold = 0, gTag = 1, gEpoch = 0;      /* gc.json */
byte mGen = 1, mId = 1, mEpoch = 0;                  /* status.json: what its writer last knew of the pointer */
byte files = bit(1)|bit(2);
byte hbUse = 1, hbFetch = 0, hbGen = 1;              /* replicas/<id>.json */
byte tags = 1;                                       /* every write of the pointer has a nonce, so a new ETag */

/* ---- ghosts: what only the checker knows */
byte ack = 0;               /* the pin that an operator was told is in force */
byte genId[16];
bit reused = 0;             /* ADMIN put an older pointer back: (e) is then the repair's to re-establish */
byte reign = 0;             /* highest epoch of a leader that got past its fence */
byte loading = 0;           /* what the server announced and downloads now */
bit built = 0, proof = 0;
byte server = 1, serverGen = 1;
byte running = 0;

inline settle(by) { if :: by > pEpoch -> pEpoch = by :: else fi; tags++; pTag = tags }

inline move(snap, number, who) {     /* within atomic, after the condition held */
  assert(files & bit(snap));                                  /* (a) */
  assert(!(proof && (bit(snap) & OLD)));                      /* (f) */
  pId = snap; pGen = number; settle(who);
  assert(pGen < MAXGEN);
  if :: !reused -> assert(genId[pGen] == 0) :: else fi;   /* (e) */
  genId[pGen] = snap
}

proctype Indexer() {
  byte epoch = 0, id, gen, etag, ep, del, hold, gt, ge, cand, i, n = 0, chosen, pin, top; bit erase;
pass:
  if :: n == PASSES -> goto done :: n < PASSES -> n++ fi;
  atomic { id = 0; gen = 0; etag = 0; ep = 0; del = 0; hold = 0; gt = 0; ge = 0; cand = 0; i = 0; chosen = 0; pin = 0; top = 0; erase = 0 };
  /* @ reconcile lease.acquire: taken over whenever the adversary likes, or kept */
  if
  :: atomic { leaseEpoch < MAXEPOCH -> leaseEpoch = (leaseEpoch > pEpoch -> leaseEpoch : pEpoch) + 1; epoch = leaseEpoch }
  :: epoch > 0 -> skip
  :: goto done
  fi;
#ifdef CTLFIRST
  atomic { pin = cPin; erase = cErase };
#endif
  /* @ reconcile pass.readPointer: the pointer first, then the fence */
rd:
  atomic { id = pId; gen = pGen; etag = pTag; ep = pEpoch };
#ifndef NOMEMORY
  /* @ reconcile pass.restore: gone, or below what status.json, the lease and the replicas remember */
  atomic { top = (mGen > leaseGen -> mGen : leaseGen); top = (hbGen > top -> hbGen : top) };
  if
  :: id == 0 || gen < top ->
       if :: ep > epoch -> goto pass :: else fi;
       if
       :: atomic { (files & bit(mId)) && !(gDel & bit(mId)) -> cand = mId }
       :: atomic { !((files & bit(mId)) && !(gDel & bit(mId))) -> cand = id }
       fi;
       if :: cand == 0 || !(files & bit(cand)) -> goto pass :: else fi;
       if
       :: atomic { pTag == etag ->
#ifdef NOABOVE
            pId = cand; pGen = top; settle(epoch);
#else
            move(cand, top + 1, epoch);
#endif
            if :: pGen <= top -> assert(genId[pGen] == pId) :: else fi;    /* (e): a remembered generation is taken */
            id = pId; gen = pGen; etag = pTag; ep = pEpoch; leaseGen = pGen;
            if :: mEpoch <= epoch -> mGen = pGen; mId = pId; mEpoch = epoch :: else fi }
       :: atomic { pTag != etag -> goto rd }
       fi
  :: else
  fi;
#endif
  if :: id == 0 -> goto pass :: else fi;
  /* @ reconcile pass.fence */
  if
  :: ep > epoch -> goto pass
  :: ep == epoch -> skip
  :: ep < epoch ->
#ifdef NOFENCE
       skip
#else
       if
       :: atomic { pTag == etag -> settle(epoch); etag = pTag }
       :: atomic { pTag != etag -> goto rd }
       fi
#endif
  fi;
  /* @ reconcile pass.readControl */
#ifndef CTLFIRST
  atomic { pin = cPin; erase = cErase; if :: epoch > reign -> reign = epoch :: else fi };
#else
  atomic { if :: epoch > reign -> reign = epoch :: else fi };
#endif
  if :: pin != 0 -> cand = pin; if :: cand == id -> goto note :: else -> goto hold_it fi :: else fi;
  /* @ reconcile view.adopt: something whole that is not being deleted and, under an erasure, holds nothing erased */
  atomic { del = gDel };
  if
  :: (files & bit(1)) && id != 1 && !(del & bit(1)) && !erase -> cand = 1
  :: (files & bit(2)) && id != 2 && !(del & bit(2)) && !erase -> cand = 2
  :: (files & bit(3)) && id != 3 && !(del & bit(3)) -> cand = 3
  :: atomic { !built && !(files & bit(3)) -> built = 1; files = files | bit(3); cand = 3 }   /* an id is used once */
  :: goto note                                                                              /* up to date */
  fi;
hold_it:
#ifndef NOHOLD
  /* @ reconcile gcDoc.reserve */
  atomic { del = gDel; gt = gTag; ge = gEpoch };
#ifndef NODELCHECK
  if :: ge > epoch || (del & bit(cand)) -> goto pass :: else fi;
#else
  if :: ge > epoch -> goto pass :: else fi;
#endif
  if
  :: atomic { gTag == gt -> gHold = gHold | bit(cand); gTag++; if :: epoch > gEpoch -> gEpoch = epoch :: else fi }
  :: atomic { gTag != gt -> goto hold_it }
  fi;
#endif
#ifndef NOWHOLE
  if :: !(files & bit(cand)) -> goto pass :: else fi;
#endif
  /* @ reconcile promotion.apply: one conditional PUT */
  if
  :: atomic { pTag == etag ->
       if :: !reused -> assert(!(ack != 0 && cand != ack));      /* (c) */
            assert(epoch >= pEpoch && epoch >= reign) :: else fi;   /* (d) */
       move(cand, gen + 1, epoch); id = cand; gen = pGen; etag = pTag }
  :: atomic { pTag != etag -> goto pass }
  fi;
#ifndef NOHOLD
  if
  :: atomic { gHold = gHold & ~bit(cand); gTag++ }
  :: skip                                            /* crashed, or the answer was lost: the hold stays */
  fi;
#endif
note:
  /* @ reconcile pass.record: status.json, whose epoch never falls; a crash before it leaves the memory behind */
  if
  :: atomic { if :: mEpoch <= epoch && gen >= mGen -> mGen = gen; mId = id; mEpoch = epoch :: else fi;
              if :: gen > leaseGen -> leaseGen = gen :: else fi }
  :: goto pass
  fi;
  /* @ reconcile pass.collect */
  if :: skip :: goto pass fi;
  atomic { id = 0; gen = 0; etag = 0; ep = 0; pin = 0; del = 0; gt = 0; cand = 0; ge = 0; top = 0 };
  atomic { del = gDel; hold = gHold; gt = gTag; ge = gEpoch };
  atomic { id = pId; gen = pGen; etag = pTag; ep = pEpoch };
  if :: id == 0 || ep > epoch || ge > epoch -> goto pass :: else fi;
#ifndef NOGCMEMORY
  /* a pointer below what is remembered was put back by somebody: repaired first, nothing is deleted by its word */
  if :: gen < mGen -> goto pass :: else fi;
#endif
  atomic { pin = cPin; erase = cErase };
  if :: pin != 0 -> goto pass :: else fi;
#ifdef NOHB
  atomic { i = bit(0) | bit(id) | hold };
#else
  atomic { i = bit(0) | bit(id) | hold | bit(hbUse) | bit(hbFetch) };
#endif
#ifdef NOERASEUSE
  if :: erase -> i = i & ~(OLD & ~bit(id)) :: else fi;
#endif
  atomic { chosen = ((files & ~i) | del) & ~bit(id); i = 0; pin = 0 };
  /* @ reconcile pass.announce: stale reservations fall only behind a fence */
  if
  :: hold != 0 ->
#ifndef NOSTALEFENCE
       if
       :: atomic { pTag == etag -> settle(epoch); etag = pTag }
       :: atomic { pTag != etag -> goto pass }
       fi;
#endif
       hold = 0
  :: skip
  fi;
  if
  :: atomic { gTag == gt ->                          /* what an earlier sweep finished is forgotten */
              gDel = (gDel & files) | (chosen & files); gHold = hold; gTag++;
              if :: epoch > gEpoch -> gEpoch = epoch :: else fi;
              if :: !reused -> assert(!(gDel & bit(pId))) :: else fi }
  :: atomic { gTag != gt -> goto pass }
  fi;
  /* @ reconcile pass.sweep */
  i = 1;
  do
  :: i > NSNAP -> break
  :: i <= NSNAP && !(chosen & bit(i)) -> i++
  :: i <= NSNAP && (chosen & bit(i)) ->
       atomic { if
         :: files & bit(i) ->
              if :: !reused -> assert(pId != i) :: else fi;   /* (a) */
              if :: !reused -> assert(loading != i) :: else fi;   /* (b) */
              files = files & ~bit(i)
         :: else
         fi };
       i++
  od;
#ifdef ERASE
  /* the proof: a listing of everything finds nothing of what was asked to go */
  atomic { if :: erase && cErase && !(files & OLD) -> proof = 1 :: else fi };
#endif
  goto pass;
done: atomic { epoch = 0; id = 0; gen = 0; etag = 0; ep = 0; del = 0; hold = 0; gt = 0; ge = 0; cand = 0; i = 0; chosen = 0; pin = 0; top = 0; erase = 0; running-- }
}

proctype Operator(byte want) {
  byte etag = 0, gen = 0, gt = 0, del = 0, at = 0, pin = 0, rounds = 0;
  /* @ reconcile Operator.move: refused before anything is written */
  atomic { del = gDel };
  if :: !(files & bit(want)) || (del & bit(want)) -> goto out :: else fi;
#ifndef NOPIN
  /* the pin before the pointer: conditional on the control.json that was read, which an erasure changes */
#ifdef NOERASECHECK
  atomic { ack = 0; cPin = want };
#else
  atomic { if :: cErase && (bit(want) & OLD) -> goto out :: else -> ack = 0; cPin = want fi };
#endif
#endif
again:
  rounds++;
  if :: rounds > 3 -> goto out :: else fi;
  /* @ reconcile Operator.point: the pointer, then the intent, then the conditional PUT */
  atomic { etag = pTag; at = pId; gen = (pGen > hbGen -> pGen : hbGen) };
  if :: at == 0 -> goto out :: else fi;
#if !defined(NOOPCTL) && !defined(NOPIN)
  atomic { pin = cPin };
  if :: pin != want -> goto out :: else fi;        /* somebody's newer intent stands: exit 4 */
#endif
  if
  :: at == want ->
       if
       :: atomic { pTag == etag -> settle(0) }
       :: atomic { pTag != etag -> goto again }
       fi
  :: else ->
oh:    atomic { del = gDel; gt = gTag };
       if :: del & bit(want) -> goto undo :: else fi;
       if
       :: atomic { gTag == gt -> gHold = gHold | bit(want); gTag++ }
       :: atomic { gTag != gt -> goto oh }
       fi;
#ifndef NOWHOLE
       if :: !(files & bit(want)) -> goto undo :: else fi;
#endif
       if
       :: atomic { pTag == etag ->
            if :: !reused -> assert(!(ack != 0 && ack != want)) :: else fi;   /* (c) */
            move(want, gen + 1, 0) }
       :: atomic { pTag != etag -> goto again }
       fi;
       atomic { gHold = gHold & ~bit(want); gTag++ }
  fi;
  /* @ reconcile Operator.stands: success only while the intent is still this one, else exit 4 */
#ifdef NOPIN
  skip;
#elif defined(NOCONFIRM)
  ack = want;
#else
  atomic { if :: cPin == want -> ack = want :: else fi };
#endif
#ifdef UNPIN
  atomic { if :: cPin == want -> ack = 0; cPin = 0 :: else fi };
#endif
  goto out;
undo:
  /* @ reconcile Operator.takeBack: a pin that cannot be kept does not stay */
  atomic { if :: cPin == want -> cPin = 0; ack = 0 :: else fi };
out: atomic { etag = 0; gen = 0; gt = 0; del = 0; at = 0; pin = 0; rounds = 0; running-- }
}

#ifdef ERASE
proctype Eraser() {
  /* @ reconcile Operator.state: refused while a pin holds the record; then the intent, then a fence */
  atomic { if :: cPin == 0 -> cErase = 1; ack = 0 :: else fi };
  atomic { if :: pId != 0 && cErase -> settle(0) :: else fi };
  running--
}
#endif

#ifdef ADMIN
proctype Admin() {
  byte id, gen, ep, tag;
  atomic { id = pId; gen = pGen; ep = pEpoch; tag = pTag };    /* a version that S3 keeps */
  if
  :: atomic { pId = 0; pGen = 0; pEpoch = 0; tags++; pTag = tags; reused = 1 }
  :: atomic { (files & bit(id)) && !(gDel & bit(id)) -> pId = id; pGen = gen; pEpoch = ep; pTag = tag; reused = 1 }
  :: skip
  fi;
  running--
}
#endif

proctype Server() {
  byte want = 0, gen = 0, n = 0, again = 0, g = 0;
  do
  :: n == POLLS -> break
  :: n < POLLS -> n++;
     /* @ follow Follower.poll */
     atomic { want = pId; gen = pGen };
announce:
     if
     :: want == 0 || want == server || gen < serverGen -> skip
     :: else ->
#ifndef HBAFTER
       hbFetch = want;
#endif
       /* @ follow Follower.startLoad: announce, and look again after the announcement */
#ifndef NOREREAD
       atomic { again = pId; g = pGen; if :: again == want -> loading = want :: else fi };
       if
       :: again != want -> want = again; gen = g; goto announce
       :: else
       fi;
#else
       loading = want;
#endif
#ifdef HBAFTER
       hbFetch = want;
#endif
#ifdef EXPIRY
       if :: atomic { hbFetch = 0; loading = 0 } :: skip fi;
#endif
       /* the files may go at any moment between these two reads */
       if
       :: atomic { !(files & bit(want)) -> loading = 0 }
       :: atomic { (files & bit(want)) ->
            assert(gen >= serverGen);
            loading = 0; server = want; serverGen = gen; hbUse = want; hbGen = gen }
       fi;
     fi;
     hbFetch = 0
  od;
  atomic { want = 0; gen = 0; again = 0; g = 0; n = 0; running-- }
}

/* (g) everybody has stopped: one pass of a leader and one poll. */
inline closing() {
  byte top, i;
  top = (mGen > leaseGen -> mGen : leaseGen); top = (hbGen > top -> hbGen : top);
#ifndef NOMEMORY
  if
  :: pId == 0 || pGen < top ->
       if :: (files & bit(mId)) && !(gDel & bit(mId)) -> pId = mId :: else fi;
#ifdef NOABOVE
       pGen = top; settle(leaseEpoch)
#else
       pGen = top + 1; settle(leaseEpoch)
#endif
  :: else
  fi;
#endif
  if
  :: cPin != 0 && (files & bit(cPin)) && !(gDel & bit(cPin)) && pId != cPin ->
       assert(ack == 0 || reused);                 /* an acknowledged pin needs no pass to be true */
       pId = cPin; pGen++
  :: else
  fi;
  if :: pId != 0 && pId != server && pGen >= serverGen && (files & bit(pId)) -> server = pId; serverGen = pGen :: else fi;
  assert(!(cErase && cPin != 0 && (bit(cPin) & OLD)));   /* no pin keeps an erasure waiting for ever */
  assert(pId != 0);                                /* (g) */
  assert(server == pId || !(files & bit(pId)));
  assert(files & bit(pId))
}

init {
  atomic {
    genId[1] = 1;
    running = NIDX; run Indexer();
#if NIDX > 1
    run Indexer();
#endif
#ifdef OP
    running++; run Operator(2);
#endif
#ifdef OP2
    running++; run Operator(1);
#endif
#ifdef ADMIN
    running++; run Admin();
#endif
#ifdef ERASE
    running++; run Eraser();
#endif
#ifdef SRV
    running++; run Server();
#endif
  }
  atomic { running == 0 -> closing() }
}
