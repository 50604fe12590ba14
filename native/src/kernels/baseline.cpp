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

inline V widen(const uint8_t* p) {
    const __m128i z = _mm_setzero_si128();
    int32_t four;
    __builtin_memcpy(&four, p, 4);
    return _mm_cvtepi32_ps(
            _mm_unpacklo_epi16(_mm_unpacklo_epi8(_mm_cvtsi32_si128(four), z), z));
}

using CV = __m128i;
struct CX {
    __m128i low, high; // 16 weights as 16-bit numbers
};
using CR = CX; // 16 codes, likewise
constexpr size_t CW = 16;
constexpr size_t CODE_QUERIES = 4; // of a block held in registers, beside four rows

inline CV code_zero() { return _mm_setzero_si128(); }
inline CX code_weights(const int8_t* w) {
    const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(w));
    return {_mm_srai_epi16(_mm_unpacklo_epi8(v, v), 8), _mm_srai_epi16(_mm_unpackhi_epi8(v, v), 8)};
}
inline CR code_load(const uint8_t* p) {
    const __m128i z = _mm_setzero_si128();
    const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm_unpacklo_epi8(v, z), _mm_unpackhi_epi8(v, z)};
}
inline CR code_load_tail(const uint8_t* p, size_t n) {
    uint8_t t[CW] = {};
    for (size_t i = 0; i < n; i++) {
        t[i] = p[i];
    }
    return code_load(t);
}
inline CV code_step(CV acc, CR c, CX x) {
    acc = _mm_add_epi32(acc, _mm_madd_epi16(c.low, x.low));
    return _mm_add_epi32(acc, _mm_madd_epi16(c.high, x.high));
}
inline int32_t code_sum(CV v) {
    v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(v, _mm_shuffle_epi32(v, 0xb1)));
}
inline void code_sum4(const CV* v, int32_t* out) {
    const __m128i ab = _mm_add_epi32(_mm_unpacklo_epi32(v[0], v[1]), _mm_unpackhi_epi32(v[0], v[1]));
    const __m128i cd = _mm_add_epi32(_mm_unpacklo_epi32(v[2], v[3]), _mm_unpackhi_epi32(v[2], v[3]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                     _mm_add_epi32(_mm_unpacklo_epi64(ab, cd), _mm_unpackhi_epi64(ab, cd)));
}

#include "impl.h"

} // namespace

const Kernels baseline_kernels = kernel_set("baseline");

} // namespace vs
