#include "pause.h"

#include "vectorstore/native.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

namespace {

constexpr int kLowest = 19;
constexpr long kWorthASleep = 300'000; // ns of work
constexpr long kShare = 3;             // works one of so many parts of the time
constexpr long kLongestSleep = 100'000'000;

// By the thread's own clock: what others were given in between is no work of its own.
long worked() noexcept {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

thread_local long worked_before = 0;

// A whole process at the lowest priority has nobody to make way for. Read at its
// start: any thread may be lowered later, the first one too.
const bool lowly_process = getpriority(PRIO_PROCESS, id_t(getpid())) == kLowest;

} // namespace

namespace vs {

bool makes_way() noexcept {
    return !lowly_process && getpriority(PRIO_PROCESS, id_t(gettid())) == kLowest;
}

void pause() noexcept {
    if (!makes_way()) {
        return;
    }
    const long used = worked() - worked_before;
    if (used < kWorthASleep) {
        return;
    }
    const timespec sleep{0, std::min(used * (kShare - 1), kLongestSleep - 1)};
    nanosleep(&sleep, nullptr);
    worked_before = worked();
}

} // namespace vs

extern "C" void vs_pause(void) {
    vs::pause();
}
