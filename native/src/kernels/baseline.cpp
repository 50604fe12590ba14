// SSE2, which every x86-64 has.
#include "kernels.h"

#include <emmintrin.h>

namespace vs {
namespace {

using V = __m128;
constexpr size_t W = 4;
constexpr size_t CHAINS = 4;
constexpr size_t ROWS = 2;

inline V zero() { return _mm_setzero_ps(); }
inline V set1(float s) { return _mm_set1_ps(s); }
inline V load(const float* p) { return _mm_loadu_ps(p); }
inline V load_tail(const float* p, size_t n) {
    float t[4] = {0, 0, 0, 0};
    for (size_t i = 0; i < n; i++) {
        t[i] = p[i];
    }
    return _mm_loadu_ps(t);
}
inline void store(float* p, V v) { _mm_storeu_ps(p, v); }
inline V add(V a, V b) { return _mm_add_ps(a, b); }
inline V sub(V a, V b) { return _mm_sub_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
inline V absv(V a) { return _mm_andnot_ps(_mm_set1_ps(-0.0f), a); }
inline V maxv(V a, V b) { return _mm_max_ps(a, b); }
inline float hsum(V v) {
    const V high = _mm_add_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_add_ss(high, _mm_shuffle_ps(high, high, 1)));
}
inline float hmax(V v) {
    const V high = _mm_max_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_max_ss(high, _mm_shuffle_ps(high, high, 1)));
}

#include "impl.h"

} // namespace

const Kernels baseline_kernels = kernel_set("baseline");

} // namespace vs
