// The kernels, written once over a vector type. Each instruction set's file
// defines, in an unnamed namespace, V (a vector register), W (floats in it),
// zero, set1, load, load_tail(p, n < W), store, add, sub, mul, fma(a, b, c) =
// a*b+c, absv, maxv, hsum, hmax, widen(W bytes to floats), and CHAINS, ROWS
// (rows of a block held in registers); for codes CV (sums), CX (weights), CR
// (codes), CW (how many at once) and the code_* functions; then it includes this
// file.
//
// Nothing here may call a function that other files could share: the linker
// would keep one copy, perhaps the one built for the wider instruction set.

constexpr size_t kQueries = 4;    // queries of a block held in registers
constexpr size_t kAhead = 4096;   // bytes prefetched ahead of a contiguous scan

// Sums f(acc, i) over full vectors in CHAINS independent chains, then the tail.
template <class Step, class Tail>
inline __attribute__((always_inline)) V chained(size_t d, Step step, Tail tail) {
    V acc[CHAINS];
#pragma GCC unroll 8
    for (size_t c = 0; c < CHAINS; c++) {
        acc[c] = zero();
    }
    size_t i = 0;
    for (; i + CHAINS * W <= d; i += CHAINS * W) {
#pragma GCC unroll 8
        for (size_t c = 0; c < CHAINS; c++) {
            acc[c] = step(acc[c], i + c * W);
        }
    }
    for (; i + W <= d; i += W) {
        acc[0] = step(acc[0], i);
    }
    if (i < d) {
        acc[1] = tail(acc[1], i, d - i);
    }
#pragma GCC unroll 8
    for (size_t c = 1; c < CHAINS; c++) {
        acc[0] = add(acc[0], acc[c]);
    }
    return acc[0];
}

float inner_product(const float* x, const float* y, size_t d) {
    return hsum(chained(
            d, [&](V a, size_t i) { return fma(load(x + i), load(y + i), a); },
            [&](V a, size_t i, size_t n) {
                return fma(load_tail(x + i, n), load_tail(y + i, n), a);
            }));
}

float l2sqr(const float* x, const float* y, size_t d) {
    return hsum(chained(
            d,
            [&](V a, size_t i) {
                const V t = sub(load(x + i), load(y + i));
                return fma(t, t, a);
            },
            [&](V a, size_t i, size_t n) {
                const V t = sub(load_tail(x + i, n), load_tail(y + i, n));
                return fma(t, t, a);
            }));
}

float norm_l2sqr(const float* x, size_t d) {
    return hsum(chained(
            d,
            [&](V a, size_t i) {
                const V t = load(x + i);
                return fma(t, t, a);
            },
            [&](V a, size_t i, size_t n) {
                const V t = load_tail(x + i, n);
                return fma(t, t, a);
            }));
}

float l1(const float* x, const float* y, size_t d) {
    return hsum(chained(
            d, [&](V a, size_t i) { return add(a, absv(sub(load(x + i), load(y + i)))); },
            [&](V a, size_t i, size_t n) {
                return add(a, absv(sub(load_tail(x + i, n), load_tail(y + i, n))));
            }));
}

float linf(const float* x, const float* y, size_t d) {
    V m = zero();
    size_t i = 0;
    for (; i + W <= d; i += W) {
        m = maxv(m, absv(sub(load(x + i), load(y + i))));
    }
    if (i < d) {
        m = maxv(m, absv(sub(load_tail(x + i, d - i), load_tail(y + i, d - i))));
    }
    return hmax(m);
}

void add_arrays(size_t n, const float* a, const float* b, float* c) {
    size_t i = 0;
    for (; i + W <= n; i += W) {
        store(c + i, add(load(a + i), load(b + i)));
    }
    for (; i < n; i++) {
        c[i] = a[i] + b[i];
    }
}

void add_scalar(size_t n, const float* a, float s, float* c) {
    const V vs = set1(s);
    size_t i = 0;
    for (; i + W <= n; i += W) {
        store(c + i, add(load(a + i), vs));
    }
    for (; i < n; i++) {
        c[i] = a[i] + s;
    }
}

void sub_arrays(size_t n, const float* a, const float* b, float* c) {
    size_t i = 0;
    for (; i + W <= n; i += W) {
        store(c + i, sub(load(a + i), load(b + i)));
    }
    for (; i < n; i++) {
        c[i] = a[i] - b[i];
    }
}

void madd(size_t n, const float* a, float bf, const float* b, float* c) {
    const V vbf = set1(bf);
    size_t i = 0;
    for (; i + W <= n; i += W) {
        store(c + i, fma(vbf, load(b + i), load(a + i)));
    }
    for (; i < n; i++) {
        c[i] = a[i] + bf * b[i];
    }
}

int madd_argmin(size_t n, const float* a, float bf, const float* b, float* c) {
    madd(n, a, bf, b, c);
    float best = 1e20f; // the bound of the reference: nothing below it, no result
    int at = -1;
    for (size_t i = 0; i < n; i++) {
        if (c[i] < best) {
            best = c[i];
            at = int(i);
        }
    }
    return at;
}

// out[q*ld + r] = <queries[q], rows[r]> for NQ x NR pairs held in registers.
template <size_t NQ, size_t NR>
inline __attribute__((always_inline)) void tile(
        const float* const* q, const float* const* r, size_t d, float* out, size_t ld) {
    V acc[NQ][NR];
#pragma GCC unroll 4
    for (size_t a = 0; a < NQ; a++) {
#pragma GCC unroll 4
        for (size_t b = 0; b < NR; b++) {
            acc[a][b] = zero();
        }
    }
    size_t i = 0;
    for (; i + W <= d; i += W) {
        V row[NR];
#pragma GCC unroll 4
        for (size_t b = 0; b < NR; b++) {
            row[b] = load(r[b] + i);
        }
#pragma GCC unroll 4
        for (size_t a = 0; a < NQ; a++) {
            const V x = load(q[a] + i);
#pragma GCC unroll 4
            for (size_t b = 0; b < NR; b++) {
                acc[a][b] = fma(x, row[b], acc[a][b]);
            }
        }
    }
    if (i < d) {
        V row[NR];
#pragma GCC unroll 4
        for (size_t b = 0; b < NR; b++) {
            row[b] = load_tail(r[b] + i, d - i);
        }
#pragma GCC unroll 4
        for (size_t a = 0; a < NQ; a++) {
            const V x = load_tail(q[a] + i, d - i);
#pragma GCC unroll 4
            for (size_t b = 0; b < NR; b++) {
                acc[a][b] = fma(x, row[b], acc[a][b]);
            }
        }
    }
#pragma GCC unroll 4
    for (size_t a = 0; a < NQ; a++) {
#pragma GCC unroll 4
        for (size_t b = 0; b < NR; b++) {
            out[a * ld + b] = hsum(acc[a][b]);
        }
    }
}

void l2_rows(const float* q, const float* rows, size_t n, size_t d, float* out) {
    for (size_t r = 0; r < n; r++) {
        out[r] = l2sqr(q, rows + r * d, d);
    }
}

// Scores of stored rows are summed in one order, that of tile: whether a row is
// scored alone, among four, in a block or a scan, its score is the same to the
// last bit, so equal vectors tie on every path and order by position.

// Four rows. While they are computed, others are fetched: the next four of a
// gather, whose rows lie anywhere in memory, or what lies ahead of a scan.
inline __attribute__((always_inline)) void gather4(
        const float* q, const float* const* r, const float* const* ahead, size_t d, float* out) {
    V acc[4];
#pragma GCC unroll 4
    for (size_t b = 0; b < 4; b++) {
        acc[b] = zero();
    }
    size_t i = 0;
    for (; i + W <= d; i += W) {
        const V x = load(q + i);
#pragma GCC unroll 4
        for (size_t b = 0; b < 4; b++) {
            if (i % 16 == 0) { // floats of a cache line
                __builtin_prefetch(ahead[b] + i);
            }
            acc[b] = fma(x, load(r[b] + i), acc[b]);
        }
    }
    if (i < d) {
        const V x = load_tail(q + i, d - i);
#pragma GCC unroll 4
        for (size_t b = 0; b < 4; b++) {
            acc[b] = fma(x, load_tail(r[b] + i, d - i), acc[b]);
        }
    }
#pragma GCC unroll 4
    for (size_t b = 0; b < 4; b++) {
        out[b] = hsum(acc[b]);
    }
}

// Rows anywhere in fours: four(r, those behind) for rows r to r+3, then one(r) for each that is left.
template <class T, class Four, class One>
inline __attribute__((always_inline)) void in_fours(
        const T* const* rows, size_t n, Four&& four, One&& one) {
    size_t r = 0;
    for (; r + 4 <= n; r += 4) {
        const T* ahead[4];
        for (size_t b = 0; b < 4; b++) {
            ahead[b] = rows[r + 4 + b < n ? r + 4 + b : r + b];
        }
        four(r, ahead);
    }
    for (; r < n; r++) {
        one(r);
    }
}

void ip_gather(const float* q, const float* const* rows, size_t n, size_t d, float* out) {
    in_fours(
            rows, n,
            [&](size_t r, const float* const* ahead) { gather4(q, rows + r, ahead, d, out + r); },
            [&](size_t r) { tile<1, 1>(&q, rows + r, d, out + r, 0); });
}

void ip_rows(const float* q, const float* rows, size_t n, size_t d, float* out) {
    size_t r = 0;
    for (; r + 4 <= n; r += 4) {
        const float *at[4], *ahead[4];
        for (size_t b = 0; b < 4; b++) {
            at[b] = rows + (r + b) * d;
            ahead[b] = at[b] + kAhead / sizeof(float);
        }
        gather4(q, at, ahead, d, out + r);
    }
    for (; r < n; r++) {
        const float* one = rows + r * d;
        tile<1, 1>(&q, &one, d, out + r, 0);
    }
}

template <size_t NQ>
void block_of(const float* q, const float* rows, size_t n, size_t d, float* out, size_t ld) {
    const float* qs[NQ];
    for (size_t a = 0; a < NQ; a++) {
        qs[a] = q + a * d;
    }
    size_t r = 0;
    for (; r + ROWS <= n; r += ROWS) {
        const float* rs[ROWS];
        for (size_t b = 0; b < ROWS; b++) {
            rs[b] = rows + (r + b) * d;
        }
        tile<NQ, ROWS>(qs, rs, d, out + r, ld);
    }
    for (; r < n; r++) {
        const float* one = rows + r * d;
        tile<NQ, 1>(qs, &one, d, out + r, ld);
    }
}

void ip_block(const float* q, size_t nq, const float* rows, size_t n, size_t d, float* out,
              size_t ld) {
    size_t a = 0;
    for (; a + kQueries <= nq; a += kQueries) {
        block_of<kQueries>(q + a * d, rows, n, d, out + a * ld, ld);
    }
    switch (nq - a) {
        case 3:
            block_of<3>(q + a * d, rows, n, d, out + a * ld, ld);
            break;
        case 2:
            block_of<2>(q + a * d, rows, n, d, out + a * ld, ld);
            break;
        case 1:
            ip_rows(q + a * d, rows, n, d, out + a * ld);
            break;
    }
}

#include "impl_codes.h"

constexpr Kernels kernel_set(const char* name) {
    return Kernels{name,       inner_product, l2sqr, norm_l2sqr,  l1,        linf,
                   add_arrays, add_scalar,    sub_arrays, madd,   madd_argmin, ip_rows,
                   l2_rows,    ip_gather,     u8_gather,  u8_block, u8_dot, ip_block};
}
