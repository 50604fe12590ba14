// Loading beside searches: what one core does at the lowest priority still slows
// the other, whose caches and memory it shares.
#pragma once

namespace vs {

// On a thread of the lowest priority (nice 19) in a process of a higher one: sleeps
// for twice the processor time used since the last pause, once that is worth a
// sleep. Elsewhere: nothing. To be called every some hundred microseconds of a
// long work.
void pause() noexcept;

// Whether pause would ever sleep on this thread.
bool makes_way() noexcept;

} // namespace vs
