#include "codes.h"

#include "../heap.h"
#include "../rest.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace vs {
namespace {

// Of a number of at most 127: added to 3 * 2^22 its fraction is rounded away. The
// library's function is a call for each component.
int8_t nearest(float x) {
    return int8_t(int32_t(x + 12582912.0f) - 12582912);
}

constexpr size_t kRows = 256; // between rests

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
                rest();
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

void CodeRange::prepare(const float* query, CodeQuery& out) const {
    const size_t d = low_.size();
    float most = 0;
    for (size_t j = 0; j < d; j++) {
        most = std::max(most, std::fabs(query[j] * width_[j]));
    }
    out.w.assign((d + 63) / 64 * 64, 0);
    const float per_unit = most > std::numeric_limits<float>::min() ? 127 / most : 0; // finite
    for (size_t j = 0; j < d; j++) {
        out.w[j] = nearest(query[j] * width_[j] * per_unit);
    }
    out.scale = most / 127 / 255;
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
                rest();
            }
            const float* row = rows + i * d;
            uint8_t* code = data_.get() + i * d;
            range_.encode(row, code);
            range_.decode(code, back);
            // Four sums each: additions in a fixed order would be one after the other.
            float x2[4] = {}, e2[4] = {}, c2[4] = {};
            const auto add = [&](size_t j, size_t lane) {
                const float e = row[j] - back[j], c = float(code[j]) - 127.5f;
                x2[lane] += row[j] * row[j];
                e2[lane] += e * e;
                c2[lane] += c * c;
            };
            size_t j = 0;
            for (; j + 4 <= d; j += 4) {
                for (size_t lane = 0; lane < 4; lane++) {
                    add(j + lane, lane);
                }
            }
            for (; j < d; j++) {
                add(j, 0);
            }
            longest = std::max(longest, double(x2[0]) + x2[1] + x2[2] + x2[3]);
            farthest = std::max(farthest, double(e2[0]) + e2[1] + e2[2] + e2[3]);
            reach = std::max(reach, double(c2[0]) + c2[1] + c2[2] + c2[3]);
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
    CodeQuery rounded;
    range_.prepare(query, rounded);
    out.w = std::move(rounded.w);
    out.scale = rounded.scale;
    const float* low = range_.low().data();
    const float* width = range_.width().data();
    const double per_unit = out.scale > 0 ? 1 / (255 * out.scale) : 0;
    // Pairs of sums: the order of additions is fixed, so that both lanes of a
    // vector register are used.
    double bias[2] = {}, norm[2] = {}, left[2] = {}, left2[2] = {};
    for (size_t j = 0; j < d_; j++) {
        const double q = query[j], r = q * width[j] * per_unit - out.w[j];
        bias[j % 2] += q * (low[j] + width[j] * (0.5 / 255));
        norm[j % 2] += q * q;
        left[j % 2] += r;
        left2[j % 2] += r * r;
    }
    out.bias = bias[0] + bias[1] + out.scale * 127.5 * (left[0] + left[1]);
    out.slack = std::sqrt(norm[0] + norm[1]) * (error_ + length_ * double(d_) * 0x1p-22) +
            out.scale * std::sqrt(left2[0] + left2[1]) * reach_;
}

} // namespace vs
