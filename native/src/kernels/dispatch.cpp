#include "kernels.h"

#include <vectorstore/native.h>

#include <cstdlib>
#include <cstring>

namespace vs {

// Constant-initialised, so that a static constructor elsewhere may already
// compute distances.
const Kernels* active = &baseline_kernels;

namespace {

bool cpu_has(const Kernels& k) {
    if (&k == &avx512_kernels) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512vnni");
    }
    if (&k == &avx2_kernels) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                __builtin_cpu_supports("f16c");
    }
    return true;
}

__attribute__((constructor)) void choose() {
    __builtin_cpu_init();
    const Kernels* const sets[] = {&avx512_kernels, &avx2_kernels, &baseline_kernels};
    const char* wanted = std::getenv("VECTORSTORE_SIMD");
    for (const Kernels* k : sets) {
        if (wanted && std::strcmp(wanted, k->name) == 0 && cpu_has(*k)) {
            active = k;
            return;
        }
    }
    for (const Kernels* k : sets) {
        if (cpu_has(*k)) {
            active = k;
            return;
        }
    }
}

} // namespace
} // namespace vs

extern "C" const char* vs_simd(void) {
    return vs::active->name;
}

extern "C" int vs_simd_supported(const char* name) {
    const vs::Kernels* const sets[] = {
            &vs::avx512_kernels, &vs::avx2_kernels, &vs::baseline_kernels};
    for (const vs::Kernels* k : sets) {
        if (std::strcmp(name, k->name) == 0) {
            return vs::cpu_has(*k);
        }
    }
    return 0;
}
