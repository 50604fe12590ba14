// Compares every kernel of the set in use, and FAISS's functions on top of
// them, with scalar references in double precision: all lengths 0..130, all
// float alignments of a cache line, each array ending at an unreadable page.
// Prints the name of the set and the number of comparisons.
#include "kernels/kernels.h"

#include <faiss/utils/distances.h>
#include <faiss/utils/utils.h>

#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

constexpr size_t kMaxLength = 130;
long compared = 0;

// n floats whose end is `slack` floats before a page that cannot be read.
class Guarded {
public:
    Guarded(size_t n, size_t slack) {
        const size_t page = size_t(sysconf(_SC_PAGESIZE));
        size_ = ((n + slack) * sizeof(float) / page + 2) * page;
        map_ = static_cast<char*>(
                mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (map_ == MAP_FAILED || mprotect(map_ + size_ - page, page, PROT_NONE) != 0) {
            std::perror("guard page");
            std::exit(2);
        }
        data_ = reinterpret_cast<float*>(map_ + size_ - page) - slack - n;
    }
    ~Guarded() {
        munmap(map_, size_);
    }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;

    Guarded& fill(unsigned seed, size_t n) {
        for (size_t i = 0; i < n; i++) {
            seed = seed * 1664525u + 1013904223u;
            data_[i] = float(int(seed >> 8) % 2001 - 1000) / 1000;
        }
        return *this;
    }
    float* get() {
        return data_;
    }
    float& operator[](size_t i) {
        return data_[i];
    }

private:
    char* map_;
    size_t size_;
    float* data_;
};

void check(const char* what, size_t d, double got, double want) {
    compared++;
    if (!(std::fabs(got - want) <= 1e-5 * (1 + double(d) / 8))) {
        std::fprintf(stderr, "%s, length %zu: %.9g, want %.9g\n", what, d, got, want);
        std::exit(1);
    }
}

void same(const char* what, size_t d, float got, float want) {
    compared++;
    if (got != want) {
        std::fprintf(stderr, "%s, length %zu: %.9g is not %.9g\n", what, d, got, want);
        std::exit(1);
    }
}

template <class F>
double sum(size_t d, F f) {
    double s = 0;
    for (size_t i = 0; i < d; i++) {
        s += f(i);
    }
    return s;
}

double dot(const float* x, const float* y, size_t d) {
    return sum(d, [&](size_t i) { return double(x[i]) * y[i]; });
}

double l2(const float* x, const float* y, size_t d) {
    return sum(d, [&](size_t i) { return (double(x[i]) - y[i]) * (double(x[i]) - y[i]); });
}

void pairs(const vs::Kernels& k, size_t d, float* x, float* y) {
    double linf = 0;
    for (size_t i = 0; i < d; i++) {
        linf = std::fmax(linf, std::fabs(double(x[i]) - y[i]));
    }
    const double l1 = sum(d, [&](size_t i) { return std::fabs(double(x[i]) - y[i]); });
    check("inner_product", d, k.inner_product(x, y, d), dot(x, y, d));
    check("l2sqr", d, k.l2sqr(x, y, d), l2(x, y, d));
    check("norm_l2sqr", d, k.norm_l2sqr(x, d), dot(x, x, d));
    check("l1", d, k.l1(x, y, d), l1);
    check("linf", d, k.linf(x, y, d), linf);
    check("fvec_inner_product", d, faiss::fvec_inner_product(x, y, d), dot(x, y, d));
    check("fvec_L2sqr", d, faiss::fvec_L2sqr(x, y, d), l2(x, y, d));
    check("fvec_norm_L2sqr", d, faiss::fvec_norm_L2sqr(x, d), dot(x, x, d));
    check("fvec_L1", d, faiss::fvec_L1(x, y, d), l1);
    check("fvec_Linf", d, faiss::fvec_Linf(x, y, d), linf);
}

void arrays(size_t d, float* x, float* y, Guarded& out) {
    const float f = 0.75f;
    faiss::fvec_add(d, x, y, out.get());
    for (size_t i = 0; i < d; i++) {
        check("fvec_add", d, out[i], double(x[i]) + y[i]);
    }
    faiss::fvec_add(d, x, f, out.get());
    for (size_t i = 0; i < d; i++) {
        check("fvec_add scalar", d, out[i], double(x[i]) + f);
    }
    faiss::fvec_sub(d, x, y, out.get());
    for (size_t i = 0; i < d; i++) {
        check("fvec_sub", d, out[i], double(x[i]) - y[i]);
    }
    faiss::fvec_madd(d, x, f, y, out.get());
    int least = -1;
    for (size_t i = 0; i < d; i++) {
        check("fvec_madd", d, out[i], double(x[i]) + double(f) * y[i]);
        least = least < 0 || out[i] < out[size_t(least)] ? int(i) : least;
    }
    check("fvec_madd_and_argmin", d, faiss::fvec_madd_and_argmin(d, x, f, y, out.get()), least);
}

// One query, and several, against rows of d floats.
void rows(const vs::Kernels& k, size_t d, size_t slack) {
    for (size_t n : {0, 1, 2, 3, 4, 5, 7, 9}) {
        Guarded data(n * d, slack), out(n * 9, slack);
        data.fill(unsigned(d * 31 + n), n * d);
        std::vector<const float*> at(n);
        for (size_t i = 0; i < n; i++) {
            at[i] = data.get() + i * d;
        }
        for (size_t nq : {1, 2, 3, 4, 5, 6, 7, 9}) {
            Guarded q(nq * d, slack);
            q.fill(unsigned(nq), nq * d);
            k.ip_block(q.get(), nq, data.get(), n, d, out.get(), n);
            for (size_t j = 0; j < nq; j++) {
                for (size_t i = 0; i < n; i++) {
                    check("ip_block", d, out[j * n + i], dot(q.get() + j * d, at[i], d));
                }
            }
        }
        Guarded q(d, slack);
        q.fill(5, d);
        k.ip_rows(q.get(), data.get(), n, d, out.get());
        for (size_t i = 0; i < n; i++) {
            check("ip_rows", d, out[i], dot(q.get(), at[i], d));
        }
        k.ip_gather(q.get(), at.data(), n, d, out.get());
        for (size_t i = 0; i < n; i++) {
            check("ip_gather", d, out[i], dot(q.get(), at[i], d));
        }
        faiss::fvec_inner_products_ny(out.get(), q.get(), data.get(), d, n);
        for (size_t i = 0; i < n; i++) {
            check("fvec_inner_products_ny", d, out[i], dot(q.get(), at[i], d));
        }
        faiss::fvec_L2sqr_ny(out.get(), q.get(), data.get(), d, n);
        size_t nearest = 0;
        for (size_t i = 0; i < n; i++) {
            check("fvec_L2sqr_ny", d, out[i], l2(q.get(), at[i], d));
            nearest = l2(q.get(), at[i], d) < l2(q.get(), at[nearest], d) ? i : nearest;
        }
        const size_t got = faiss::fvec_L2sqr_ny_nearest(out.get(), q.get(), data.get(), d, n);
        check("fvec_L2sqr_ny_nearest", d, n ? l2(q.get(), at[got], d) : 0,
              n ? l2(q.get(), at[nearest], d) : 0);
    }
}

// A row has one score, to the last bit: beside whichever rows it lies, for however many queries at once.
void one_score(const vs::Kernels& k, size_t d, size_t slack) {
    constexpr size_t n = 11, most = 9;
    Guarded data(n * d, slack), q(most * d, slack), out(most * n, slack), one(n, slack);
    data.fill(unsigned(d * 17), n * d);
    q.fill(unsigned(d), most * d);
    std::vector<const float*> at(n);
    for (size_t i = 0; i < n; i++) {
        at[i] = data.get() + i * d;
    }
    std::vector<float> want(most * n);
    for (size_t j = 0; j < most; j++) {
        for (size_t i = 0; i < n; i++) {
            k.ip_gather(q.get() + j * d, &at[i], 1, d, one.get());
            want[j * n + i] = one[0];
        }
    }
    for (size_t from = 0; from < 5; from++) {
        const size_t m = n - from;
        for (size_t nq = 1; nq <= most; nq++) {
            k.ip_block(q.get(), nq, at[from], m, d, out.get(), n);
            for (size_t j = 0; j < nq; j++) {
                for (size_t i = 0; i < m; i++) {
                    same("ip_block beside ip_gather", d, out[j * n + i], want[j * n + from + i]);
                }
            }
        }
        k.ip_rows(q.get(), at[from], m, d, out.get());
        k.ip_gather(q.get(), at.data() + from, m, d, one.get());
        for (size_t i = 0; i < m; i++) {
            same("ip_rows beside ip_gather", d, out[i], want[from + i]);
            same("ip_gather beside itself", d, one[i], want[from + i]);
        }
    }
}

// Codes against 8-bit weights: integers, so equal to the last bit.
void codes(const vs::Kernels& k, size_t d, size_t slack) {
    for (size_t n : {0, 1, 3, 4, 5, 9}) {
        Guarded storage((n * d + 3) / 4, slack);
        auto* bytes = reinterpret_cast<uint8_t*>(storage.get() + (n * d + 3) / 4) - n * d;
        std::vector<int8_t> w((d + 63) / 64 * 64);
        std::vector<float> wf(d);
        std::vector<const uint8_t*> at(n);
        std::vector<int32_t> out(n);
        for (size_t i = 0; i < n * d; i++) {
            bytes[i] = uint8_t(i * 2654435761u >> 13);
        }
        for (size_t j = 0; j < d; j++) {
            w[j] = int8_t(int(j * 7919 % 255) - 127);
            wf[j] = float(w[j]) / 128;
        }
        for (size_t i = 0; i < n; i++) {
            at[i] = bytes + i * d;
        }
        k.u8_gather(w.data(), at.data(), n, d, out.data());
        for (size_t i = 0; i < n; i++) {
            const double want = sum(d, [&](size_t j) { return double(w[j]) * at[i][j]; });
            check("u8_gather", 0, out[i] - want, 0);
            check("u8_dot", d, k.u8_dot(wf.data(), at[i], d) / 255, want / 128 / 255);
        }
        for (size_t nq = 1; nq <= 7; nq++) {
            const size_t wd = w.size(), ld = n + 3;
            std::vector<int8_t> ws(nq * wd);
            for (size_t q = 0; q < nq; q++) {
                for (size_t j = 0; j < d; j++) {
                    ws[q * wd + j] = int8_t(w[j] / int(q + 1));
                }
            }
            std::vector<int32_t> sums(nq * ld, -7);
            k.u8_block(ws.data(), nq, wd, bytes, n, d, sums.data(), ld);
            for (size_t q = 0; q < nq; q++) {
                for (size_t i = 0; i < ld; i++) {
                    const double want = i < n
                            ? sum(d, [&](size_t j) { return double(ws[q * wd + j]) * at[i][j]; })
                            : -7;
                    check("u8_block", 0, sums[q * ld + i] - want, 0);
                }
            }
        }
    }
}

void transposed(size_t d) {
    constexpr size_t n = 9, stride = 11;
    std::vector<float> y(d * stride), norms(n), tmp(n), x(d);
    for (size_t i = 0; i < y.size(); i++) {
        y[i] = float((i * 7919) % 200) / 100 - 1;
    }
    for (size_t j = 0; j < d; j++) {
        x[j] = float((j * 104729) % 200) / 100 - 1;
    }
    const auto distance = [&](size_t i) {
        return sum(d, [&](size_t j) {
            return (double(x[j]) - y[j * stride + i]) * (double(x[j]) - y[j * stride + i]);
        });
    };
    size_t nearest = 0;
    for (size_t i = 0; i < n; i++) {
        norms[i] = float(sum(d, [&](size_t j) { return double(y[j * stride + i]) * y[j * stride + i]; }));
        nearest = distance(i) < distance(nearest) ? i : nearest;
    }
    const size_t got = faiss::fvec_L2sqr_ny_nearest_y_transposed(
            tmp.data(), x.data(), y.data(), norms.data(), d, stride, n);
    check("fvec_L2sqr_ny_nearest_y_transposed", d, distance(got), distance(nearest));
}

} // namespace

int main() {
    const vs::Kernels& k = vs::kernels();
    for (size_t d = 0; d <= kMaxLength; d++) {
        for (size_t shift = 0; shift < 16; shift++) {
            Guarded x(d, shift), y(d, (shift * 5) % 16), out(d, shift);
            x.fill(unsigned(d + 1), d);
            y.fill(unsigned(d + 1000), d);
            pairs(k, d, x.get(), y.get());
            arrays(d, x.get(), y.get(), out);
        }
        rows(k, d, d % 4);
        one_score(k, d, d % 4);
        codes(k, d, d % 3);
        transposed(d);
    }
    std::printf("%s %ld\n", k.name, compared);
    return 0;
}
