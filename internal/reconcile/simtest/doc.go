// Package simtest simulates a whole deployment in virtual time: the real reconciler, store and server code on a
// store in memory, with indexers that crash, freeze and come back, servers that poll and die, operators and editors,
// deploys that change the spec or mix releases, and a store whose every call may fail before or after it took effect,
// take effect long after its caller gave up, answer 409, or list what was there a moment ago. Invariants are checked
// after every write, and once more when everything has come to rest. A seed is a run: whatever happens has an instant of
// virtual time of its own, and faults, jitter and ids are drawn from the seed. It holds tests only; see
// TestRandomSchedules, TestCrashAtEveryCall and TestMutations.
package simtest
