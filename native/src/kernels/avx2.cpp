// AVX2 with FMA.
#include "kernels.h"

#include <immintrin.h>

namespace vs {
namespace {

using V = __m256;
constexpr size_t W = 8;
constexpr size_t CHAINS = 4;
constexpr size_t ROWS = 2;

inline V zero() { return _mm256_setzero_ps(); }
inline V set1(float s) { return _mm256_set1_ps(s); }
inline V load(const float* p) { return _mm256_loadu_ps(p); }
inline V load_tail(const float* p, size_t n) {
    // Eight ones then eight zeros: the window at 8-n has n ones in front.
    static const int32_t ones[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    const __m256i mask =
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ones + 8 - n));
    return _mm256_maskload_ps(p, mask);
}
inline void store(float* p, V v) { _mm256_storeu_ps(p, v); }
inline V add(V a, V b) { return _mm256_add_ps(a, b); }
inline V sub(V a, V b) { return _mm256_sub_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
inline V absv(V a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
inline V maxv(V a, V b) { return _mm256_max_ps(a, b); }
inline __m128 halves(V v, bool max) {
    const __m128 lo = _mm256_castps256_ps128(v);
    const __m128 hi = _mm256_extractf128_ps(v, 1);
    return max ? _mm_max_ps(lo, hi) : _mm_add_ps(lo, hi);
}
inline float hsum(V v) {
    const __m128 s = halves(v, false);
    const __m128 high = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(high, _mm_movehdup_ps(high)));
}
inline float hmax(V v) {
    const __m128 s = halves(v, true);
    const __m128 high = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(high, _mm_movehdup_ps(high)));
}

inline V widen(const uint8_t* p) {
    return _mm256_cvtepi32_ps(
            _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}

using CV = __m256i;
using CX = __m256i; // 16 weights as 16-bit numbers
using CR = __m256i; // 16 codes, likewise
constexpr size_t CW = 16;
constexpr size_t CODE_QUERIES = 4; // of a block held in registers, beside four rows

inline CV code_zero() { return _mm256_setzero_si256(); }
inline CX code_weights(const int8_t* w) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w)));
}
inline CR code_load(const uint8_t* p) {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline CR code_load_tail(const uint8_t* p, size_t n) {
    uint8_t t[CW] = {};
    for (size_t i = 0; i < n; i++) {
        t[i] = p[i];
    }
    return code_load(t);
}
inline CV code_step(CV acc, CR c, CX x) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(c, x));
}
inline int32_t code_sum(CV v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}
inline void code_sum4(const CV* v, int32_t* out) {
    const __m256i s = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                     _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)));
}

#include "impl.h"

} // namespace

const Kernels avx2_kernels = kernel_set("avx2");

} // namespace vs
