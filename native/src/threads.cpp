#include "threads.h"

#include <omp.h>

extern "C" void openblas_set_num_threads(int n);

namespace {

std::mutex building;

} // namespace

namespace vs {

BuildScope::BuildScope() : lock_(building) {
    omp_set_num_threads(build_threads());
    openblas_set_num_threads(build_threads()); // of the process, while the lock is held
}

BuildScope::~BuildScope() {
    openblas_set_num_threads(1);
    // The team belongs to this OS thread, which Go may never use for a build
    // again: give its threads back.
    omp_pause_resource_all(omp_pause_soft);
    omp_set_num_threads(1);
}

int build_threads() noexcept {
    return omp_get_num_procs();
}

} // namespace vs
