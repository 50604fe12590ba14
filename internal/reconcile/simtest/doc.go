// Package simtest simulates a whole deployment in virtual time: the real reconciler, store and server code on a
// store in memory, with indexers that crash, freeze and come back, servers that poll and die, operators and
// editors, and a store whose every call may fail before or after it took effect. Invariants are checked after
// every write. A seed is a run: whatever happens has an instant of virtual time of its own, and faults, jitter and ids are
// drawn from the seed (real servers are not bound to it). It holds tests only; see TestRandomSchedules, TestCrashAtEveryCall and TestMutations.
package simtest
