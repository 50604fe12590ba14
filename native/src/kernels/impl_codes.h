// The kernels over 8-bit codes; a part of impl.h, which includes it and says what
// an instruction set defines.

// Four rows of codes; the four behind them are fetched meanwhile. CV is the
// vector of 32-bit sums, CW the codes one step takes.
inline __attribute__((always_inline)) void u8_gather4(
        const int8_t* w, const uint8_t* const* r, const uint8_t* const* ahead, size_t d,
        int32_t* out) {
    CV acc[4];
#pragma GCC unroll 4
    for (size_t b = 0; b < 4; b++) {
        acc[b] = code_zero();
    }
    size_t i = 0;
    for (; i + CW <= d; i += CW) {
        const CX x = code_weights(w + i);
#pragma GCC unroll 4
        for (size_t b = 0; b < 4; b++) {
            if (i % 64 == 0) {
                __builtin_prefetch(ahead[b] + i);
            }
            acc[b] = code_step(acc[b], code_load(r[b] + i), x);
        }
    }
    if (i < d) {
        const CX x = code_weights(w + i);
#pragma GCC unroll 4
        for (size_t b = 0; b < 4; b++) {
            acc[b] = code_step(acc[b], code_load_tail(r[b] + i, d - i), x);
        }
    }
#pragma GCC unroll 4
    for (size_t b = 0; b < 4; b++) {
        out[b] = code_sum(acc[b]);
    }
}

void u8_gather(const int8_t* w, const uint8_t* const* rows, size_t n, size_t d, int32_t* out) {
    in_fours(
            rows, n,
            [&](size_t r, const uint8_t* const* ahead) { u8_gather4(w, rows + r, ahead, d, out + r); },
            [&](size_t r) {
                CV acc = code_zero();
                size_t i = 0;
                for (; i + CW <= d; i += CW) {
                    acc = code_step(acc, code_load(rows[r] + i), code_weights(w + i));
                }
                if (i < d) {
                    acc = code_step(acc, code_load_tail(rows[r] + i, d - i), code_weights(w + i));
                }
                out[r] = code_sum(acc);
            });
}

// out[a*ld + b] for NQ queries and four rows held in registers. First: the rows
// come from memory, as they do for the first queries of a block.
template <size_t NQ, bool First>
inline __attribute__((always_inline)) void u8_tile(
        const int8_t* w, size_t wd, const uint8_t* rows, size_t d, int32_t* out, size_t ld) {
    CV acc[NQ][4];
#pragma GCC unroll 8
    for (size_t a = 0; a < NQ; a++) {
#pragma GCC unroll 4
        for (size_t b = 0; b < 4; b++) {
            acc[a][b] = code_zero();
        }
    }
    const auto step = [&](size_t i, auto load) __attribute__((always_inline)) {
        CR c[4];
#pragma GCC unroll 4
        for (size_t b = 0; b < 4; b++) {
            c[b] = load(rows + b * d + i);
        }
#pragma GCC unroll 8
        for (size_t a = 0; a < NQ; a++) {
            const CX x = code_weights(w + a * wd + i);
#pragma GCC unroll 4
            for (size_t b = 0; b < 4; b++) {
                acc[a][b] = code_step(acc[a][b], c[b], x);
            }
        }
    };
    size_t i = 0;
    for (; i + CW <= d; i += CW) {
        if (First && i % 64 == 0) {
#pragma GCC unroll 4
            for (size_t b = 0; b < 4; b++) {
                __builtin_prefetch(rows + b * d + i + kAhead);
            }
        }
        step(i, [](const uint8_t* p) __attribute__((always_inline)) { return code_load(p); });
    }
    if (i < d) {
        step(i, [&](const uint8_t* p) __attribute__((always_inline)) {
            return code_load_tail(p, d - i);
        });
    }
#pragma GCC unroll 8
    for (size_t a = 0; a < NQ; a++) {
        code_sum4(acc[a], out + a * ld);
    }
}

template <size_t NQ, bool First>
void u8_block_of(const int8_t* w, size_t wd, const uint8_t* rows, size_t n, size_t d,
                 int32_t* out, size_t ld) {
    size_t r = 0;
    for (; r + 4 <= n; r += 4) {
        u8_tile<NQ, First>(w, wd, rows + r * d, d, out + r, ld);
    }
    for (; r < n; r++) {
        const uint8_t* row = rows + r * d;
        for (size_t a = 0; a < NQ; a++) {
            u8_gather(w + a * wd, &row, 1, d, out + a * ld + r);
        }
    }
}

// The last nq < NQ + 1 queries of a block.
template <size_t NQ, bool First>
void u8_block_rest(const int8_t* w, size_t nq, size_t wd, const uint8_t* rows, size_t n, size_t d,
                   int32_t* out, size_t ld) {
    if constexpr (NQ > 0) {
        if (nq == NQ) {
            u8_block_of<NQ, First>(w, wd, rows, n, d, out, ld);
        } else {
            u8_block_rest<NQ - 1, First>(w, nq, wd, rows, n, d, out, ld);
        }
    }
}

void u8_block(const int8_t* w, size_t nq, size_t wd, const uint8_t* rows, size_t n, size_t d,
              int32_t* out, size_t ld) {
    size_t some = nq < CODE_QUERIES ? nq : CODE_QUERIES;
    u8_block_rest<CODE_QUERIES, true>(w, some, wd, rows, n, d, out, ld);
    for (size_t a = some; a < nq; a += some) {
        some = nq - a < CODE_QUERIES ? nq - a : CODE_QUERIES;
        u8_block_rest<CODE_QUERIES, false>(w + a * wd, some, wd, rows, n, d, out + a * ld, ld);
    }
}

float u8_dot(const float* w, const uint8_t* row, size_t d) {
    V acc = zero();
    size_t i = 0;
    for (; i + W <= d; i += W) {
        acc = fma(load(w + i), widen(row + i), acc);
    }
    float sum = hsum(acc);
    for (; i < d; i++) {
        sum += w[i] * float(row[i]);
    }
    return sum;
}
