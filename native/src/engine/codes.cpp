#include "codes.h"

#include "../heap.h"
#include "../pause.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>

namespace vs {
namespace {

// Of a number of at most 127: added to 3 * 2^22 its fraction is rounded away. The
// library's function is a call for each component.
int8_t nearest(float x) {
    return int8_t(int32_t(x + 12582912.0f) - 12582912);
}

constexpr size_t kRows = 256; // between pauses

// Several sums each: additions in a fixed order would be one after the other.
constexpr size_t kSums = 8;

// Calls add(j, i) for every j < d, i being the sum that j goes to.
template <class Add>
inline void for_each_sum(size_t d, Add&& add) {
    size_t j = 0;
    for (; j + kSums <= d; j += kSums) {
        for (size_t i = 0; i < kSums; i++) {
            add(j + i, i);
        }
    }
    for (; j < d; j++) {
        add(j, 0);
    }
}

template <class Number>
double total(const Number (&sums)[kSums]) {
    return std::accumulate(sums, sums + kSums, 0.0);
}

} // namespace

CodeRange CodeRange::of(const float* rows, size_t n, size_t d, int threads) {
    std::vector<float> low(d), high(d);
    if (n > 0) {
        low.assign(rows, rows + d);
        high = low;
    }
    // Nothing is allocated within a parallel region: no exception may leave it.
    std::vector<std::vector<float>> least(size_t(threads), low), most(size_t(threads), high);
#pragma omp parallel num_threads(threads)
    {
        float* l = least[size_t(omp_get_thread_num())].data();
        float* m = most[size_t(omp_get_thread_num())].data();
#pragma omp for schedule(static)
        for (size_t i = 1; i < n; i++) {
            if (i % kRows == 0) {
                pause();
            }
            for (size_t j = 0; j < d; j++) {
                l[j] = std::min(l[j], rows[i * d + j]);
                m[j] = std::max(m[j], rows[i * d + j]);
            }
        }
    }
    for (size_t t = 0; t < least.size(); t++) {
        for (size_t j = 0; j < d; j++) {
            low[j] = std::min(low[j], least[t][j]);
            high[j] = std::max(high[j], most[t][j]);
        }
    }
    for (size_t j = 0; j < d; j++) {
        high[j] -= low[j];
    }
    return CodeRange(std::move(low), std::move(high));
}

void CodeRange::encode(const float* row, uint8_t* code) const {
    for (size_t j = 0; j < low_.size(); j++) {
        const float at = width_[j] > 0 ? (row[j] - low_[j]) / width_[j] : 0;
        code[j] = uint8_t(255 * std::min(1.0f, std::max(0.0f, at)));
    }
}

void CodeRange::decode(const uint8_t* code, float* row) const {
    for (size_t j = 0; j < low_.size(); j++) {
        row[j] = low_[j] + width_[j] * (float(code[j]) + 0.5f) / 255;
    }
}

float CodeRange::bias(const float* query) const {
    float sum = 0;
    for (size_t j = 0; j < low_.size(); j++) {
        sum += query[j] * (low_[j] + 0.5f / 255 * width_[j]);
    }
    return sum;
}

float CodeRange::weigh(const float* query, std::vector<int8_t>& w) const {
    const size_t d = low_.size();
    float part[kSums] = {}, most = 0;
    for_each_sum(d, [&](size_t j, size_t i) { part[i] = std::max(part[i], std::fabs(query[j] * width_[j])); });
    for (float m : part) {
        most = std::max(most, m);
    }
    w.assign((d + 63) / 64 * 64, 0);
    const float per_unit = most > std::numeric_limits<float>::min() ? 127 / most : 0; // finite
    for (size_t j = 0; j < d; j++) {
        w[j] = nearest(query[j] * width_[j] * per_unit);
    }
    return most / 127 / 255;
}

void CodeRange::prepare(const float* query, CodeQuery& out) const {
    out.scale = weigh(query, out.w);
    out.bias = bias(query);
}

void CodeRange::prepare(const float* query, ExactQuery& out) const {
    out.q = query;
    out.w.resize(low_.size());
    for (size_t j = 0; j < low_.size(); j++) {
        out.w[j] = query[j] * width_[j] / 255;
    }
    out.bias = bias(query);
}

void Codes::Free::operator()(uint8_t* p) const {
    std::free(p);
}

Codes::Codes(const float* rows, size_t n, size_t d, int threads)
    : n_(n), d_(d), range_(CodeRange::of(rows, n, d, threads)) {
    data_.reset(static_cast<uint8_t*>(allocate_rows(n * d)));
    double longest = 0, farthest = 0, reach = 0;
    std::vector<std::vector<float>> decoded;
    decoded.resize(size_t(threads), std::vector<float>(d));
#pragma omp parallel num_threads(threads) reduction(max : longest, farthest, reach)
    {
        float* back = decoded[size_t(omp_get_thread_num())].data();
#pragma omp for schedule(static)
        for (size_t i = 0; i < n; i++) {
            if (i % kRows == 0) {
                pause();
            }
            const float* row = rows + i * d;
            uint8_t* code = data_.get() + i * d;
            range_.encode(row, code);
            range_.decode(code, back);
            float x2[kSums] = {}, e2[kSums] = {}, c2[kSums] = {};
            for_each_sum(d, [&](size_t j, size_t at) {
                const float e = row[j] - back[j], c = float(code[j]) - 127.5f;
                x2[at] += row[j] * row[j];
                e2[at] += e * e;
                c2[at] += c * c;
            });
            longest = std::max(longest, total(x2));
            farthest = std::max(farthest, total(e2));
            reach = std::max(reach, total(c2));
        }
    }
    length_ = std::sqrt(longest);
    error_ = std::sqrt(farthest);
    reach_ = std::sqrt(reach);
    // The sums above are of d rounded terms.
    const double rounded = 1 + double(d) * 0x1p-23;
    length_ *= rounded;
    error_ *= rounded;
    reach_ *= rounded;
}

// With q the query, x a vector, y what its code c stands for and w + r the
// weights before rounding:
//
//   <q, x> = <q, y> + <q, x - y>                       |second| <= |q| error
//   <q, y> = bias + scale (<w, c> + <r, c>)
//   <r, c> = 127.5 sum(r) + <r, c - 127.5>             |second| <= |r| reach
//
// The middle of the codes is moved into the bias, so that only what differs
// between vectors is uncertain. To this comes what float arithmetic makes of
// <q, x> itself.
void Codes::prepare(const float* query, BoundedQuery& out) const {
    out.scale = range_.weigh(query, out.w);
    const float* low = range_.low().data();
    const float* width = range_.width().data();
    const double per_unit = out.scale > 0 ? 1 / (255 * out.scale) : 0;
    double bias[kSums] = {}, norm[kSums] = {}, left[kSums] = {}, left2[kSums] = {};
    for_each_sum(d_, [&](size_t j, size_t i) {
        const double q = query[j], r = q * width[j] * per_unit - out.w[j];
        bias[i] += q * (low[j] + width[j] * (0.5 / 255));
        norm[i] += q * q;
        left[i] += r;
        left2[i] += r * r;
    });
    out.bias = total(bias) + out.scale * 127.5 * total(left);
    out.slack = std::sqrt(total(norm)) * (error_ + length_ * double(d_) * 0x1p-22) +
            out.scale * std::sqrt(total(left2)) * reach_;
}

} // namespace vs
