// AVX-512 F, BW, DQ, VL and VNNI: Ice Lake, Zen 4 and later. Older AVX-512
// processors lower their clock for it and run the AVX2 set instead.
#include "kernels.h"

#include <immintrin.h>

namespace vs {
namespace {

using V = __m512;
constexpr size_t W = 16;
constexpr size_t CHAINS = 4;
constexpr size_t ROWS = 4;

inline V zero() { return _mm512_setzero_ps(); }
inline V set1(float s) { return _mm512_set1_ps(s); }
inline V load(const float* p) { return _mm512_loadu_ps(p); }
inline V load_tail(const float* p, size_t n) {
    return _mm512_maskz_loadu_ps(__mmask16((1u << n) - 1), p);
}
inline void store(float* p, V v) { _mm512_storeu_ps(p, v); }
inline V add(V a, V b) { return _mm512_add_ps(a, b); }
inline V sub(V a, V b) { return _mm512_sub_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
inline V absv(V a) { return _mm512_abs_ps(a); }
inline V maxv(V a, V b) { return _mm512_max_ps(a, b); }
inline float hsum(V v) { return _mm512_reduce_add_ps(v); }
inline float hmax(V v) { return _mm512_reduce_max_ps(v); }

inline V widen(const uint8_t* p) {
    return _mm512_cvtepi32_ps(
            _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

// Codes times weights in one instruction, four products a lane.
using CV = __m512i;
using CX = __m512i; // 64 weights
using CR = __m512i; // 64 codes
constexpr size_t CW = 64;
constexpr size_t CODE_QUERIES = 6; // of a block held in registers, beside four rows

inline CV code_zero() { return _mm512_setzero_si512(); }
inline CX code_weights(const int8_t* w) { return _mm512_loadu_si512(w); }
inline CR code_load(const uint8_t* p) { return _mm512_loadu_si512(p); }
inline CR code_load_tail(const uint8_t* p, size_t n) {
    return _mm512_maskz_loadu_epi8((__mmask64(1) << n) - 1, p);
}
inline CV code_step(CV acc, CR c, CX x) {
    // Of the intrinsic GCC 12 copies every sum to another register and back.
    asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(c), "vm"(x));
    return acc;
}
inline int32_t code_sum(CV v) { return _mm512_reduce_add_epi32(v); }
inline void code_sum4(const CV* v, int32_t* out) {
    const __m512i ab = _mm512_add_epi32(
            _mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
    const __m512i cd = _mm512_add_epi32(
            _mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
    const __m512i abcd =
            _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    const __m256i half = _mm256_add_epi32(
            _mm512_castsi512_si256(abcd), _mm512_extracti64x4_epi64(abcd, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                     _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)));
}

#include "impl.h"

} // namespace

const Kernels avx512_kernels = kernel_set("avx512");

} // namespace vs
