#include "threads.h"

#include <omp.h>

#include <atomic>

extern "C" void openblas_set_num_threads(int n);

namespace {

std::atomic<int> configured{0};
std::mutex building;

// OpenBLAS has one process-wide setting. It stays at one thread except while
// a build holds the lock.
struct BlasDefault {
    BlasDefault() {
        openblas_set_num_threads(1);
    }
};

void blas_default() noexcept {
    static const BlasDefault once;
    (void)once;
}

} // namespace

namespace vs {

SearchScope::SearchScope() noexcept {
    blas_default();
    omp_set_num_threads(1);
}

BuildScope::BuildScope() : lock_(building) {
    blas_default();
    omp_set_num_threads(build_threads());
    openblas_set_num_threads(build_threads());
}

BuildScope::~BuildScope() {
    openblas_set_num_threads(1);
    // The team belongs to this OS thread, which Go may never use for a build
    // again: give its threads back.
    omp_pause_resource_all(omp_pause_soft);
    omp_set_num_threads(1);
}

int build_threads() noexcept {
    const int n = configured.load(std::memory_order_relaxed);
    return n > 0 ? n : omp_get_num_procs();
}

void set_build_threads(int n) noexcept {
    configured.store(n > 0 ? n : 0, std::memory_order_relaxed);
}

} // namespace vs
