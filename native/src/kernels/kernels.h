// Distance kernels, one set per instruction set, chosen once at start.
//
// No alignment is required of any pointer and any length (also 0) is allowed.
// Sums are accumulated in several independent chains: the order of additions
// differs between the sets, so scores agree to about d * 2^-24, not bitwise.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vs {

struct Kernels {
    const char* name;

    float (*inner_product)(const float* x, const float* y, size_t d);
    float (*l2sqr)(const float* x, const float* y, size_t d);
    float (*norm_l2sqr)(const float* x, size_t d);
    float (*l1)(const float* x, const float* y, size_t d);
    float (*linf)(const float* x, const float* y, size_t d);

    // c = a + b, a + s, a - b, a + bf * b; the last also gives the arg min.
    void (*add)(size_t n, const float* a, const float* b, float* c);
    void (*add_scalar)(size_t n, const float* a, float s, float* c);
    void (*sub)(size_t n, const float* a, const float* b, float* c);
    void (*madd)(size_t n, const float* a, float bf, const float* b, float* c);
    int (*madd_argmin)(size_t n, const float* a, float bf, const float* b, float* c);

    // out[i] = <q, rows + i*d>, i < n; rows are contiguous and read once.
    void (*ip_rows)(const float* q, const float* rows, size_t n, size_t d, float* out);
    void (*l2_rows)(const float* q, const float* rows, size_t n, size_t d, float* out);

    // out[i] = <q, rows[i]>: rows anywhere, as an inverted list or graph has them.
    void (*ip_gather)(const float* q, const float* const* rows, size_t n, size_t d, float* out);

    // out[i] = the sum over j of w[j] * rows[i][j]: 8-bit codes against 8-bit
    // weights, exact in 32 bits for d up to 2^16. w is padded with zeros to a
    // multiple of 64.
    void (*u8_gather)(const int8_t* w, const uint8_t* const* rows, size_t n, size_t d,
                      int32_t* out);

    // out[j*ld + i] = the sum over t of w[j*wd + t] * rows[i*d + t]: nq queries,
    // wd weights apart, against n rows that follow each other.
    void (*u8_block)(const int8_t* w, size_t nq, size_t wd, const uint8_t* rows, size_t n,
                     size_t d, int32_t* out, size_t ld);

    // The same sum with float weights for one row.
    float (*u8_dot)(const float* w, const uint8_t* row, size_t d);

    // out[j*ld + i] = <q + j*d, rows + i*d>: nq queries against n rows, so that
    // every loaded row serves several queries from registers.
    void (*ip_block)(const float* q, size_t nq, const float* rows, size_t n, size_t d,
                     float* out, size_t ld);
};

extern const Kernels baseline_kernels;
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;

// The set in use: the widest this CPU has, or the one that the environment
// variable VECTORSTORE_SIMD (avx512, avx2, baseline) names, if the CPU has it.
extern const Kernels* active;

inline const Kernels& kernels() {
    return *active;
}

} // namespace vs
