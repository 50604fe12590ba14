// How many threads an entry point may use.
//
// libgomp keeps one team per calling OS thread, and Go calls from many of
// them: left alone, 64 goroutines on 2 cores grow hundreds of threads. So a
// search runs on its own thread, and train and add share one team that is
// dissolved when the call ends.
#pragma once

#include <mutex>

namespace vs {

// BuildScope lets one build at a time use build_threads() threads.
class BuildScope {
public:
    BuildScope();
    ~BuildScope();
    BuildScope(const BuildScope&) = delete;
    BuildScope& operator=(const BuildScope&) = delete;

private:
    std::unique_lock<std::mutex> lock_;
};

// The number of threads of a build: all cores.
int build_threads() noexcept;

} // namespace vs
